"""The inbox: each event takes effect once for each handler, in the transaction of the effect itself."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.contracts import codec

from . import clock, partitions
from .errors import PermanentEventError
from .roundtrips import ask

#: Under which a session knows how many months of events the office keeps; 0 for all of them.
KEEP_EVENTS_MONTHS = "xinhuo_keep_events_months"

_CLAIM = sa.text(
    """
    INSERT INTO inbox (event_id, handler, body_hash)
    SELECT id, :handler, hash FROM unnest(CAST(:ids AS uuid[]), CAST(:hashes AS bytea[])) AS new (id, hash)
    ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING event_id
    """
)
_EARLIER = sa.text("SELECT event_id, body_hash FROM inbox WHERE handler = :handler AND event_id = ANY(:ids)")


class EventIdConflict(PermanentEventError):
    """The id of the event was used before with another body."""

    code = "event.id_conflict"
    title = "事件编号与另一内容冲突"


class EventTooOld(PermanentEventError):
    """The event is older than anything that is still known of what took effect."""

    code = "event.too_old"
    title = "事件过旧，已无法确认是否生效过"


@dataclass(frozen=True)
class Claim:
    """Which of the offered events are new here, and which (id, hash) carry an id that had another body."""

    fresh: frozenset[UUID]
    conflicting: frozenset[tuple[UUID, bytes]]


def body_hash(body: bytes) -> bytes:
    """Return the SHA-256 by which two deliveries of one event are known to be the same, replayed or not."""
    return hashlib.sha256(codec.as_recorded(body)).digest()


def claim(session: Session, handler: str, offered: Sequence[tuple[UUID, bytes]]) -> Claim:
    """Claim events, given as id and body hash, for a handler in the current transaction.

    A second transaction that claims the same event waits for the first; after its commit it finds a
    duplicate, after its rollback it claims the event itself. Ids are claimed in order, so that two
    batches cannot wait for each other. Raises EventTooOld for an event whose claim may have been dropped already.
    """
    if months := session.info.get(KEEP_EVENTS_MONTHS):
        oldest = partitions.first_id_of(partitions.inbox_begins(clock.now().date(), months))
        if any(event_id < oldest for event_id, _ in offered):
            raise EventTooOld("older than what is kept of events")
    known = dict(reversed(offered))
    [claimed] = ask(session, (_CLAIM, {"handler": handler, "ids": list(known), "hashes": list(known.values())}))
    fresh = frozenset(event_id for (event_id,) in claimed)
    if seen := [event_id for event_id in known if event_id not in fresh]:
        earlier = session.execute(_EARLIER, {"handler": handler, "ids": seen})
        known.update((event_id, bytes(hashed)) for event_id, hashed in earlier)
    if len(fresh) == len(offered):  # the usual case
        return Claim(fresh, frozenset())
    return Claim(fresh, frozenset(offer for offer in offered if offer[1] != known[offer[0]]))

"""The inbox: each event takes effect once for each handler, in the transaction of the effect itself."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.contracts import codec

from .errors import PermanentEventError

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
    batches cannot wait for each other.
    """
    known = dict(reversed(offered))
    claimed = session.execute(_CLAIM, {"handler": handler, "ids": list(known), "hashes": list(known.values())})
    fresh = frozenset(claimed.scalars())
    if seen := [event_id for event_id in known if event_id not in fresh]:
        earlier = session.execute(_EARLIER, {"handler": handler, "ids": seen})
        known.update((event_id, bytes(hashed)) for event_id, hashed in earlier)
    return Claim(fresh, frozenset(offer for offer in offered if offer[1] != known[offer[0]]))

"""After databases were brought back to an earlier time, however that was done, and before any service runs on them."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy import CursorResult
from sqlalchemy.orm import Session

from services.awards.commands import take_as_brought_back
from services.portal.commands.sessions import end_everything
from xinhuo.chassis import audit
from xinhuo.chassis.config import SERVICES, Settings
from xinhuo.cli import build
from xinhuo.contracts import codec

from . import erasures
from .databases import connected, places, publishers_of
from .refused import BackupRefused

#: The replay begins so long before the time that is gone back to: what waited in queues then is lost with them.
MARGIN = timedelta(days=7)
#: What the copy had not sent yet had been sent before the loss, most likely: sent as new, everybody would be told
#: again. So the replay sends it, marked. Departments get it anew: they know the ids.
_LEAVE_TO_REPLAY = sa.text(
    """
    UPDATE outbox SET published_at = clock_timestamp(), position = last.position + waiting.number
    FROM (SELECT id, row_number() OVER (ORDER BY seq) AS number FROM outbox WHERE published_at IS NULL) AS waiting,
         (SELECT coalesce(max(position), 0) AS position FROM outbox) AS last
    WHERE outbox.id = waiting.id
    """
)
#: What had not been sent at the instant that is gone back to: whatever counts as sent later was marked by a settle. So
#: one that is repeated after it failed finds the same.
_OLDEST_UNSENT = "SELECT min(recorded_at) FROM {} WHERE published_at IS NULL OR published_at > %s"
#: What the copy still had to handle had been handled before the loss, most likely: nobody is told of it once more.
_WAITING = (
    (
        sa.text("SELECT event_id AS id, handler, body FROM parked_events"),
        sa.text("UPDATE parked_events SET body = :body WHERE event_id = :id AND handler = :handler"),
    ),
    (
        sa.text("SELECT id, handler, body FROM dead_letters WHERE state = 'waiting'"),
        sa.text("UPDATE dead_letters SET body = :body WHERE id = :id"),
    ),
)
_AT_ONCE = 500

#: What else a service does when its tables came back from an earlier time.
_MORE: dict[str, Callable[[Session], None]] = {"awards": take_as_brought_back, "portal": end_everything}


@dataclass
class Settled:
    """What was done to the databases, and from when on events must be replayed."""

    since: datetime
    unsent: dict[str, int] = field(default_factory=dict)
    erased: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        return {"unsent": self.unsent, "erased_again": self.erased, "replay": self.commands()}

    def commands(self) -> list[str]:
        """Return the replays that come next: harmless to whoever has everything."""
        day = f"{self.since:%Y-%m-%dT%H:%M}+00:00"
        return [f"xinhuo events replay --service {name} --since {day}" for name in SERVICES if publishers_of(name)]


def settle(
    settings: Settings, services: Sequence[str], persons: Collection[UUID], back_to: datetime, what: str
) -> Settled:
    """Make databases fit to be worked on: unsent events are left to the replay, who was erased is erased again.

    ``what`` names in the audit log what they were brought back from. In the portal sessions and one-time links end:
    some had been ended since. May be repeated.
    """
    settled = Settled(back_to)
    for service in services:
        db = build.database(service, settings, role="backup")
        try:
            with db.transaction() as session:
                settle_one(session, service, persons, what, settled)
        finally:
            db.close()
    settled.since = replay_from(settings, services, back_to)
    return settled


def settle_one(session: Session, service: str, persons: Collection[UUID], what: str, settled: Settled) -> None:
    """Do so for one service, in the caller's transaction."""
    unsent = cast("CursorResult[Any]", session.execute(_LEAVE_TO_REPLAY)).rowcount
    _mark_waiting(session)
    erased = erasures.erase_again(service, session, persons)
    if service in _MORE:
        _MORE[service](session)
    audit.record(session, "backup.restored", "backup", what)
    settled.unsent[service] = unsent
    settled.erased += erased


def _mark_waiting(session: Session) -> None:
    for read, write in _WAITING:
        found = session.execute(read, execution_options={"yield_per": _AT_ONCE})
        for rows in found.partitions():
            marked = [{"id": row.id, "handler": row.handler, "body": _marked(bytes(row.body))} for row in rows]
            session.execute(write, marked)


def _marked(body: bytes) -> bytes:
    """Return an event, or each of a batch, with the mark of a replay; what is neither as it is."""
    try:
        if body.lstrip()[:1] == b"[":
            return codec.join_batch([codec.as_replayed(one) for one in codec.split_batch(body)])
        codec.split_batch(codec.join_batch([body]))
    except codec.Undecodable:
        return body
    return codec.as_replayed(body) if body[:1] == b"{" and body[-1:] == b"}" else body


def replay_from(settings: Settings, services: Sequence[str], back_to: datetime) -> datetime:
    """Return from when on events must be replayed: of all services that are there, for some may have come back before.

    Raises BackupRefused when one of those named cannot be read.
    """
    oldest = [back_to]
    for place in places(settings):
        try:
            with connected(place) as connection:
                for service in place.services:
                    name = f"{service}.outbox"
                    if connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() == (None,):
                        continue
                    statement = sql.SQL(_OLDEST_UNSENT).format(sql.Identifier(service, "outbox"))
                    oldest += [at for (at,) in connection.execute(statement, (back_to,)) if at is not None]
        except BackupRefused:
            if set(place.services) & set(services):
                raise
    return min(oldest) - MARGIN


def refuse_running(settings: Settings, services: Sequence[str]) -> None:
    """Raise BackupRefused while a process of the services is connected: it would work on what is half there."""
    running: set[str] = set()
    for place in places(settings, tuple(services)):
        with connected(place) as connection:
            found = connection.execute(
                "SELECT DISTINCT application_name FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE 'xinhuo-%'"
                " AND application_name <> 'xinhuo-backup'"
            )
            names = [name for (name,) in found]
        running.update(name for name in names if name.removeprefix("xinhuo-").partition("-")[0] in place.services)
    if running:
        listed = ", ".join(sorted(running))
        raise BackupRefused(
            f"还有进程连着数据库（{listed}）：请先停止这些服务",
            f"processes are still connected ({listed}): stop the services first",
        )

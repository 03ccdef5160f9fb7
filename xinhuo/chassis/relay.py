"""The relay: takes recorded events out of the outbox and hands them to the broker, in batches, confirmed.

One relay of each lane is active per service (advisory lock); others stand by and take over when the lock's
connection ends. Rows are found by not being marked, never by "id > last seen", which loses late commits.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from operator import attrgetter
from threading import Event as Flag
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from xinhuo.contracts import codec

from . import faultpoints, logs, metrics, trace
from .db import Database, DatabaseUnavailable
from .outbox import IN_ORDER
from .pressure import Pressure
from .roundtrips import execute
from .topology import PUBLIC_EXCHANGE, events_exchange, routing_key
from .wire import BrokerUnavailable, Outgoing, Publisher, QueueFull

BATCH = 1000
HOLD_SECONDS = 5.0
POLL_SECONDS = 1.0
#: A relay asks the database every second. One that was not heard of for so long hangs, and the server ends its
#: session, and with it its lock: the standby takes over. Was it only slow, some events go out twice.
SILENT_SECONDS = 15.0
#: How long a batch lets the next one gather, for each event it held and at most: some large batches cost a third
#: of many small ones, here and in every service that takes them. Where little happens, nothing waits.
GATHER_SECONDS, GATHER_MOST_SECONDS = 0.004, 0.15
#: The public lane publishes event by event anyway, and a department waits for none of them: its batches are as rare.
PUBLIC_SECONDS = 0.25
#: A queue of a department that takes no more would hold up all departments. What one refuses is tried again; for so
#: long afterwards what is refused goes out without it.
REFUSAL_SECONDS = 60.0
#: A relay that is told to stop sends on for so long; what is left then is the next one's.
LAST_SECONDS = 2.0
#: A batch of so many is large enough not to wait for more.
LARGE = 400
#: What was sent inside is marked together: so long after the first of it, or when it is so many. A relay that is killed
#: before leaves them to be sent again, and the inboxes drop them. Departments may have none: copies are marked at once.
MARK_SECONDS, MARK_MOST = 0.25, 100
#: A batch of so many presses the inside lane. The public lane then leaves it the machine, before each batch for so
#: long at most, and in all, while it has a backlog of full batches, for so long: then it goes on beside the others.
PRESSED, YIELD_SECONDS, YIELD_IN_ALL_SECONDS = 20, 5.0, 60.0
log = logs.get("relay")

_TAKE = sa.text(
    "SELECT id, type, payload FROM outbox WHERE published_at IS NULL AND type <> ALL(:held) AND id <> ALL(:sent)"
    " ORDER BY seq LIMIT :batch"
)
_MARK = sa.text(
    """
    UPDATE outbox SET published_at = clock_timestamp(), position = last.position + sent.number
    FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS sent (id, number),
         (SELECT coalesce(max(position), 0) AS position FROM outbox) AS last
    WHERE outbox.id = sent.id AND outbox.id BETWEEN :first AND :last
    """
)
_TAKE_PUBLIC = sa.text(
    "SELECT id, type, payload FROM outbox WHERE public AND public_published_at IS NULL"
    " AND published_at IS NOT NULL AND type <> ALL(:held) ORDER BY seq LIMIT :batch"
)
_MARK_PUBLIC = sa.text(
    "UPDATE outbox SET public_published_at = clock_timestamp() WHERE id = ANY(:ids) AND id BETWEEN :first AND :last"
)


class Recorded(NamedTuple):
    """An event as it stands in the outbox."""

    id: UUID
    type: str
    payload: bytes


class Relay:
    """Publishes one service's events in one lane: ``inside`` for our own services, ``public`` for departments."""

    def __init__(
        self,
        db: Database,
        publisher: Publisher,
        *,
        lane: str = "inside",
        mandatory: frozenset[str] = frozenset(),
        yields: Callable[[], bool] = lambda: False,
    ) -> None:
        """``yields`` tells whether others go first at the moment."""
        self.db = db
        self.publisher = publisher
        self.lane = lane
        self.mandatory = mandatory
        self.active = False
        self.pressure = Pressure()
        self._yields = yields
        self._held: dict[str, float] = {}
        self._sent: list[UUID] = []
        """What is sent and not yet marked, in order."""
        self._mark_at = math.inf
        self._refused_until = -math.inf
        self._take, self._mark = (_TAKE, _MARK) if lane == "inside" else (_TAKE_PUBLIC, _MARK_PUBLIC)

    def run(self, stop: Flag) -> None:
        """Relay until told to stop; outages of the database or the broker are waited out."""
        pause = 0.2
        while not stop.is_set():
            try:
                self._session(stop)
                pause = 0.2
            except (DBAPIError, PoolTimeout, DatabaseUnavailable, BrokerUnavailable) as error:
                log.warning("relay_waits", lane=self.lane, service=self.db.service, **logs.describe(error))
                stop.wait(pause)
                pause = min(pause * 2, 5.0)
            finally:
                self.active = False
        self.publisher.close()

    def _session(self, stop: Flag) -> None:
        name = f"xinhuo relay {self.db.service} {self.lane}"
        with self.db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            try:
                while not connection.scalar(
                    sa.text("SELECT pg_try_advisory_lock(hashtextextended(:n, 1))"), {"n": name}
                ):
                    if stop.wait(1.0):
                        return
                silent = round(SILENT_SECONDS * 1000)
                connection.execute(sa.text(f"SET idle_session_timeout = {silent}"))
                connection.execute(IN_ORDER, {"until_commit": False})
                self.active = True
                log.info("relay_active", lane=self.lane, service=self.db.service)
                connection.execute(sa.text(f"LISTEN xinhuo_outbox_{self.db.service}"))
                backlog_since = math.inf
                while not stop.is_set():
                    taken = self.publish_batch(connection, mark_later=self.lane == "inside")
                    if taken == BATCH:
                        backlog_since = min(backlog_since, time.monotonic())
                    else:
                        backlog_since = math.inf
                        again_at = time.monotonic() + gather_seconds(taken, self.lane)
                        self.publisher.keep_alive()
                        _wait_for_news(connection, min(POLL_SECONDS, max(0.0, self._mark_at - time.monotonic())))
                        stop.wait(max(0.0, again_at - time.monotonic()))
                    self._yield(stop, backlog_since + YIELD_IN_ALL_SECONDS)
                self._send_the_last(connection)
            except BrokerUnavailable:
                self._mark_sent(connection)
                raise
            finally:
                self._sent, self._mark_at = [], math.inf  # what is not marked by now, the next session sends again
                if not connection.invalidated:
                    connection.invalidate()  # closing the connection is what gives the lock to a standby

    def _send_the_last(self, connection: sa.Connection) -> None:
        """Send what was recorded up to the stop: where there is no standby it would wait for the next start."""
        until = time.monotonic() + LAST_SECONDS
        while self.publish_batch(connection) == BATCH and time.monotonic() < until:
            pass

    def _yield(self, stop: Flag, at_most_until: float) -> None:
        until = min(time.monotonic() + YIELD_SECONDS, at_most_until)
        while self._yields() and time.monotonic() < until and not stop.is_set():
            stop.wait(0.1)

    def publish_batch(self, connection: sa.Connection, *, mark_later: bool = False) -> int:
        """Publish and mark one batch; return how many rows were taken.

        ``mark_later`` lets the marks of a small one wait for others, for a moment.
        """
        now = time.monotonic()
        self._held = {topic: until for topic, until in self._held.items() if until > now}
        found = execute(connection, self._take, {"held": list(self._held), "sent": self._sent, "batch": BATCH})
        rows = [Recorded(*one) for one in found]
        if rows:
            with self.pressure.of(large=len(rows) >= PRESSED):
                self._publish(rows)
        if not mark_later or len(self._sent) >= MARK_MOST or time.monotonic() >= self._mark_at:
            self._mark_sent(connection)
        return len(rows)

    def _publish(self, rows: Sequence[Recorded]) -> None:
        messages = list(self._messages(rows))
        with self._sending(rows):
            unroutable = self._hand_over([message for message, _ in messages])
        faultpoints.reach("after_publish_before_mark")
        sent: set[UUID] = set()
        published: Counter[str] = Counter()
        for index, (message, ids) in enumerate(messages):
            if index in unroutable:
                self._hold(message, len(ids))
                continue
            sent.update(ids)
            published[message.type] += len(ids)
        for topic, count in published.items():
            metrics.EVENTS_PUBLISHED.labels(topic, self.lane, "ok").inc(count)
        if sent:
            self._sent += [row.id for row in rows if row.id in sent]
            self._mark_at = min(self._mark_at, time.monotonic() + MARK_SECONDS)

    def _mark_sent(self, connection: sa.Connection) -> None:
        if self._sent:
            # First and last tell which partitions the marks are in.
            first, last = (pick(self._sent, key=attrgetter("int")) for pick in (min, max))
            execute(connection, self._mark, {"ids": self._sent, "first": first, "last": last})
        self._sent, self._mark_at = [], math.inf

    def _sending(self, rows: Sequence[Recorded]) -> AbstractContextManager[object]:
        """Have what is inside recorded in the traces of these events."""
        if not trace.recorded():
            return nullcontext()
        exchange = events_exchange(self.db.service) if self.lane == "inside" else PUBLIC_EXCHANGE
        facts: dict[str, str | int] = {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "send",
            "messaging.operation.name": "send",
            "messaging.destination.name": exchange,
            "messaging.batch.message_count": len(rows),
            "xinhuo.lane": self.lane,
        }
        traces = [codec.traceparent_of(row.payload) for row in rows]
        return trace.about(traces, trace.CLIENT, f"send {exchange}", lambda: facts)

    def _hand_over(self, messages: list[Outgoing]) -> frozenset[int]:
        """Publish; in the public lane, a queue that refuses again what the others took is no reason to wait for it."""
        try:
            return self.publisher.publish(messages)
        except QueueFull:
            now = time.monotonic()
            if self.lane != "public":
                raise
            if now > self._refused_until:
                self._refused_until = now + REFUSAL_SECONDS
                log.warning(
                    "department_queue_full",
                    service=self.db.service,
                    remedy="rabbitmqctl list_queues name messages arguments; its department must read it or delete it",
                )
                raise
            return frozenset()

    def _hold(self, message: Outgoing, events: int) -> None:
        if message.type not in self._held:
            log.error(
                "event_unroutable",
                type=message.type,
                exchange=message.exchange,
                remedy="run 'xinhuo topology apply'; the event stays in the outbox and is tried again",
            )
        self._held[message.type] = time.monotonic() + HOLD_SECONDS
        metrics.EVENTS_PUBLISHED.labels(message.type, self.lane, "unroutable").inc(events)

    def _messages(self, rows: Sequence[Recorded]) -> Iterator[tuple[Outgoing, list[UUID]]]:
        if self.lane == "public":
            for row in rows:
                if body := self._public_form(row):
                    yield (
                        Outgoing(PUBLIC_EXCHANGE, row.type, body, codec.CONTENT_TYPE, str(row.id), row.type, False),
                        [row.id],
                    )
            return
        groups: dict[str, list[Recorded]] = {}
        for row in rows:
            groups.setdefault(row.type, []).append(row)
        for topic, members in groups.items():
            exchange = events_exchange(topic.partition(".")[0])
            for part in parts(members):
                message = inside_message(exchange, topic, part, mandatory=topic in self.mandatory)
                yield message, [row.id for row in part]

    def _public_form(self, row: Recorded) -> bytes | None:
        """Return what departments get; None, with the type held back, when this program cannot make it.

        So it is after a downgrade, or when a contract makes public no longer what it did when the row was written.
        """
        try:
            return codec.encode_public(codec.decode(row.payload))
        except (codec.Undecodable, ValueError) as error:
            if row.type not in self._held:
                log.error(
                    "event_not_public",
                    type=row.type,
                    event_id=str(row.id),
                    remedy="run the program that recorded it; the event stays in the outbox and is tried again",
                    **logs.describe(error),
                )
            self._held[row.type] = time.monotonic() + HOLD_SECONDS
            metrics.EVENTS_PUBLISHED.labels(row.type, self.lane, "unreadable").inc()
            return None


def gather_seconds(taken: int, lane: str = "inside") -> float:
    """Return how long to let events gather after a batch of so many."""
    if lane == "public":
        return PUBLIC_SECONDS
    return min(taken * GATHER_SECONDS, GATHER_MOST_SECONDS) if taken < LARGE else 0.0


def inside_message(exchange: str, topic: str, part: Sequence[Any], *, mandatory: bool) -> Outgoing:
    """Return the message that brings events of one type, rows with id and payload, to our own services."""
    bodies = [bytes(row.payload) for row in part]
    body, content_type = bodies[0], codec.CONTENT_TYPE
    if len(bodies) > 1:
        body, content_type = codec.join_batch(bodies), codec.BATCH_CONTENT_TYPE
    first: UUID = part[0].id
    return Outgoing(exchange, routing_key(topic), body, content_type, str(first), topic, mandatory)


def parts(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Split rows of one type into the contents of messages: at most 100 events and 1 MiB each."""
    part: list[Any] = []
    size = 2
    for row in rows:
        length = len(row.payload) + 1
        if part and (len(part) == codec.MAX_BATCH_EVENTS or size + length > codec.MAX_BATCH_BYTES):
            yield part
            part, size = [], 2
        part.append(row)
        size += length
    if part:
        yield part


def _wait_for_news(connection: sa.Connection, seconds: float) -> None:
    """Wait until a commit says that there are new events, or for so long."""
    driver = connection.connection.driver_connection
    try:
        # To its end: it gives first what came meanwhile, and keeps what is not taken until the connection is closed.
        for _ in driver.notifies(timeout=seconds, stop_after=1):  # type: ignore[union-attr]
            continue
    except psycopg.Error as error:  # the driver's own, which SQLAlchemy did not get to see
        raise DatabaseUnavailable() from error

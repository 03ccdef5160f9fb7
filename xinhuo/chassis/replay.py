"""Replay: recorded events are sent once more to the handlers of one service, and to nobody else.

Read from the publishers' outboxes, where every event stays, in the order of their positions, marked as replayed and
published to the exchange that leads to one handler's queue only. The inbox makes it safe: what the handler has dealt
with falls out. An event that its relay has not sent yet is left to the relay.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from threading import Event as Flag
from typing import NamedTuple, Protocol
from uuid import UUID

import sqlalchemy as sa

from xinhuo.contracts import codec

from .db import Database
from .markers import Subscription, marked
from .relay import inside_message, parts
from .service import Service
from .topology import queue_name, replay_exchange
from .wire import BrokerUnavailable, Outgoing, Publisher, QueueFull

PAGE = 2000
#: So many messages may wait in the queue; what happens meanwhile stands behind them, and should not stand there long.
MOST_WAITING = 100
#: When the handler takes nothing for so long, it is not running.
STALLED_SECONDS = 300.0
_PAUSE = 0.2
_BROKER_AWAY_PAUSES = 20

_LAST = sa.text("SELECT coalesce(max(position), 0) FROM outbox")
_CHOSEN = (
    "FROM outbox WHERE position > :after AND position <= :last AND type = ANY(:types)"
    " AND recorded_at >= :since AND recorded_at < coalesce(CAST(:until AS timestamptz), 'infinity')"
)
_COUNT = sa.text(f"SELECT type, count(*) AS events {_CHOSEN} GROUP BY type ORDER BY type")
_PAGE = sa.text(f"SELECT position, id, type, payload {_CHOSEN} ORDER BY position LIMIT :page")

#: Reports that so many events of a handler were sent, of so many, and what is being waited for, if anything.
Report = Callable[[str, int, int, str | None], None]


class UnknownHandler(Exception):
    """The service has no such handler, or none of its handlers wants the named types; the text says what there is."""


class NotReplayed(Exception):
    """The replay cannot go on: the queue's exchange is missing, or nobody takes anything out of the queue."""


class ReplayPublisher(Publisher, Protocol):
    """A publisher that also knows how many messages wait in a queue."""

    def waiting(self, queue: str) -> int:
        """Return how many messages wait in a queue; raises BrokerUnavailable."""


@dataclass(frozen=True)
class Target:
    """One handler, and the event types it is sent again."""

    queue: str
    types: tuple[str, ...]

    @property
    def publishers(self) -> list[str]:
        """The services in whose outboxes the events are."""
        return list(dict.fromkeys(topic.partition(".")[0] for topic in self.types))

    def types_of(self, publisher: str) -> list[str]:
        """Return the types that one service publishes."""
        return [topic for topic in self.types if topic.partition(".")[0] == publisher]


@dataclass(frozen=True)
class Span:
    """Which events: those recorded at ``since`` or later, and before ``until``."""

    since: datetime
    until: datetime | None = None


class _Row(NamedTuple):
    id: UUID
    type: str
    payload: bytes


def targets(service: type[Service], *, handler: str | None = None, types: Sequence[str] = ()) -> list[Target]:
    """Return the handlers of a service that are meant, each with its types; raises UnknownHandler."""
    subscriptions: dict[str, Subscription] = marked(service, Subscription)
    wanted = handler.removeprefix(f"{service.name}.") if handler else None
    if wanted is not None and wanted not in subscriptions:
        raise UnknownHandler(
            f"{service.name} 没有处理程序 {handler}，可选：{'、'.join(subscriptions)} / "
            f"{service.name} has no handler {handler}; there are {', '.join(subscriptions)}"
        )
    chosen = {name: mark for name, mark in subscriptions.items() if wanted in (None, name)}
    known = list(dict.fromkeys(event.topic for mark in chosen.values() for event in mark.events))
    if unknown := [topic for topic in types if topic not in known]:
        raise UnknownHandler(
            f"{'、'.join(unknown)} 不是 {service.name} 订阅的事件，可选：{'、'.join(known)} / "
            f"not subscribed to there; the types are {', '.join(known)}"
        )
    found = [
        Target(
            queue_name(service.name, name),
            tuple(event.topic for event in mark.events if not types or event.topic in types),
        )
        for name, mark in chosen.items()
    ]
    return [target for target in found if target.types]


def count(database_of: Callable[[str], Database], target: Target, span: Span) -> dict[str, int]:
    """Return how many events of each type a replay to a handler would send."""
    found: dict[str, int] = {}
    for publisher in target.publishers:
        with database_of(publisher).transaction() as session:
            last = session.scalar(_LAST)
            rows = session.execute(_COUNT, _chosen(target.types_of(publisher), span, 0, last or 0))
            found |= {row.type: row.events for row in rows}
    return found


def send(
    database_of: Callable[[str], Database],
    publisher: ReplayPublisher,
    target: Target,
    span: Span,
    *,
    rate: int | None = None,
    report: Report = lambda *_: None,
    stop: Flag | None = None,
) -> Counter[str]:
    """Send the chosen events to a handler, at most ``rate`` a second; return how many of each type were sent.

    It waits while the queue is full or long, and through a short absence of the broker: an event that was sent twice
    takes effect once. Ends early, with what was sent so far, when told to ``stop``; it can simply be run again.
    Raises NotReplayed and BrokerUnavailable.
    """
    stop = stop or Flag()
    total = sum(count(database_of, target, span).values())
    sent: Counter[str] = Counter()
    started = time.monotonic()
    gate = _Gate(publisher, target.queue, stop, lambda why: report(target.queue, sent.total(), total, why))
    page = PAGE if rate is None else max(1, min(PAGE, rate))
    for name in target.publishers:
        for rows in _pages(database_of(name), target.types_of(name), span, page):
            gate.publish(list(_messages(target.queue, rows)))
            if stop.is_set():
                return sent
            sent.update(row.type for row in rows)
            report(target.queue, sent.total(), total, None)
            if rate is not None:
                stop.wait(max(0.0, started + sent.total() / rate - time.monotonic()))
    return sent


def _pages(db: Database, types: list[str], span: Span, size: int) -> Iterator[list[_Row]]:
    with db.transaction() as session:
        last: int = session.scalar(_LAST) or 0
    after = 0
    while True:
        with db.transaction() as session:
            rows = session.execute(_PAGE, _chosen(types, span, after, last) | {"page": size}).all()
        if rows:
            yield [_Row(row.id, row.type, codec.as_replayed(bytes(row.payload))) for row in rows]
            after = rows[-1].position
        if len(rows) < size:
            return


def _chosen(types: list[str], span: Span, after: int, last: int) -> dict[str, object]:
    return {"types": types, "since": span.since, "until": span.until, "after": after, "last": last}


def _messages(queue: str, rows: Sequence[_Row]) -> Iterator[Outgoing]:
    """Put neighbours of one type into one message each, so that the order stays that of the log."""
    for topic, same in groupby(rows, key=lambda row: row.type):
        for part in parts(same):
            yield inside_message(replay_exchange(queue), topic, part, mandatory=True)


class _Gate:
    """Lets messages pass as fast as the queue takes them."""

    def __init__(self, publisher: ReplayPublisher, queue: str, stop: Flag, waits: Callable[[str | None], None]) -> None:
        self._publisher, self._queue, self._stop, self._waits = publisher, queue, stop, waits
        self._away = 0

    def publish(self, messages: list[Outgoing]) -> None:
        """Publish all of them, some perhaps twice, or return early when told to stop."""
        while not self._stop.is_set():
            self._wait_for_room()
            try:
                if self._publisher.publish(messages):
                    raise NotReplayed(
                        f"缺少交换机 {replay_exchange(self._queue)} 的绑定，请先运行 xinhuo topology apply / "
                        f"nothing is bound to {replay_exchange(self._queue)}: run xinhuo topology apply"
                    )
            except QueueFull:
                self._waits(f"{self._queue} 已满 / is full")
                self._stop.wait(_PAUSE)
            except BrokerUnavailable as error:
                self._bear(error)
            else:
                self._away = 0
                return

    def _wait_for_room(self) -> None:
        least: int | None = None
        moved_at = time.monotonic()
        while not self._stop.is_set():
            try:
                waiting = self._publisher.waiting(self._queue)
            except BrokerUnavailable as error:
                self._bear(error)
                continue
            if waiting < MOST_WAITING:
                return
            if least is None or waiting < least:
                least, moved_at = waiting, time.monotonic()
            elif time.monotonic() - moved_at > STALLED_SECONDS:
                raise NotReplayed(
                    f"{self._queue} 有 {waiting} 条消息等待，{STALLED_SECONDS:.0f} 秒无人处理，请检查其 worker / "
                    f"{waiting} messages wait in {self._queue} and nobody takes one: does its worker run?"
                )
            self._waits(f"{self._queue} 有 {waiting} 条消息等待处理 / messages wait there")
            self._stop.wait(_PAUSE)

    def _bear(self, error: BrokerUnavailable) -> None:
        """Wait out a short absence of the broker; after some tries it is raised."""
        if "NotFound" in str(error):
            raise NotReplayed(
                f"没有队列 {self._queue}，请先运行 xinhuo topology apply / "
                f"there is no queue {self._queue}: run xinhuo topology apply"
            ) from error
        self._away += 1
        if self._away > _BROKER_AWAY_PAUSES:
            raise error
        self._waits("RabbitMQ 暂时连接不上 / the broker is away")
        self._stop.wait(min(0.1 * 2**self._away, 3.0))

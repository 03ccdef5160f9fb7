"""The work behind a service's subscriptions and jobs, neutral of the broker that brings the messages."""

import random
import time
from collections.abc import Callable, Sequence
from threading import Event as Flag
from typing import Any

import sqlalchemy as sa
from prometheus_client import Gauge
from sqlalchemy.exc import DBAPIError

from xinhuo.contracts.codec import Undecodable

from . import jobs, ladder, logs, metrics, migrations, parked
from .db import database_now
from .errors import Unavailable
from .markers import Job, Subscription, marked
from .outbox import IN_ORDER
from .service import Service
from .topology import queue_name
from .wire import TIME_IN_FUTURE, Broken, Incoming, open_message

log = logs.get("worker")
_TICK = 0.5
_GAUGES_SECONDS, _SCHEMA_SECONDS, _FIGURES_SECONDS = 5.0, 30.0, 60.0
#: Figures are counted in whole tables. They may take a hundredth of the time, and each count so many seconds at most.
_FIGURES_SHARE, _FIGURES_LONGEST = 100, 10
#: A message that came back so often may hold an event that takes its process down with it.
_SUSPECT = 2


class Worker:
    """Runs what is marked on one service; its methods are called by an adapter's threads or greenlets."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.db = service.runtime.db
        self.subscriptions: dict[str, Subscription] = marked(type(service), Subscription)
        self.handlers: dict[str, ladder.Handle] = {
            self.handler_name(name): getattr(service, name) for name in self.subscriptions
        }
        #: Of these the table knows when they were done. The others end well without a period while there is no work.
        self._by_period = {name for name, mark in marked(type(service), Job).items() if mark.when is None}
        self._reasons: set[str] = set()
        self._decided: dict[tuple[str, str], int] = {}
        self._counts = False
        self._busy = metrics.WORKERS_BUSY.labels(service.name, "handler")
        self._figures: set[tuple[Gauge, tuple[str, ...]]] = set()
        #: Tells whether this is the one worker of the service that shows its figures; set by the adapter.
        self.leads: Callable[[], bool] = lambda: False

    def handler_name(self, method: str) -> str:
        """Return the name that a method's queue, inbox rows and dead letters go by."""
        return queue_name(self.service.name, method)

    def receive(self, method: str, messages: Sequence[Incoming]) -> list[Undecodable | None]:
        """Give every event in the messages its effect or its place on the failure ladder.

        Returns, for each message, None when it may be acknowledged, or why the whole of it cannot be read:
        the broker's own dead-letter exchange is for those. Raises DatabaseUnavailable; call again later.
        """
        with self._busy.track_inprogress():
            return self._receive(method, messages)

    def _receive(self, method: str, messages: Sequence[Incoming]) -> list[Undecodable | None]:
        handler = self.handler_name(method)
        deliveries: list[ladder.Delivery] = []
        verdicts: list[Undecodable | None] = []
        for message in messages:
            try:
                readable, broken = self._open(message)
            except Undecodable as error:
                verdicts.append(error)
                continue
            for part in broken:
                ladder.bury_message(self.db, handler, part.body, part.code, part.why)
            deliveries += readable
            verdicts.append(None)
        size = self.subscriptions[method].batch or self.service.runtime.settings.batch_max
        returns = max((message.returns for message in messages), default=0)
        if returns >= _SUSPECT:
            size = 1
            _reorder(deliveries, returns)
        for start in range(0, len(deliveries), size):
            ladder.take(self.db, handler, self.handlers[handler], deliveries[start : start + size])
        return verdicts

    def _open(self, message: Incoming) -> tuple[list[ladder.Delivery], list[Broken]]:
        """Open a message; before an event is condemned for its time, the database is asked what time it is."""
        try:
            readable, broken = open_message(message)
        except Undecodable as error:
            if error.code != TIME_IN_FUTURE:
                raise
        else:
            if all(part.code != TIME_IN_FUTURE for part in broken):
                return readable, broken
        with self.db.transaction() as session:
            return open_message(message, now=database_now(session))

    def bury(self, handler: str, message: Incoming, reason: str, why: str) -> None:
        """Put a message from the broker's dead-letter queue into the dead-letter table."""
        ladder.bury_message(self.db, handler, message.body, reason, why)

    def bury_undone(self, handler: str, message: Incoming, reason: str, why: str) -> None:
        """Put those events of a message that have not had their effect into the dead-letter table, one by one."""
        try:
            deliveries, broken = self._open(message)
        except Undecodable:
            self.bury(handler, message, reason, why)
            return
        for part in broken:
            ladder.bury_message(self.db, handler, part.body, part.code, part.why)
        ladder.bury_undone(self.db, handler, deliveries, reason, why)

    def housekeep(self, stop: Flag) -> None:
        """Run due jobs, retry parked events and refresh gauges until told to stop."""
        due: dict[str, float] = {}
        timed: dict[str, Job] = marked(type(self.service), Job)
        for name, mark in timed.items():
            metrics.JOB_PERIOD.labels(self.service.name, name).set(mark.every.total_seconds())
        while not stop.wait(_TICK):
            self._safely("parked_events", lambda: parked.retry_parked(self.db, self.handlers))
            for name, mark in timed.items():
                if due.get(name, 0.0) > time.monotonic():
                    continue
                due[name] = time.monotonic() + min(mark.every.total_seconds(), 60.0)
                self._safely(name, self._job(name, mark))
            for name, refresh in (
                ("gauges", self._refresh_gauges),
                ("schema_revision", self._show_revision),
                ("figures", self._show_figures),
            ):
                if due.get(name, 0.0) <= time.monotonic():
                    started = time.monotonic()
                    self._safely(name, refresh)
                    due[name] = started + _pause(name, time.monotonic() - started)

    def _job(self, name: str, mark: Job) -> Callable[[], object]:
        work = getattr(self.service, name)
        return lambda: jobs.run_if_due(self.db, name, mark.every, work, offset=mark.offset, when=mark.when)

    def _safely(self, name: str, work: Callable[[], object]) -> None:
        try:
            work()
        except (Unavailable, DBAPIError) as error:
            log.warning("housekeeping_waits", job=name, **logs.describe(error))
        except Exception as error:  # one bad job must not stop the others; it is tried again and shows as stale
            log.error("job_failed", job=name, **logs.describe(error))

    def _refresh_gauges(self) -> None:
        service = self.service.name
        with self.db.transaction() as session:
            database_now(session)  # by which events and ids are dated until the next round
            session.execute(IN_ORDER, {"until_commit": True})
            pending, oldest, uncopied = session.execute(
                sa.text(
                    "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(recorded_at)), 0),"
                    " coalesce((SELECT extract(epoch FROM clock_timestamp() - recorded_at) FROM outbox"
                    " WHERE public AND public_published_at IS NULL ORDER BY seq LIMIT 1), 0)"
                    " FROM outbox WHERE published_at IS NULL"
                )
            ).one()
            dead: Any = session.execute(
                sa.text("SELECT reason, count(*) FROM dead_letters WHERE state = 'waiting' GROUP BY reason")
            ).all()
            decided: Any = session.execute(
                sa.text("SELECT action, split_part(outcome, ' ', 1), count(*) FROM dead_letter_actions GROUP BY 1, 2")
            ).all()
            done: Any = session.execute(
                sa.text(
                    "SELECT name, extract(epoch FROM max(finished_at)) FROM jobs"
                    " WHERE finished_at IS NOT NULL GROUP BY name"
                )
            ).all()
            self.service.refresh_gauges(session)
        metrics.OUTBOX_PENDING.labels(service).set(pending)
        metrics.OUTBOX_OLDEST.labels(service).set(float(oldest))
        metrics.OUTBOX_PUBLIC_OLDEST.labels(service).set(float(uncopied))
        for job, finished in done:  # whichever worker did it
            if job in self._by_period:
                metrics.JOB_LAST_SUCCESS.labels(service, job).set(float(finished))
        waiting = dict.fromkeys(self._reasons, 0) | {reason: count for reason, count in dead}
        self._reasons |= waiting.keys()
        for reason, count in waiting.items():  # one that nobody waits for any more is 0, not what it was
            metrics.DEAD_LETTERS.labels(service, reason).set(count)
        for action, outcome, count in decided:
            # Who decides is a command or an api process; workers count for all of them, from when they started.
            metrics.DEAD_LETTERS_DECIDED.labels(service, action, outcome).inc(
                max(0, count - self._decided.get((action, outcome), 0 if self._counts else count))
            )
            self._decided[action, outcome] = count
        self._counts = True

    def _show_revision(self) -> None:
        if expected := self.service.runtime.expected_revision:
            tables = migrations.tables_of_service(self.db)
            metrics.show_revision(self.service.name, expected, tables.revision, works=tables.serve(expected))

    def _show_figures(self) -> None:
        """Show the figures in one worker of the service, and in no other."""
        found: dict[tuple[Gauge, tuple[str, ...]], float] = {}
        if self.leads():
            with self.db.transaction() as session:
                session.execute(sa.text(f"SET LOCAL statement_timeout = '{_FIGURES_LONGEST}s'"))
                found = {(gauge, labels): value for gauge, labels, value in self.service.figures(session)}
        for gauge, labels in self._figures - found.keys():
            gauge.remove(*labels)
        self._figures = set(found)
        for (gauge, labels), value in found.items():
            gauge.labels(*labels).set(value)


def _pause(name: str, took: float) -> float:
    """Return how long after its beginning something is refreshed again."""
    if name == "gauges":
        return _GAUGES_SECONDS
    return _SCHEMA_SECONDS if name == "schema_revision" else max(_FIGURES_SECONDS, _FIGURES_SHARE * took)


def _reorder(deliveries: list[ladder.Delivery], returns: int) -> None:
    """Put the events into another order at each return, so that those behind a deadly one get done before it."""
    if returns == _SUSPECT + 1:
        deliveries.reverse()
    elif returns > _SUSPECT:
        random.shuffle(deliveries)

"""The job's records, the sending of them, and the wait until every effect is durable."""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from benchmarks.client import TOKEN

from . import cpu

MINUTES = 30
CONNECTIONS = 64
#: Of the requests of a paced round; the load generator must never be what waits.
PACED_CONNECTIONS = 200
_STALL_SECONDS = 30.0


@dataclass(frozen=True)
class Record:
    """One activity record: whose (a number), when, how long."""

    volunteer: int
    started_at: str
    ended_at: str
    minutes: int


@dataclass(frozen=True)
class Load:
    """Records to be logged."""

    records: tuple[Record, ...]

    @property
    def minutes(self) -> int:
        """The sum of all records' minutes."""
        return sum(record.minutes for record in self.records)


@dataclass(frozen=True)
class Figures:
    """What one round at full speed gave; CPU of services, broker and database together."""

    per_second: float
    cpu_per_thousand: float
    public_lag_seconds: float = 0.0
    public_per_second: float = 0.0


@dataclass(frozen=True)
class Paced:
    """What one round at a fixed rate gave: from the moment a request was due to its acknowledgement's commit."""

    p50_ms: float
    p99_ms: float
    cpu_per_thousand: float


def make_load(count: int, volunteers: int, *, first_slot: int = 0) -> Load:
    """Return records that overlap for nobody: each volunteer serves a half hour in the morning, one at noon."""
    start = datetime.fromisoformat("2026-01-01T00:00:00+08:00")
    records = []
    for number in range(count):
        slot = first_slot + number // volunteers
        begin = start + timedelta(days=slot // 2, hours=8 + 4 * (slot % 2))
        end = begin + timedelta(minutes=MINUTES)
        records.append(Record(number % volunteers, begin.isoformat(), end.isoformat(), MINUTES))
    return Load(tuple(records))


def send(
    port: int, path: str, bodies: list[bytes], *, rate: float = 0.0, connections: int = 0, token: str = ""
) -> dict[str, Any]:
    """Send all bodies from a process of its own; raises AssertionError unless every answer is a success."""
    connections = connections or (PACED_CONNECTIONS if rate else CONNECTIONS)
    command = [sys.executable, "-m", "benchmarks.client", str(port), path, str(connections), str(rate)]
    environment = {**os.environ, TOKEN: token}
    done = subprocess.run(command, input=b"\n".join(bodies), env=environment, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    refused = {status: count for status, count in result["statuses"].items() if not status.startswith("2")}
    if refused:
        raise AssertionError(f"{path} refused requests: {refused}")
    return result


def measured(
    post: Callable[[], dict[str, Any]],
    settled: Callable[[], None],
    count: int,
    *,
    finished: Callable[[], None] = lambda: None,
) -> Figures:
    """Send a load and time it to its last effect, for which ``settled`` waits.

    The processor's time is taken when also what nobody waits for is done, for which ``finished`` waits.
    """
    before = cpu.seconds_of_descendants()
    sent = post()
    settled()
    seconds = time.time() - sent["started"]
    finished()
    used = cpu.seconds_of_descendants() - before
    return Figures(count / seconds, used / count * 1000)


def paced(
    post: Callable[[], dict[str, Any]], settled: Callable[[], None], committed: Callable[[list[str]], dict[str, float]]
) -> Paced:
    """Send a load at its rate and return the latencies; ``committed`` tells when acknowledgements became durable."""
    before = cpu.seconds_of_descendants()
    sent = post()
    settled()
    used = cpu.seconds_of_descendants() - before
    due: dict[str, float] = sent["due"]
    at = committed(list(due))
    if at.keys() != due.keys():
        raise AssertionError(f"{len(due)} records, {len(at)} acknowledgements")
    late = [(at[one] - due[one]) * 1000 for one in due]
    return Paced(statistics.median(late), statistics.quantiles(late, n=100)[98], used / len(due) * 1000)


def wait_for_effects(effects: Callable[[], tuple[int, ...]], expected: tuple[int, ...]) -> None:
    """Wait until the effects are exactly as expected.

    Raises AssertionError when nothing moves any more, or when an effect exceeds what is expected.
    """
    seen: tuple[int, ...] = ()
    moved = time.monotonic()
    pause = threading.Event()
    while (found := effects()) != expected:
        if any(have > want for have, want in zip(found, expected, strict=True)):
            raise AssertionError(f"counted twice: {found} instead of {expected}")
        if found != seen:
            seen, moved = found, time.monotonic()
        if time.monotonic() - moved > _STALL_SECONDS:
            raise AssertionError(f"lost: {found} instead of {expected}")
        pause.wait(0.02)


def numbers(engine: sa.Engine, statement: sa.TextClause, **values: Any) -> tuple[int, ...]:
    """Return the one row of a statement as whole numbers."""
    with engine.connect() as connection:
        return tuple(int(value) for value in connection.execute(statement, values).one())


def instants(engine: sa.Engine, statement: sa.TextClause, ids: list[str]) -> dict[str, float]:
    """Return, by id, the instants that a statement with a parameter ``ids`` gives."""
    with engine.connect() as connection:
        return {str(row.id): float(row.at) for row in connection.execute(statement, {"ids": ids})}

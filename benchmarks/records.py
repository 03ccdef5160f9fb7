"""The job's records, the sending of them, and the wait until every effect is durable."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

MINUTES = 30
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
    """Records and the number of connections that send them, one record a request."""

    records: tuple[Record, ...]
    connections: int = 64

    @property
    def minutes(self) -> int:
        """The sum of all records' minutes."""
        return sum(record.minutes for record in self.records)


@dataclass(frozen=True)
class Figures:
    """What one round gave."""

    per_second: float
    request_seconds: float
    total_seconds: float
    public_lag_seconds: float = 0.0


def make_load(count: int, volunteers: int, *, first_slot: int = 0) -> Load:
    """Return records that overlap for nobody: each volunteer serves a half hour in the morning, one at noon."""
    start = datetime.fromisoformat("2026-03-01T00:00:00+08:00")
    records = []
    for number in range(count):
        slot = first_slot + number // volunteers
        begin = start + timedelta(days=slot // 2, hours=8 + 4 * (slot % 2))
        end = begin + timedelta(minutes=MINUTES)
        records.append(Record(number % volunteers, begin.isoformat(), end.isoformat(), MINUTES))
    return Load(tuple(records))


def send(port: int, path: str, bodies: list[bytes], connections: int) -> dict[str, Any]:
    """Send all bodies from a process of its own; raises AssertionError unless every answer is a success."""
    command = [sys.executable, "-m", "benchmarks.client", str(port), path, str(connections)]
    done = subprocess.run(command, input=b"\n".join(bodies), stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    refused = {status: count for status, count in result["statuses"].items() if not status.startswith("2")}
    if refused:
        raise AssertionError(f"{path} refused requests: {refused}")
    return result


def wait_for_effects(
    sent: dict[str, Any], effects: Callable[[], tuple[int, ...]], expected: tuple[int, ...]
) -> Figures:
    """Wait until the effects are exactly as expected and time it from the first request.

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
    total = time.time() - sent["started"]
    return Figures(expected[0] / total, sent["seconds"], total)

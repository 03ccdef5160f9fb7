"""The plain baseline under the same faults: its processes, its load and its true figures."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from . import calls, faults
from .fleet import Fleet, Member, environment_for
from .load import Load, Person, Scene
from .system import free_port

SERVICES = ("volunteers", "statistics", "awards", "notify")
EFFECTS = ("statistics", "tally", "acknowledgement")
QUIET_SECONDS, PATIENCE = 3.0, 40.0
_TABLES = """
CREATE TABLE hours (id serial PRIMARY KEY, volunteer_id text, started_at timestamptz);
CREATE TABLE statistics (unit_code text PRIMARY KEY, entries bigint);
CREATE TABLE tallies (volunteer_id text PRIMARY KEY, minutes bigint);
CREATE TABLE counted (effect text, hours_id integer);
"""
_FIGURES = """
WITH each AS (
    SELECT h.id, e.effect, (SELECT count(*) FROM counted c WHERE c.effect = e.effect AND c.hours_id = h.id) AS times
    FROM hours h CROSS JOIN unnest(%s::text[]) AS e (effect)
)
SELECT (SELECT count(*) FROM hours), (SELECT coalesce(sum(entries), 0) FROM statistics),
    (SELECT count(DISTINCT id) FROM each WHERE times = 0), (SELECT count(DISTINCT id) FROM each WHERE times > 1)
"""


@dataclass
class Figures:
    """What came of the baseline."""

    written: int
    counted: int
    lost: int
    twice: int
    seconds: float
    faults: dict[str, int]


class PlainLoad(Load):
    """Single records, never asked again: without keys a repetition would enter them twice."""

    def _some_call(self) -> Coroutine[Any, Any, None]:
        return self._plain_single()

    async def _plain_single(self) -> None:
        slot, body = self._item()
        number = self._history.invoke("log", [slot])
        record = {
            "volunteer_id": body["volunteer_id"],
            "unit_code": body["activity_id"],
            "started_at": body["started_at"],
            "minutes": slot[2],
        }
        headers = {"Content-Type": "application/json"}
        try:
            reply = await calls.request(self._port, "POST", "/hours", json.dumps(record).encode(), headers)
        except calls.NotSent:
            self._history.result(number, "fail", why="not sent")
        except (calls.NoAnswer, asyncio.CancelledError):
            self._history.result(number, "unknown")
        else:
            self._history.result(number, "ok" if reply.status == 201 else "unknown", status=reply.status)


def make_fleet(amqp_uri: str, database_url: str, folder: Path) -> tuple[Fleet, int]:
    """Return the processes of the baseline, not yet started, and the port of the one that answers."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = environment_for({"PLAIN_AMQP_URI": amqp_uri, "PLAIN_DATABASE_URL": database_url})
    members = [
        Member(f"{name}-plain", [sys.executable, "-m", "xinhuo.cli.prove.plain_program", name, str(port)], None)
        for name in SERVICES
    ]
    return Fleet(members, environment, folder), port


def prepare(database_url: str) -> Scene:
    """Make the tables; return people that the baseline takes as they come."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_TABLES)
    return Scene([Person(f"v{n}", "", "", f"u{n % 40}", "") for n in range(400)], lambda _rows: b"")


def wait_until_serving(fleet: Fleet, port: int) -> None:
    """Wait until every process says that it has started and the port is open."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        started = all("started" in fleet.log_of(member) for member in fleet.members)
        if started and _answers(port):
            return
        time.sleep(0.1)
    raise RuntimeError("the plain baseline does not start:\n" + "\n".join(map(fleet.log_of, fleet.members)))


def _answers(port: int) -> bool:
    try:
        asyncio.run(calls.request(port, "GET", "/nothing"))
    except (calls.NotSent, calls.NoAnswer):
        return False
    return True


def figures(database_url: str, done: Counter[str], seconds: float) -> Figures:
    """Wait until nothing moves any more and count."""
    last, since = None, time.monotonic()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and time.monotonic() - since < QUIET_SECONDS:
        found = _count(database_url)
        if found != last:
            last, since = found, time.monotonic()
        time.sleep(0.3)
    assert last is not None  # noqa: S101  (the loop runs at least once)
    written, counted, lost, twice = last
    return Figures(written, counted, lost, twice, seconds, dict(done))


def _count(database_url: str) -> tuple[int, int, int, int]:
    with psycopg.connect(database_url, connect_timeout=5) as connection:
        row = connection.execute(_FIGURES, (list(EFFECTS),)).fetchone()
    assert row is not None  # noqa: S101  (an aggregate)
    return int(row[0]), int(row[1]), int(row[2]), int(row[3])


def share_of(planned: Sequence[faults.Fault], seconds: float) -> list[faults.Fault]:
    """Return those of the first so many seconds that plain nameko can be hit by."""
    return [fault for fault in planned if fault.at < seconds and fault.kind not in faults.NOT_PLAIN]

"""Rounds of the baselines: fresh tables, four processes each, the load, and an exact check of every effect."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import sqlalchemy as sa

from tests.support.processes import free_port
from tests.support.rabbit import RabbitNode
from tests.support.waiting import wait_for

from .records import Figures, Load, Paced, instants, make_load, measured, numbers, paced, send, wait_for_effects
from .servers import vhost_of_its_own

T = TypeVar("T")
SERVICES = ("statistics", "awards", "notify", "volunteers")
_TABLES = """
DROP TABLE IF EXISTS hours, statistics, tallies, acknowledgements;
CREATE TABLE hours (id serial PRIMARY KEY, volunteer_id text, unit_code text, team_code text,
    category text, month text, started_at timestamptz, minutes integer);
CREATE TABLE statistics (month text, unit_code text, team_code text, category text,
    minutes bigint, entries bigint, PRIMARY KEY (month, unit_code, team_code, category));
CREATE TABLE tallies (volunteer_id text PRIMARY KEY, minutes bigint, star integer);
CREATE TABLE acknowledgements (id serial PRIMARY KEY, volunteer_id text, hours_id integer, text text);
"""
_EMPTY = sa.text("TRUNCATE hours, statistics, tallies, acknowledgements")
#: As many are logged after each start, before anything is measured: of those that it does in a second or two.
_WARM_UP = 500
_EFFECTS = sa.text(
    "SELECT (SELECT count(*) FROM hours), (SELECT coalesce(sum(entries), 0) FROM statistics),"
    " (SELECT coalesce(sum(minutes), 0) FROM statistics), (SELECT coalesce(sum(minutes), 0) FROM tallies),"
    " (SELECT count(*) FROM acknowledgements)"
)
_ACKNOWLEDGED = sa.text(
    "SELECT hours_id AS id, extract(epoch FROM pg_xact_commit_timestamp(xmin)) AS at FROM acknowledgements"
    " WHERE hours_id = ANY(CAST(:ids AS integer[]))"
)


@dataclass(frozen=True)
class Baseline:
    """The same job by somebody else's means, and the settings of which the best one counts."""

    name: str
    program: str
    settings: tuple[int, ...]


PLAIN = Baseline("plain nameko", "benchmarks.plain_process", (10, 32, 64))
FASTSTREAM = Baseline("FastStream", "benchmarks.faststream_services", (10, 32, 64))


class Rounds:
    """Measures one baseline, each round in a virtual host and tables of its own, with the best of its settings."""

    def __init__(self, baseline: Baseline, node: RabbitNode, database_url: str, volunteers: int) -> None:
        self.baseline, self._node, self._url, self._volunteers = baseline, node, database_url, volunteers
        self.workers = baseline.settings[0]
        self.tried: dict[int, float] = {}

    def choose(self, count: int) -> None:
        """Try each setting and keep the fastest."""
        for workers in self.baseline.settings:
            self.workers = workers
            self.tried[workers] = self.single(count).per_second
        self.workers = max(self.tried, key=lambda workers: self.tried[workers])

    def single(self, count: int) -> Figures:
        """Send records, one a POST; raises AssertionError when an effect is missing or doubled."""
        load = make_load(count, self._volunteers)

        def work(port: int, engine: sa.Engine) -> Figures:
            bodies = _bodies(load)
            return measured(lambda: send(port, "/hours", bodies), lambda: _settle(engine, load), count)

        return self._round(work)

    def paced(self, count: int, rate: float) -> Paced:
        """Send so many records a second, whatever the answers take."""
        load = make_load(count, self._volunteers)

        def work(port: int, engine: sa.Engine) -> Paced:
            return paced(
                lambda: send(port, "/hours", _bodies(load), rate=rate), lambda: _settle(engine, load),
                lambda ids: instants(engine, _ACKNOWLEDGED, ids),
            )  # fmt: skip

        return self._round(work)

    def _round(self, work: Callable[[int, sa.Engine], T]) -> T:
        engine = sa.create_engine(self._url)
        with engine.begin() as connection:
            connection.execute(sa.text(_TABLES))
        port = free_port()
        with (
            vhost_of_its_own(self._node, "baseline") as uri,
            tempfile.NamedTemporaryFile() as log,
            self._processes(uri, port, log),
        ):
            try:
                self._warm_up(port, engine)
                return work(port, engine)
            except AssertionError as error:
                raise AssertionError(f"{self.baseline.name}: {error}; its log: {_errors(log)}") from None
            finally:
                engine.dispose()

    def _warm_up(self, port: int, engine: sa.Engine) -> None:
        load = make_load(_WARM_UP, self._volunteers)
        send(port, "/hours", _bodies(load))
        _settle(engine, load)
        with engine.begin() as connection:
            connection.execute(_EMPTY)

    @contextmanager
    def _processes(self, amqp_uri: str, port: int, log: IO[bytes]) -> Iterator[None]:
        environment = {
            **os.environ,
            "BASELINE_AMQP_URI": amqp_uri,
            "BASELINE_DATABASE_URL": self._url,
            "BASELINE_WORKERS": str(self.workers),
        }
        started: list[subprocess.Popen[Any]] = []
        try:
            for name in SERVICES:
                command = [sys.executable, "-W", "ignore", "-m", self.baseline.program, name, str(port)]
                started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log))
            for process in started:
                assert process.stdout is not None
                line = process.stdout.readline()
                wait_for(lambda line=line: b"started" in line, 5, f"{self.baseline.name} to start: {_errors(log)}")
            yield
        finally:
            for process in started:
                process.kill()
            for process in started:
                process.wait()


def _settle(engine: sa.Engine, load: Load) -> None:
    total = len(load.records)
    expected = (total, total, load.minutes, load.minutes, total)
    wait_for_effects(lambda: numbers(engine, _EFFECTS), expected)


def _bodies(load: Load) -> list[bytes]:
    """Return the requests of a load in the baselines' own form."""
    return [
        json.dumps(
            {
                "volunteer_id": f"v{record.volunteer}",
                "unit_code": f"u{record.volunteer % 40}",
                "team_code": f"t{record.volunteer % 25}",
                "category": f"c{record.volunteer % 8}",
                "month": record.started_at[:7],
                "started_at": record.started_at,
                "minutes": record.minutes,
            }
        ).encode()
        for record in load.records
    ]


def _errors(log: IO[bytes]) -> dict[str, int]:
    """Return the exceptions that the baseline logged, with how often."""
    log.seek(0)
    lines = [line.decode(errors="replace") for line in log]
    return dict(Counter(line.strip()[:200] for line in lines if re.match(r"\S*(Error|Exception|Timeout)\b", line)))

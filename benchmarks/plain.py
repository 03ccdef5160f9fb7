"""One round of the plain baseline: fresh tables, four processes, the load, and an exact check of every effect."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import sqlalchemy as sa

from tests.support.processes import free_port
from tests.support.waiting import wait_for

from .records import Figures, Load, send, wait_for_effects

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
_EFFECTS = sa.text(
    "SELECT (SELECT count(*) FROM hours), (SELECT coalesce(sum(entries), 0) FROM statistics),"
    " (SELECT coalesce(sum(minutes), 0) FROM statistics), (SELECT coalesce(sum(minutes), 0) FROM tallies),"
    " (SELECT count(*) FROM acknowledgements)"
)


def bodies(load: Load) -> list[bytes]:
    """Return the requests of a load in the baseline's own form."""
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


def run_round(amqp_uri: str, database_url: str, load: Load, workers: int) -> Figures:
    """Measure one load with one worker setting; raises AssertionError when an effect is missing or doubled."""
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text(_TABLES))
    port = free_port()
    with tempfile.NamedTemporaryFile() as log, _processes(amqp_uri, database_url, port, workers, log):
        sent = send(port, "/hours", bodies(load), load.connections)
        total = len(load.records)

        def effects() -> tuple[int, ...]:
            with engine.connect() as connection:
                return tuple(int(value) for value in connection.execute(_EFFECTS).one())

        expected = (total, total, load.minutes, load.minutes, total)
        try:
            return wait_for_effects(sent, effects, expected)
        except AssertionError as error:
            raise AssertionError(f"plain nameko: {error}; its log: {_errors(log)}") from None
        finally:
            engine.dispose()


def _errors(log: IO[bytes]) -> dict[str, int]:
    """Return the exceptions that the baseline logged, with how often."""
    log.seek(0)
    lines = [line.decode(errors="replace") for line in log]
    return dict(Counter(line.strip()[:200] for line in lines if re.match(r"\S*(Error|Exception|Timeout)\b", line)))


@contextmanager
def _processes(amqp_uri: str, database_url: str, port: int, workers: int, log: IO[bytes]) -> Iterator[None]:
    environment = {
        **os.environ,
        "PLAIN_AMQP_URI": amqp_uri,
        "PLAIN_DATABASE_URL": database_url,
        "PLAIN_WORKERS": str(workers),
    }
    started: list[subprocess.Popen[Any]] = []
    try:
        for name in SERVICES:
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.plain_process", name, str(port)]
            started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log))
        for process in started:
            assert process.stdout is not None
            line = process.stdout.readline()
            wait_for(lambda line=line: b"started" in line, 5, "a service of the plain baseline to start")
        yield
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()

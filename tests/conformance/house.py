"""Where the small service lives: a database, a virtual host unless it needs none, and its processes."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.conformance.service import Bench, event
from tests.support.installation import clean_environment
from tests.support.processes import LOOPBACK, end, free_port, tail
from tests.support.waiting import wait_for
from xinhuo.chassis import outbox
from xinhuo.chassis.db import Database
from xinhuo.chassis.ids import new_id

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30
PATIENCE = 30


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Running:
    """One process of the service."""

    def __init__(self, adapter: str, role: str, environment: dict[str, str], log: Path, port: int) -> None:
        self.port = port
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "tests.conformance.program", adapter, "--role", role,
                 "--port", str(self.port)],
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    @property
    def output(self) -> str:
        """Everything it has written so far."""
        return self.log.read_text(errors="replace")

    def wait_until_ready(self) -> "Running":
        """Return when it says that it is ready."""
        wait_for(self._is_ready, START_SECONDS, f"the process to be ready: {tail(self.log)}")
        return self

    def wait_until_said(self, text: str, timeout: float = PATIENCE) -> None:
        """Return when it has written a text."""
        wait_for(lambda: text in self.output, timeout, f"{text!r} in its log")

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = 20) -> int:
        """Return the exit code, when there is one."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s:\n{tail(self.log, 40)}") from None

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait()

    def ask(self, method: str, path: str, body: Any = None, timeout: float = 20, **headers: str) -> Answer:
        """Send a request and return its answer, whatever it is."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{LOOPBACK}:{self.port}{path}", data, method=method)
        request.add_header("Content-Type", "application/json")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
                return Answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{tail(self.log, 40)}"
        try:
            return self.ask("GET", "/readyz", timeout=2).status == 200
        except OSError:
            return False


@dataclass
class House:
    """The small service on one adapter."""

    adapter: str
    database_url: str
    amqp_uri: str
    folder: Path
    db: Database
    _shared: Running | None = None
    _all: list[Running] = field(default_factory=list)

    def spawn(self, role: str = "all", port: int = 0, **settings: str) -> Running:
        """Start a process, at a free port if at no other, and wait for nothing."""
        environment = clean_environment(
            {
                "DATABASE_URL": self.database_url,
                "AMQP_URI": self.amqp_uri,
                "XINHUO_KEY_FILE": str(self.folder / "master.key"),
                "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
                "PYTHONWARNINGS": "ignore",
                "XINHUO_RATE_OF_STRANGERS": "0",
                **settings,
            }
        )
        log = self.folder / f"{len(self._all)}-{role}.log"
        started = Running(self.adapter, role, environment, log, port or free_port())
        self._all.append(started)
        return started

    @contextmanager
    def running(self, role: str = "all", **settings: str) -> Iterator[Running]:
        """Run a process for the length of a block, and kill it if it still runs then; the shared one rests."""
        self.rest()
        started = self.spawn(role, **settings)
        try:
            yield started.wait_until_ready()
        finally:
            end(started.process, signal.SIGKILL, 10)

    def shared(self) -> Running:
        """Return the process that the tests of a module share, started when it does not run."""
        if self._shared is None or self._shared.process.poll() is not None:
            self._shared = self.spawn().wait_until_ready()
        return self._shared

    def rest(self) -> None:
        """Stop the shared process."""
        if self._shared is not None:
            self._shared.terminate()
            assert self._shared.wait() == 0, tail(self._shared.log, 40)
            self._shared = None

    def close(self) -> None:
        """End everything."""
        for running in self._all:
            end(running.process, signal.SIGKILL, 10)
        self.db.close()

    # --- What is in it ---------------------------------------------------------------------------------------

    def record(self, *words: str) -> None:
        """Record events as the service does, in one transaction, from outside."""
        with self.db.transaction() as session:
            outbox.record_all(session, [event(word) for word in words])

    def send_again(self, like: str) -> int:
        """Have the relay publish recorded events again; return how many."""
        self.wait_until_published()
        return len(
            self.rows(
                "UPDATE outbox SET published_at = NULL, position = NULL"
                " WHERE convert_from(payload, 'UTF8') LIKE :like RETURNING id", like=f"%{like}%",
            )
        )  # fmt: skip

    def rows(self, statement: str, **parameters: Any) -> list[Any]:
        """Return the rows of a statement, in a transaction of its own."""
        with self.db.transaction() as session:
            result = session.execute(sa.text(statement), parameters)
            return list(result.all()) if result.returns_rows else []

    def seen(self, word: str) -> int:
        """Return how many events with a word had their effect."""
        return int(self.rows("SELECT count(*) FROM seen WHERE word = :word", word=word)[0][0])

    def rows_of_owner(self, statement: str, **parameters: Any) -> list[Any]:
        """Return the rows of a statement that the service's role may not ask."""
        with self.db.as_owner() as connection:
            return list(connection.execute(sa.text(statement), parameters).all())

    def wait_until_seen(self, word: str, times: int = 1) -> None:
        """Return when so many events with a word had their effect; more would be wrong."""
        wait_for(lambda: self.seen(word) >= times, PATIENCE, f"{times} effects of {word}; {self._told()}")
        assert self.seen(word) == times

    def wait_until_published(self) -> None:
        """Return when everything recorded is marked as published, which may be after it had its effect."""
        wait_for(
            lambda: self.rows("SELECT count(*) FROM outbox WHERE published_at IS NULL")[0][0] == 0,
            PATIENCE, f"everything to be published; {self._told()}",
        )  # fmt: skip

    def wait_until_settled(self) -> None:
        """Return when everything recorded was published and dealt with by the handler."""
        self.wait_until_published()
        last = word("last")
        self.record(last)
        self.wait_until_seen(last)
        self.wait_until_published()

    def dead(self, word: str) -> list[Any]:
        """Return handler and reason of the dead letters that say a word."""
        return self.rows(
            "SELECT handler, reason FROM dead_letters WHERE position(convert_to(:word, 'UTF8') in body) > 0", word=word
        )

    def parked(self, word: str) -> list[Any]:
        """Return the parked events that say a word."""
        return self.rows(
            "SELECT attempts, reason, extract(epoch FROM next_attempt_at - clock_timestamp()) AS wait"
            " FROM parked_events WHERE position(convert_to(:word, 'UTF8') in body) > 0", word=word,
        )  # fmt: skip

    def make_due(self) -> None:
        """Let the time come at which parked events are tried again."""
        self.rows("UPDATE parked_events SET next_attempt_at = clock_timestamp()")

    def cut_connections(self) -> int:
        """End every other connection to the database."""
        cut = self.rows_of_owner(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'xinhuo-%'"
        )
        return int(cut[0][0])

    def _told(self) -> str:
        return "\n".join(f"{running.log.name}:\n{tail(running.log, 12)}" for running in self._all[-2:])


def word(kind: str = "ok") -> str:
    """Return a word that nobody else uses; what comes before the dash says what the handler does."""
    return f"{kind}-{new_id().hex[-12:]}"


def database_of(url: str) -> Database:
    """Return the service's database as a test looks at it."""
    return Database("postgresql+psycopg" + url[url.index(":") :], Bench.name, application="conformance-tests")

"""Whole installations: `xinhuo up` on a data folder of its own, embedded or on RabbitMQ and a given PostgreSQL."""

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import requests
from psycopg.rows import dict_row
from typer.testing import CliRunner

from services.portal import signing
from tests.support.processes import ADAPTER, LOOPBACK, tail
from tests.support.waiting import wait_for
from xinhuo.chassis import config
from xinhuo.chassis.db import database_now
from xinhuo.chassis.identity.actor import Actor
from xinhuo.chassis.identity.tokens import LIFETIME_SECONDS
from xinhuo.cli import installing
from xinhuo.cli.main import app

XINHUO = str(Path(sys.executable).with_name("xinhuo"))
SERVICES = ("notices", "volunteers", "awards", "notify", "portal")
SERVES = "按 Ctrl-C 停止"
START_SECONDS = 150
_SETTINGS = re.compile(r"(XINHUO_(?!TESTS_)|AMQP_URI$|(.*_)?DATABASE_URL$)")
#: Each test begins with the same state of `random`: two installations would be given the same ports.
_random = random.SystemRandom()


@dataclass(frozen=True)
class Ended:
    """A command that ran to its end."""

    code: int
    stdout: str
    stderr: str
    cpu_seconds: float = 0.0

    @property
    def figures(self) -> dict[str, Any]:
        """What it printed as JSON, and nothing but that."""
        assert self.code == 0, f"exit code {self.code}: {self.stdout}{self.stderr}"
        (line,) = self.stdout.splitlines()
        found = json.loads(line)
        assert isinstance(found, dict)
        return found


def clean_environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without settings of Xinhuo, but with the given ones."""
    inherited = {name: value for name, value in os.environ.items() if not _SETTINGS.match(name)}
    if adapter := os.environ.get(ADAPTER):
        inherited["XINHUO_ADAPTER"] = adapter
    return {**inherited, **(settings or {})}


def xinhuo(
    *arguments: str | Path,
    settings: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> Ended:
    """Run a command of `xinhuo` to its end; nobody is there to answer questions, but it may be given some text."""
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    before = os.times()
    ended = subprocess.run(
        [XINHUO, *map(str, arguments)],
        env=clean_environment(settings), cwd=cwd, **given,
        capture_output=True, encoding="utf-8", timeout=START_SECONDS, check=False,
    )  # fmt: skip
    after = os.times()
    cpu = (after.children_user - before.children_user) + (after.children_system - before.children_system)
    return Ended(ended.returncode, ended.stdout, ended.stderr, cpu)


def called(*arguments: str, settings: Mapping[str, str] | None = None, stdin: str | None = None) -> Ended:
    """Call a command in this process: a new one for each of dozens would take longer than all the rest."""
    clean = clean_environment(settings)
    environment: dict[str, str | None] = {name: clean.get(name) for name in {*os.environ, *clean}}
    result = CliRunner().invoke(app, arguments, input=stdin, env=environment, prog_name="xinhuo")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


def free_port_base() -> int:
    """Return a first port whose followers are free, below the range that the kernel gives to outgoing connections."""
    while True:
        base = _random.randrange(10_000, 32_000, 20)
        if all(_is_free(base + offset) for offset in range(20)):
            return base


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


@dataclass
class Installation:
    """A data folder, and the processes of `xinhuo up` on it while they run."""

    broker: str
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    port_base: int = field(default_factory=free_port_base)
    process: "subprocess.Popen[bytes] | None" = None
    unit: str = ""
    """For which unit hours are logged."""
    _tokens: dict[Actor, tuple[str, float]] = field(default_factory=dict)
    _keys: dict[str, str] = field(default_factory=dict)
    _starts: int = 0

    @property
    def data(self) -> Path:
        """The data folder; spaces and Chinese characters are allowed in its path."""
        return self.folder / "数据 of 薪火"

    def arguments(self, *more: str) -> list[str]:
        """Return the command that starts it."""
        return ["up", "--data", str(self.data), "--port-base", str(self.port_base), *more]

    def once(self) -> Ended:
        """Start it, let it show the sample working, and return what it printed."""
        return xinhuo(*self.arguments("--once", "--json"), settings=self.settings)

    def spawn(self, *more: str) -> "subprocess.Popen[bytes]":
        """Start it in the background and wait for nothing; `output` has what it prints."""
        self._starts += 1
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [XINHUO, *self.arguments(*more)],
                env=clean_environment(self.settings), stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        return self.process

    @property
    def output(self) -> Path:
        """What the newest start prints."""
        return self.folder / f"up-{self._starts}.txt"

    def serve(self) -> "Installation":
        """Return when it serves; it may serve already."""
        if self.process is None or self.process.poll() is not None:
            self.spawn()
        wait_for(self._serves, START_SECONDS, f"xinhuo up to serve:\n{tail(self.output)}")
        return self

    def shown(self) -> Ended:
        """Start it in the background and return what it printed up to the moment when it served."""
        self.spawn("--json")
        self.serve()
        lines = self.output.read_text(encoding="utf-8").splitlines(keepends=True)
        objects = [line for line in lines if line.startswith("{")]
        return Ended(0, "".join(objects), "".join(line for line in lines if line not in objects))

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"xinhuo up ended:\n{tail(self.output, 60)}"
        return SERVES in self.output.read_text(encoding="utf-8")

    def stop(self, number: signal.Signals = signal.SIGTERM, patience: float = 40) -> int:
        """Tell it to stop and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(patience)
        self.process = None
        return code

    def assert_stops_well(self, number: signal.Signals) -> None:
        """Tell it to stop: it must end with 0, and so must everything that it started."""
        assert self.process is not None
        children = descendants(self.process.pid)
        assert children
        code = self.stop(number)
        assert code == 0, tail(self.output)
        assert alive(children) == []
        assert self.output.read_text(encoding="utf-8").rstrip().endswith("stopping …")

    def end(self) -> None:
        """Stop it if it runs, whatever it is at."""
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill(with_children=True)

    def kill(self, *, with_children: bool) -> None:
        """Kill -9: the process alone, or with everything it started, and its databases too."""
        assert self.process is not None
        victims = descendants(self.process.pid) if with_children else []
        for pid in (self.process.pid, *victims):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    # --- What is in it ------------------------------------------------------------------------------------

    def url(self, service: str) -> str:
        """Return where a service answers."""
        return f"http://{LOOPBACK}:{self.port_base + 1 + SERVICES.index(service)}"

    def request(self, service: str, method: str, path: str, status: int, **options: Any) -> Any:
        """Send a request, check the status, and return the JSON, or the bytes where there is none."""
        given = options.pop("headers", None) or {}
        headers = {**self.bearing(self.who_may(method, path)), **given}
        answer = requests.request(method, self.url(service) + path, timeout=60, headers=headers, **options)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if "json" in answer.headers.get("Content-Type", "") else answer.content

    def who_may(self, method: str, path: str) -> Actor:
        """Return somebody who may ask for this."""
        if path.startswith("/v1/hours/") and path.endswith(":reverse"):
            return Actor(UUID(int=3), "clerk")
        if method == "POST" and path.startswith("/v1/hours"):
            return Actor(UUID(int=1), "unit_operator", unit=self.unit)
        if path.startswith("/v1/dead-letters"):
            return Actor(UUID(int=2), "ops")
        if path.startswith("/v1/imports"):
            return Actor(UUID(int=3), "clerk")
        if path.endswith("/inbox"):
            return Actor(UUID(int=4), "volunteer", volunteer=UUID(path.split("/")[3]))
        return Actor(UUID(int=5), "bureau_admin")

    def bearing(self, actor: Actor) -> dict[str, str]:
        """Return the header with which somebody asks: a token that the installation's own key signs."""
        token, until = self._tokens.get(actor, ("", 0.0))
        if time.monotonic() > until:
            with installing.portal_of(self._portal()) as (session, keys):
                token = signing.token_for(session, keys, actor, database_now(session))
            self._tokens[actor] = token, time.monotonic() + LIFETIME_SECONDS / 2
        return {"Authorization": f"Bearer {token}"}

    def _portal(self) -> config.Settings:
        return config.load({**self.settings, "PORTAL_DATABASE_URL": self.sql_url()}, data=self.data)

    def key_of(self, role: str) -> str:
        """Return an API key of a role."""
        if role not in self._keys:
            self._keys[role] = installing.key_of_role(self._portal(), f"tests {role}", role)
        return self._keys[role]

    def get(self, service: str, path: str, **query: Any) -> Any:
        """Return the answer to GET."""
        return self.request(service, "GET", path, 200, params=query)

    def post(
        self, service: str, path: str, body: Any = None, status: int = 201, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Return the answer to POST."""
        return self.request(service, "POST", path, status, json=body, headers=headers)

    def sql_url(self) -> str:
        """Return the URL of its database, where each service has a schema."""
        if "DATABASE_URL" in self.settings:
            return self.settings["DATABASE_URL"]
        if "DATABASE_URL_FILE" in self.settings:
            return Path(self.settings["DATABASE_URL_FILE"]).read_text().strip()
        password = (self.data / "postgres-password").read_text().strip()
        port = (self.data / "postgres" / "postmaster.pid").read_text().splitlines()[3]
        return f"postgresql://xinhuo:{password}@{LOOPBACK}:{port}/xinhuo"

    def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of a statement on its database."""
        with psycopg.connect(self.sql_url(), row_factory=dict_row, connect_timeout=10) as connection:
            return connection.execute(statement, parameters or None).fetchall()

    def scalar(self, statement: str, *parameters: Any) -> Any:
        """Return the only value of a statement on its database."""
        ((value,),) = (row.values() for row in self.rows(statement, *parameters))
        return value

    def contents(self) -> dict[str, str]:
        """Return, for each table, how many rows it has and a hash of every column of all of them.

        Left out are what jobs and HTTP leave behind by themselves, which is no effect of an event, as nothing of the
        portal is, and when the public copies went out: that lane comes seconds later.
        """
        tables = self.rows(
            "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables"
            " WHERE table_schema = ANY(%s) AND table_type = 'BASE TABLE' AND table_name <> ALL(%s)"
            " ORDER BY 1",
            [name for name in SERVICES if name != "portal"],
            ["jobs", "idempotency_keys", "alembic_version", "reconciliations"],
        )
        rows = "count(*) || ' rows, ' || coalesce(md5(string_agg(r, ';' ORDER BY r)), '-')"
        row_text = "SELECT (to_jsonb(t) - 'public_published_at')::text AS r FROM"
        return {row["name"]: self.scalar(f"SELECT {rows} FROM ({row_text} {row['name']} t) s") for row in tables}  # noqa: S608

    def troubles(self) -> dict[str, int]:
        """Return how many events are parked, dead or not published yet, in all services."""
        wanted = {"parked_events": "true", "dead_letters": "state = 'waiting'", "outbox": "published_at IS NULL"}
        return {
            table: sum(
                self.scalar(f"SELECT count(*) FROM {service}.{table} WHERE {condition}")  # noqa: S608
                for service in SERVICES
            )
            for table, condition in wanted.items()
        }


# --- Processes ------------------------------------------------------------------------------------------


def descendants(pid: int) -> list[int]:
    """Return the pids of everything that a process started, directly or not."""
    parents: dict[int, list[int]] = {}
    for other, parent in _parents():
        parents.setdefault(parent, []).append(other)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The program's name, in brackets, may hold blanks; what follows are state and parent.
            yield int(path.parent.name), int(path.read_text().rpartition(")")[2].split()[1])


def alive(pids: list[int]) -> list[str]:
    """Return the command lines of those that still run; what only waits to be reaped does not."""
    lines = []
    for pid in pids:
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if line:
                lines.append(f"{pid} {line}")
    return lines

"""Xinhuo's side: the real services with all their rules on, as separate processes, and an exact check of effects."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from services.volunteers.sealed import PLACES, name_index
from tests.support.processes import free_port
from tests.support.rabbit import RabbitNode
from tests.support.waiting import wait_for
from xinhuo.chassis import config, migrations
from xinhuo.chassis.adapters import amqp_topology
from xinhuo.chassis.identity.bearer import KeyBearer
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.key_file import create_key_file
from xinhuo.chassis.person_keys import make_key
from xinhuo.chassis.relay import SILENT_SECONDS
from xinhuo.cli import build, installing

from .records import (
    CONNECTIONS,
    PACED_CONNECTIONS,
    Figures,
    Load,
    Paced,
    instants,
    make_load,
    measured,
    numbers,
    paced,
    send,
    wait_for_effects,
)
from .servers import alone, database_of_its_own

PROCESSES = (
    ("volunteers", "worker"), ("awards", "worker"), ("notify", "worker"), ("volunteers", "api"), ("portal", "api"),
)  # fmt: skip
#: Above all units: for it, hours are logged.
OFFICE = "U"
_UNPUBLISHED = sa.text(
    "SELECT CAST(EXISTS (SELECT FROM volunteers.outbox WHERE public AND public_published_at IS NULL) AS integer)"
)
_PUBLIC_RATE = sa.text(
    "SELECT count(*) AS copies, extract(epoch FROM max(public_published_at) - min(public_published_at)) AS seconds"
    " FROM volunteers.outbox WHERE seq > :after"
)
VOLUNTEERS, UNITS, TEAMS, CATEGORIES = 2000, 40, 25, 8
#: Looked at again and again until they are as expected; then the rows of the round are counted, by their ids.
_TOTALS = sa.text(
    "SELECT (SELECT coalesce(sum(entries), 0) FROM volunteers.statistics_cells),"
    " (SELECT coalesce(sum(minutes), 0) FROM volunteers.statistics_cells),"
    " (SELECT coalesce(sum(minutes), 0) FROM awards.tallies)"
)
_ROWS = sa.text(
    "SELECT (SELECT count(*) FROM volunteers.ledger_entries WHERE id > :since),"
    " (SELECT count(*) FROM notify.messages WHERE id > :since AND occasion = 'hours_logged')"
)
_ACKNOWLEDGED = sa.text(
    "SELECT subject_id AS id, extract(epoch FROM pg_xact_commit_timestamp(xmin)) AS at FROM notify.messages"
    " WHERE occasion = 'hours_logged' AND subject_id = ANY(CAST(:ids AS uuid[]))"
)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: As many records are in one request of a batch.
BATCH = 500
#: As many are logged after each start, before anything is measured: statements are prepared, plans and caches made.
_WARM_UP = 2000


class System:
    """The services that do the job, on one broker and one database, with people and activities to log hours for."""

    def __init__(
        self, amqp_uri: str, database_url: str, folder: Path, *, program: str = "xinhuo.cli.process",
        workers: int = 1, apis: int = 1,
    ) -> None:  # fmt: skip
        """Begin with nothing started; ``workers`` of each service and ``apis`` of the one that is asked."""
        self.settings = config.load({"AMQP_URI": amqp_uri, "DATABASE_URL": database_url}, data=folder)
        self.engine = sa.create_engine(database_url)
        self._folder, self._program = folder, program
        self._people = [new_id() for _ in range(VOLUNTEERS)]
        self._activities = [new_id() for _ in range(TEAMS)]
        replicas = {"worker": workers, "api": apis}
        self._roles = [role for role in PROCESSES for _ in range(1 if role[0] == "portal" else replicas[role[1]])]
        self._portal_port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._sent_slots = 0
        self._ports: list[int] = []
        """Of the processes that are asked."""

    @classmethod
    def of_its_own(cls, node: RabbitNode, url: str, folder: Path, name: str, **options: Any) -> "System":
        """Return one with a virtual host, a database and a folder of this name; options as of the class."""
        return cls(node.add_vhost(name), database_of_its_own(url, name), folder / name, **options)

    def __enter__(self) -> "System":
        """Migrate, declare, register and start; wait until every process is ready."""
        self._folder.mkdir()
        create_key_file(build.key_path(self.settings))
        for name in config.SERVICES:
            migrations.upgrade(build.database(name, self.settings), build.versions_of(name))
        assert self.settings.amqp_uri is not None
        amqp_topology.declare(self.settings.amqp_uri, build.full_topology())
        self._register()
        key = installing.key_of_role(self.settings, "bench", "unit_operator", unit=OFFICE)
        self.bearer = KeyBearer(f"http://127.0.0.1:{self._portal_port}", key)
        self.start()
        assert self.settings.database_url is not None
        # What autovacuum does within the first minute: plans made for empty tables would be kept until then.
        alone(self.settings.database_url, "ANALYZE")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the processes."""
        self.stop()
        self.engine.dispose()

    def start(self) -> None:
        """Start the processes, wait until all are ready, and warm them up."""
        try:
            ports = [self._start(name, role) for name, role in self._roles]
            self._ports = [port for role, port in zip(self._roles, ports, strict=True) if role == ("volunteers", "api")]
            for (name, role), port in zip(self._roles, ports, strict=True):
                wait_for(lambda port=port: _is_ready(port), 30, f"{name} {role} to be ready")
            self.single(_WARM_UP)
        except BaseException:
            self.stop()  # nobody else would: what could not be entered is not left either
            raise

    def stop(self) -> None:
        """Stop the processes."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(60)
        self._processes.clear()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let the processes run meanwhile only."""
        self.start()
        yield
        self.stop()

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Let no process run meanwhile: even an idle one takes time from whoever else is measured."""
        self.stop()
        yield
        self.start()

    def single(self, count: int) -> Figures:
        """Send records, one a POST, and wait for every effect; raises AssertionError when one is wrong."""
        return self._round(count, lambda records: self._send("/v1/hours", records))

    def batches(self, count: int) -> Figures:
        """The same with 500 records a POST."""
        return self._round(count, self._send_batches)

    def fan_out(self, count: int) -> Figures:
        """The same, timed from when every record is logged and its event lies in the outbox, none of them sent."""

        def post(records: list[bytes]) -> dict[str, Any]:
            with self._relay_halted():
                self._send_batches(records)
            return {"started": time.time()}

        return self._round(count, post)

    def paced(self, count: int, rate: float) -> Paced:
        """Send so many records a second, one a POST, whatever the answers take."""
        load, settled = self._next(count)
        bodies = self._bodies(load)

        def done() -> None:
            settled()
            self._wait_for_public_copies()

        return paced(
            lambda: self._send("/v1/hours", bodies, rate=rate), done,
            lambda ids: instants(self.engine, _ACKNOWLEDGED, ids),
        )  # fmt: skip

    @property
    def url(self) -> str:
        """Where the service of hours answers."""
        return f"http://127.0.0.1:{self._ports[0]}"

    def memory(self) -> dict[str, float]:
        """Return the resident memory of each process in MB; of several of one role the last one's."""
        found = {}
        for (name, role), process in zip(self._roles, self._processes, strict=True):
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            found[f"{name} {role}"] = round(pages * _PAGE_BYTES / 2**20, 1)
        return found

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run a command of ``xinhuo`` with these servers and return the JSON that it prints."""
        program = str(Path(sys.executable).with_name("xinhuo"))
        done = subprocess.run([program, *arguments], env=self._environment(), stdout=subprocess.PIPE, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def event(self) -> bytes:
        """Return an event as it is recorded, for what is measured with its like."""
        with self.engine.connect() as connection:
            return bytes(connection.execute(sa.text("SELECT payload FROM volunteers.outbox LIMIT 1")).scalar_one())

    def _round(self, count: int, post: Callable[[list[bytes]], dict[str, Any]]) -> Figures:
        load, settled = self._next(count)
        bodies = self._bodies(load)
        (last,) = numbers(self.engine, sa.text("SELECT coalesce(max(seq), 0) FROM volunteers.outbox"))
        lag = 0.0

        def copied() -> None:
            nonlocal lag
            waited_from = time.monotonic()
            self._wait_for_public_copies()
            lag = time.monotonic() - waited_from

        # The public copies are a lane of their own: its lag stands beside, its work counts, none of it is left.
        figures = measured(lambda: post(bodies), settled, count, finished=copied)
        with self.engine.connect() as connection:
            copies = connection.execute(_PUBLIC_RATE, {"after": last}).one()
        return replace(figures, public_lag_seconds=lag, public_per_second=copies.copies / float(copies.seconds))

    def _wait_for_public_copies(self) -> None:
        wait_for(lambda: numbers(self.engine, _UNPUBLISHED) == (0,), 120, "the public copies to be published")

    def _next(self, count: int) -> tuple[Load, Callable[[], None]]:
        """Return a load that nobody has logged yet, and what waits until all of its effects are there."""
        load = make_load(count, len(self._people), first_slot=self._sent_slots)
        self._sent_slots += -(-count // len(self._people))
        gain = (count, load.minutes, load.minutes)
        totals = tuple(have + more for have, more in zip(numbers(self.engine, _TOTALS), gain, strict=True))
        since = new_id()

        def settled() -> None:
            wait_for_effects(lambda: numbers(self.engine, _TOTALS), totals)
            wait_for_effects(lambda: numbers(self.engine, _ROWS, since=since), (count, count))

        return load, settled

    def _bodies(self, load: Load) -> list[bytes]:
        return [
            json.dumps(
                {
                    "volunteer_id": str(self._people[record.volunteer]),
                    "activity_id": str(self._activities[record.volunteer % TEAMS]),
                    "started_at": record.started_at,
                    "ended_at": record.ended_at,
                    "minutes": record.minutes,
                }
            ).encode()
            for record in load.records
        ]

    def _register(self) -> None:
        """Enter units, teams, activities and verified people; their personal columns hold no person."""
        keys = build.keys_of(self.settings)
        made = [make_key(keys, person) for person in self._people]
        with self.engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL search_path = volunteers, public"))
            connection.execute(
                sa.text(
                    "INSERT INTO known_units SELECT 'U' || n, 'other', :office, 1 FROM generate_series(0, :n) AS n"
                ),
                {"n": UNITS - 1, "office": OFFICE},
            )
            connection.execute(
                sa.text("INSERT INTO teams SELECT 'T' || n, 'T', 'U' || n, now() FROM generate_series(0, :n) AS n"),
                {"n": TEAMS - 1},
            )
            _insert_activities(connection, self._activities)
            connection.execute(
                sa.text(
                    "INSERT INTO volunteers SELECT id, 'V' || n, 'verified', 'U' || (n % :units), '01', name, 'p1.',"
                    " 'p1.', NULL, :index, int8send(n), now(), now()"
                    " FROM unnest(CAST(:ids AS uuid[]), CAST(:names AS text[])) WITH ORDINALITY AS new (id, name, n)"
                ),
                {
                    "ids": self._people, "units": UNITS, "index": name_index(keys, "某"),
                    "names": [key.encrypt("某", PLACES["name"]) for key, _ in made],
                },
            )  # fmt: skip
            connection.execute(
                sa.text(
                    "INSERT INTO person_keys SELECT id, wrapped, kek, now()"
                    " FROM unnest(CAST(:ids AS uuid[]), CAST(:wrapped AS text[]), CAST(:keks AS text[]))"
                    " AS new (id, wrapped, kek)"
                ),
                {
                    "ids": self._people,
                    "wrapped": [stored.wrapped for _, stored in made],
                    "keks": [stored.master for _, stored in made],
                },
            )

    @contextmanager
    def _relay_halted(self) -> Iterator[None]:
        """Let no event leave the outbox meanwhile, nor its effect on the statistics come, and forget nothing."""
        worker = self._processes[self._roles.index(("volunteers", "worker"))]
        worker.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        try:
            yield
        finally:
            worker.send_signal(signal.SIGCONT)
        # Halted for longer, the database would end its sessions.
        assert time.monotonic() - began < SILENT_SECONDS - 2, "logging took too long for a halted relay"

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "AMQP_URI": self.settings.amqp_uri or "",
            "DATABASE_URL": self.settings.database_url or "",
            "XINHUO_DATA": str(self._folder),
            "XINHUO_LOG_LEVEL": "warning",
            "XINHUO_PORTAL_URL": f"http://127.0.0.1:{self._portal_port}",
        }

    def _send_batches(self, records: list[bytes]) -> dict[str, Any]:
        bodies = [
            b'{"items":[' + b",".join(records[start : start + BATCH]) + b"]}" for start in range(0, len(records), BATCH)
        ]
        return self._send("/v1/hours:batch", bodies, connections=8)

    def _send(self, path: str, bodies: list[bytes], *, rate: float = 0.0, connections: int = 0) -> dict[str, Any]:
        """Send to all processes that may be asked, each its share, at the same time."""
        ways, token = len(self._ports), self.bearer.token()
        connections = connections or (PACED_CONNECTIONS if rate else CONNECTIONS)
        with ThreadPoolExecutor(ways) as pool:
            sent = [
                pool.submit(
                    send,
                    port,
                    path,
                    bodies[number::ways],
                    rate=rate / ways,
                    connections=connections // ways,
                    token=token,
                )
                for number, port in enumerate(self._ports)
            ]
            results = [one.result() for one in sent]
        due = {key: moment for result in results for key, moment in result["due"].items()}
        return {"started": min(result["started"] for result in results), "due": due}

    def _start(self, name: str, role: str) -> int:
        port = self._portal_port if name == "portal" else free_port()
        command: list[Any] = [sys.executable, "-m", self._program, name, "--role", role, "--port", str(port)]
        with (self._folder / f"{name}-{role}.log").open("ab") as output:
            self._processes.append(subprocess.Popen(command, env=self._environment(), stdout=output, stderr=output))
        return port


def _insert_activities(connection: sa.Connection, activities: list[UUID]) -> None:
    connection.execute(
        sa.text(
            "INSERT INTO activities SELECT id, 'HD-2026-' || n, 'T', 'T' || (n - 1), 'U' || (n - 1),"
            " 'c' || (n % :categories), NULL, NULL, '2026-01-01', '2026-12-31', 'P', now()"
            " FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS new (id, n)"
        ),
        {"ids": activities, "categories": CATEGORIES},
    )


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False

"""PostgreSQL for tests: private servers, and a fresh migrated database for whoever asks."""

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from tests.support.processes import LOOPBACK, end, free_port, tail, unprivileged
from tests.support.waiting import wait_for

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60


class PrivatePostgres:
    """A PostgreSQL server of given programs in a folder of its own, for as long as a run of tests takes."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.programs = programs
        self.port = free_port()
        self.more: dict[str, object] = {}
        """Settings beside those of every server."""
        self._password = secrets.token_urlsafe(12)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the server's own database `postgres`, as its superuser."""
        return f"postgresql://postgres:{self._password}@{LOOPBACK}:{self.port}/postgres"

    def start(self) -> str:
        """Make the cluster, start the server and return its URL when it accepts connections."""
        dropped = unprivileged()
        data, secret = self.folder / "data", self.folder / "secret"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.programs = self._reachable(self.programs, dropped)
        secret.write_text(self._password)
        if dropped:
            os.chown(self.folder, dropped["user"], dropped["group"])  # type: ignore[arg-type]
            os.chown(secret, dropped["user"], dropped["group"])  # type: ignore[arg-type]
        made = subprocess.run(
            [self.programs / "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256",
             f"--pwfile={secret}", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
            capture_output=True, text=True, check=False, cwd=self.folder, **dropped,  # type: ignore[call-overload]
        )  # fmt: skip
        if made.returncode != 0:
            raise RuntimeError(f"initdb: {made.stdout}{made.stderr}")
        self.launch()
        return self.url

    def launch(self) -> None:
        """Start the server on its data, as it was left, and return when it accepts connections."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            # Nothing here outlives the run, and what a killed process has written stays with the kernel:
            # durability beyond that would only cost time.
            "fsync": "off",
            "full_page_writes": "off",
            **self.more,
        }
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.folder / "data", *(f"--{k}={v}" for k, v in settings.items())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                cwd=self.folder, start_new_session=True, **unprivileged(),  # type: ignore[call-overload]
            )  # fmt: skip
        wait_for(self._serves, START_SECONDS, f"PostgreSQL to serve at port {self.port}")

    def revive(self) -> None:
        """Start the server again if it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            self.launch()

    def crash(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the server at once: SIGKILL of its first process, or SIGQUIT, which is `pg_ctl stop -m immediate`."""
        assert self._process is not None
        process, self._process = self._process, None
        process.send_signal(signal.SIGSTOP)  # so that it has no children but those seen now
        children = _children_of(process.pid)
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        process.wait()
        # They notice, and leave the shared memory, a moment later; before that no other server may start.
        wait_for(lambda: not any(_lives(child) for child in children), 30, "the children of PostgreSQL to end")

    def stop(self) -> None:
        """End the server with its connections, and remove its data."""
        if self._process is not None:
            end(self._process, signal.SIGINT, 20)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _reachable(self, programs: Path, dropped: dict[str, object]) -> Path:
        """Return the programs, copied here first when they lie under a folder closed to their future user."""
        try:
            subprocess.run([programs / "postgres", "--version"], stdout=subprocess.DEVNULL, check=True, **dropped)  # type: ignore[call-overload]
        except PermissionError:
            # The wheel's programs find their libraries by paths relative to site-packages.
            package = programs.parents[1]
            for part in (package, package.with_name(f"{package.name}.libs")):
                shutil.copytree(part, self.folder / "programs" / part.name)
            return self.folder / "programs" / package.name / "pginstall" / "bin"
        return programs

    def _serves(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended while starting:\n{tail(self.folder / 'server.log')}")
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


class Debian15Postgres(PrivatePostgres):
    """Debian's PostgreSQL 15, the oldest that is supported."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, DEBIAN_15)

    @staticmethod
    def installed() -> bool:
        """Tell whether Debian's package is here."""
        return (DEBIAN_15 / "postgres").exists()


def _children_of(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The program's name, in brackets, may hold blanks; what follows are state and parent.
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(status.parent.name))
    return found


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def with_database(url: str, name: str) -> str:
    """Return the same server's URL for another database."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))


def create_database(server: str, template: str = "template0") -> str:
    """Create a database with a name of its own on a server and return its URL."""
    name = f"t_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    return with_database(server, name)


def drop_database(url: str) -> None:
    """Drop a database that `create_database` made, ending whoever is still connected."""
    name = urlsplit(url).path.lstrip("/")
    with psycopg.connect(with_database(url, "postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def migrated_template(server: str) -> str:
    """Return the name of a database with every service's tables, made once for each state of the code."""
    name = f"xinhuo_template_{_state_of_migrations()}"
    with psycopg.connect(server, autocommit=True) as connection:
        # Several test processes may come here together; the first one makes it.
        connection.execute("SELECT pg_advisory_lock(hashtext('xinhuo test template'))")
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            return name
        unfinished = create_database(server)
        _migrate(unfinished)
        connection.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                sql.Identifier(urlsplit(unfinished).path.lstrip("/")), sql.Identifier(name)
            )
        )
    return name


def _migrate(url: str) -> None:
    """Bring the schema of every service that has migrations to its newest version."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION btree_gist")
    for versions in sorted(ROOT.glob("services/*/migrations")):
        if not any(versions.rglob("*.py")):
            continue
        # Imported late: a test that asks for no database does not load the libraries behind it.
        from xinhuo.chassis.db import Database
        from xinhuo.chassis.migrations import upgrade

        database = Database(url, versions.parent.name)
        try:
            upgrade(database, versions / "versions" if (versions / "versions").is_dir() else versions)
        finally:
            database.close()


def _state_of_migrations() -> str:
    """Return a short hash of every file that decides what the migrated tables look like."""
    digest = hashlib.sha256()
    for pattern in ("services/*/migrations/**/*", "xinhuo/chassis/migrations/**/*"):
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]

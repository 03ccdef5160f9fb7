"""The supervisor of one PostgreSQL server in one folder."""

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from xinhuo.cli.embedded import accounts, binaries, errors, processes
from xinhuo.cli.embedded.accounts import Account
from xinhuo.cli.embedded.binaries import Binaries

USER = "xinhuo"
#: The server's working folder is its data folder, see the package's docstring.
HERE = "/proc/self/cwd"
UNFINISHED = ".initdb-"
MAX_LOG_BYTES = 4 * 1024 * 1024
PORT_ATTEMPTS = 5
WAIT_REPORT_SECONDS = 0.5

#: Written to postgresql.conf when the folder is made; whoever runs it may tune these there.
INITIAL_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Details of an error quote rows, which hold personal data; the log is no place for them.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
#: Given at every start, because our promises depend on them.
FIXED_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "logging_collector": "off",
    "log_destination": "stderr",
}


class EmbeddedPostgres:
    """A PostgreSQL server whose data, password, lock and log lie in one folder, alive as long as we are.

    `on_wait` is called about twice a second with the seconds passed while starting takes its time. Start it
    from the main thread: only then does the kernel stop the server when we are killed; otherwise it is
    stopped by the next start.
    """

    def __init__(
        self, folder: Path, *, database: str = "xinhuo", on_wait: Callable[[float], None] | None = None
    ) -> None:
        """Name the folder and the database; nothing is touched before `start`."""
        self.folder = Path(folder).absolute()
        self.database = database
        self._on_wait = on_wait
        self._lock: int | None = None
        self._owner = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""
        self._began = self._reported = 0.0

    @property
    def data(self) -> Path:
        """The data folder of PostgreSQL itself."""
        return self.folder / "postgres"

    @property
    def log(self) -> Path:
        """What the server writes, of this start and some earlier ones."""
        return self.folder / "postgres.log"

    def start(self) -> str:
        """Start the server and return its SQLAlchemy URL once it accepts connections.

        Raises EmbeddedPostgresError, and leaves nothing running, when that is not possible.
        """
        if self.is_running():
            return self._url
        self._began = self._reported = time.monotonic()
        try:
            self._take_lock()
            self._url = self._start()
        except OSError as error:
            self.stop()
            raise errors.folder_unusable(self.folder, error) from error
        except BaseException:
            self.stop()
            raise
        return self._url

    def stop(self) -> None:
        """Stop the server by fast shutdown and free the folder; does nothing when it is not running."""
        if self._owner != os.getpid():
            return  # A fork of us has no say in this.
        process, self._process = self._process, None
        if process is not None:
            for signum, patience in processes.SHUTDOWN_STEPS:
                process.send_signal(signum)
                try:
                    process.wait(patience)
                    break
                except subprocess.TimeoutExpired:
                    continue
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_running(self) -> bool:
        """Whether our server process is alive."""
        return self._process is not None and self._process.poll() is None

    def check_running(self) -> None:
        """Raise EmbeddedPostgresError when the server has ended by itself since `start`."""
        if self._process is not None and self._process.poll() is not None:
            raise errors.ended(self.folder, self._process.returncode)

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Closed on exec, as every descriptor of Python is: the server does not keep the lock when we die.
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20).decode("ascii", "replace").strip()
            os.close(lock)
            raise errors.folder_busy(self.folder, holder) from None
        self._lock, self._owner = lock, os.getpid()
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)

    def _start(self) -> str:
        self._remove_unfinished()
        self._bound_log()
        made = self.data.is_dir() and any(self.data.iterdir())
        found = binaries.locate()
        if made:
            self._check_version(found)
        account = accounts.account_for(self.data)
        usable = binaries.usable_by(account, found)
        if made:
            processes.end_all(self.data, self._waiting)
            # Whatever it says, nobody works in the folder now. PostgreSQL would trip over a half-written
            # file, or over a pid that has meanwhile become somebody else's.
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            password = self._kept_password() or self._reset_password(usable, account)
        else:
            password = self._kept_password() or self._keep_password()
            self._initialise(usable, account, password)
        port = self._serve(usable, account)
        self._create_database(port, password)
        return f"postgresql+psycopg://{USER}:{password}@127.0.0.1:{port}/{self.database}"

    def _remove_unfinished(self) -> None:
        for leftover in self.folder.glob(f"{UNFINISHED}*"):
            processes.kill_all(leftover / "data", self._waiting)
            shutil.rmtree(leftover)

    def _bound_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.folder / "postgres.log.1")

    def _check_version(self, found: Binaries) -> None:
        try:
            version = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            version = ""
        if not version:
            raise errors.not_a_data_folder(self.data)
        if version != found.major:
            raise errors.version_mismatch(self.data, version, found.major)

    def _kept_password(self) -> str:
        try:
            return (self.folder / "postgres-password").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return ""

    def _keep_password(self) -> str:
        password = secrets.token_urlsafe(24)
        fresh = self.folder / ".postgres-password"
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(password + "\n")
            file.flush()
            os.fsync(descriptor)
        fresh.rename(self.folder / "postgres-password")
        _sync(self.folder)
        return password

    def _reset_password(self, usable: Binaries, account: Account | None) -> str:
        """Set a new password where the file was lost, in single-user mode, which asks for none."""
        password = self._keep_password()
        command = [str(usable.postgres), "--single", "-D", HERE, "postgres"]
        since = self._log_size()
        with tempfile.TemporaryFile() as statement:
            statement.write(f"ALTER ROLE {USER} PASSWORD '{password}'\n".encode())
            statement.seek(0)
            process = self._spawn(account, self.data, command, signal.SIGTERM, stdin=statement.fileno())
        self._until_exit(process)
        if process.returncode != 0 or "ERROR:" in self._log_since(since):
            (self.folder / "postgres-password").unlink(missing_ok=True)
            raise errors.not_started(self.folder, self._last_lines(since))
        return password

    def _initialise(self, usable: Binaries, account: Account | None, password: str) -> None:
        """Make the data folder: complete and on disk under a temporary name first, then renamed."""
        work = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.folder))
        unfinished = work / "data"
        unfinished.mkdir(mode=0o700)
        # initdb reads it as the other account, which cannot open the one we keep; nor any pipe of ours.
        (work / "password").write_text(password, encoding="ascii")
        if account is not None:
            accounts.give(work, account)
        command = [str(usable.initdb), "-D", HERE, "-U", USER, "--pwfile=../password", "--auth=scram-sha-256"]
        command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command += [f"--set={name}={value}" for name, value in INITIAL_SETTINGS.items()]
        since = self._log_size()
        process = self._spawn(account, unfinished, [*command, "--no-instructions"], signal.SIGTERM)
        self._until_exit(process)
        if process.returncode != 0:
            lines = self._last_lines(since)
            shutil.rmtree(work, ignore_errors=True)
            raise errors.not_started(self.folder, lines)
        unfinished.rename(self.data)
        _sync(self.folder)
        shutil.rmtree(work)

    def _serve(self, usable: Binaries, account: Account | None) -> int:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            port = _free_port()
            settings = FIXED_SETTINGS | {"port": str(port)}
            command = [str(usable.postgres), "-D", HERE]
            command += [f"--{name}={value}" for name, value in settings.items()]
            since = self._log_size()
            self._process = self._spawn(account, self.data, command, signal.SIGINT)
            while self._process.poll() is None:
                if self._accepts_connections(self._process.pid):
                    return port
                self._waiting()
                time.sleep(processes.POLL_SECONDS)
            # Between our choice of the port and its use, somebody else may have taken it.
            if "could not bind" not in self._log_since(since) or attempt == PORT_ATTEMPTS:
                break
        raise errors.not_started(self.folder, self._last_lines(since))

    def _accepts_connections(self, pid: int) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return False
        # The eighth line is the server's own word on its state; recovery may take any time before it says so.
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _create_database(self, port: int, password: str) -> None:
        # Imported here because the command line must show its help at once.
        import psycopg
        from psycopg import sql

        try:
            with psycopg.connect(
                host="127.0.0.1",
                port=port,
                user=USER,
                password=password,
                dbname="postgres",
                sslmode="disable",
                autocommit=True,
            ) as connection:
                known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self.database])
                if known.fetchone() is None:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self.database)))
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise errors.password_refused(self.folder) from error
            raise errors.not_started(self.folder, str(error)) from error

    def _spawn(
        self,
        account: Account | None,
        works_in: Path,
        command: list[str],
        when_we_die: signal.Signals,
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        # The kernel means the thread when it says parent, so a thread of short life must not ask for it.
        signum = when_we_die if threading.get_native_id() == os.getpid() else 0
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
        if library_path := os.environ.get("LD_LIBRARY_PATH"):
            environment["LD_LIBRARY_PATH"] = library_path
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return subprocess.Popen(  # noqa: S603 - our own interpreter, launcher and arguments
                [*binaries.launcher("run", account), str(os.getpid()), str(int(signum)), *command],
                cwd=works_in,
                env=environment,
                stdin=stdin,
                stdout=log,
                stderr=log,
                # Ctrl-C goes to a whole group: the server must outlive the services that use it.
                start_new_session=True,
            )
        finally:
            os.close(log)

    def _until_exit(self, process: subprocess.Popen[bytes]) -> None:
        try:
            while process.poll() is None:
                self._waiting()
                time.sleep(processes.POLL_SECONDS)
        except BaseException:
            process.terminate()
            process.wait()
            raise

    def _waiting(self) -> None:
        now = time.monotonic()
        if self._on_wait is not None and now - self._reported >= WAIT_REPORT_SECONDS:
            self._reported = now
            self._on_wait(now - self._began)

    def _log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def _log_since(self, offset: int) -> str:
        with open(self.log, "rb") as file:
            file.seek(offset)
            return file.read(MAX_LOG_BYTES).decode("utf-8", "replace")

    def _last_lines(self, offset: int) -> str:
        return "\n".join(self._log_since(offset).splitlines()[-10:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

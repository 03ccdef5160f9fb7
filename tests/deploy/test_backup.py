"""Backups: sealed, whole or not at all, checked; brought back with nobody known again who was erased."""

import base64
import fcntl
import json
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row

from services.volunteers.commands.erasure import erase
from tests.support import apt
from tests.support.hours import NOW
from tests.support.installation import SERVICES, XINHUO, Ended, called, clean_environment
from tests.support.postgres import create_database, drop_database, migrated_template
from tests.support.reconciled import Three, deliveries, three_services
from tests.support.services import deliver, fetch, retry_parked, write_keys
from xinhuo.chassis import ladder, migrations
from xinhuo.chassis.db import Database
from xinhuo.chassis.desk import decisions
from xinhuo.chassis.ladder import Delivery
from xinhuo.chassis.roles import mark, role_of
from xinhuo.chassis.service import Service
from xinhuo.chassis.topology import queue_name
from xinhuo.cli.backup import programs, restoring, sets
from xinhuo.cli.build import versions_of
from xinhuo.cli.exits import Exit
from xinhuo.contracts import codec

MASTER = bytes(range(32))


@dataclass
class Office:
    """A small installation without processes: its database, the folder of backups, and who holds which key."""

    folder: Path
    url: str
    three: Three
    people: list[UUID] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        return {"DATABASE_URL": self.url, "XINHUO_KEY_FILE": str(self.folder / "master.key")}

    @property
    def backups(self) -> Path:
        return self.folder / "backups"

    @property
    def safe(self) -> Path:
        return self.folder / "safe" / "backup-identity.txt"

    def run(self, *arguments: str, **settings: str) -> Ended:
        return called("backup", *arguments, settings={**self.settings, **settings})

    def to(self, folder: Path) -> tuple[str, ...]:
        return "--folder", str(folder), "--recipient", str(self.folder / "recipient.txt")

    def create(self, folder: Path, *more: str, **settings: str) -> dict[str, Any]:
        """Make a backup and return what was told of it."""
        return self.run("create", *self.to(folder), *more, "--json", **settings).figures

    def restore(self, *more: str, folder: Path | None = None, **settings: str) -> Ended:
        place = "--folder", str(folder or self.backups)
        return self.run("restore", *place, "--identity", str(self.safe), *more, **settings)


@pytest.fixture(scope="module")
def office(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Two persons with hours, a third who will be erased."""
    folder = tmp_path_factory.mktemp("office")
    url = create_database(postgres_url, migrated_template(postgres_url))
    write_keys(folder / "master.key")
    with three_services(url) as three:
        made = Office(folder, url, three)
        made.backups.mkdir()
        ended = made.run("key", str(made.safe))
        assert ended.code == 0, ended.stderr
        (folder / "recipient.txt").write_text(ended.stdout)
        world = three.log()
        made.people = [UUID(str(one)) for (one,) in rows(url, "SELECT id FROM volunteers.volunteers ORDER BY id")]
        assert len(made.people) == 3
        three.deliver_everything()
        assert world.team_code
        yield made
    drop_database(url)


@pytest.fixture(scope="module")
def made(office: Office) -> dict[str, Any]:
    """A backup of the office, which nobody changes."""
    return office.create(office.backups)


@pytest.fixture
def elsewhere(postgres_url: str) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    url = create_database(postgres_url)
    yield url
    drop_database(url)


def rows(url: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement, parameters or None).fetchall()


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def contents(url: str, *without: str) -> dict[str, Any]:
    """Return, for each table of the services, how many rows it has and a hash of all of them."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        tables = connection.execute(
            "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables"
            " WHERE table_schema = ANY(%s) AND table_type = 'BASE TABLE' ORDER BY 1",
            [list(SERVICES)],
        ).fetchall()
        text = "SELECT count(*) AS rows, md5(string_agg(t::text, ';' ORDER BY t::text)) AS hash FROM {} t"
        return {
            row["name"]: connection.execute(text.format(row["name"])).fetchone()
            for row in tables
            if row["name"].partition(".")[2] not in without
        }


def test_a_backup_brought_back_elsewhere_has_every_row_and_passes_every_check(
    office: Office, made: dict[str, Any], elsewhere: str
) -> None:
    before = contents(office.url)

    listed = office.run("list", "--folder", str(office.backups), "--json").figures["backups"]
    checked = office.run("verify", "--folder", str(office.backups), "--identity", str(office.safe), "--test-restore")
    came_back = office.restore("--json", DATABASE_URL=elsewhere)

    assert [one["name"] for one in listed] == [made["name"]]
    assert set(made["services"]) == set(SERVICES)
    assert (checked.code, checked.stdout) == (0, f"✓ {made['name']}   test restore\n"), checked.stderr
    assert came_back.figures["moved"] == {}
    # What a restore itself leaves is its row in each audit log, and that tallies count as brought back.
    left = ("audit_log", "audit_head", "tallies")
    assert contents(elsewhere, *left) == {k: v for k, v in before.items() if k.partition(".")[2] not in left}
    tallies = "SELECT volunteer_id, minutes FROM awards.tallies ORDER BY 1"
    assert rows(elsewhere, tallies) == rows(office.url, tallies)
    assert rows(elsewhere, "SELECT bool_or(live) FROM awards.tallies") == [(False,)]
    assert sum(row["rows"] for row in before.values()) > 50
    written = "SELECT object_id FROM {}.audit_log WHERE action = 'backup.restored'"
    assert [rows(elsewhere, written.format(name)) for name in SERVICES] == [[(made["name"],)]] * len(SERVICES)
    for command in (("audit", "verify"), ("reconcile", "--older-than", "0"), ("db", "current")):
        ended = called(*command, settings={**office.settings, "DATABASE_URL": elsewhere})
        assert ended.code == 0, ended.stdout
    databases = {name for (name,) in rows(office.url, "SELECT datname FROM pg_database")}
    assert not [name for name in databases if name.startswith("xinhuo_verify")]


def test_what_a_killed_test_restore_left_is_dropped_and_sigterm_leaves_nothing(
    office: Office, made: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, used = (f"xinhuo_verify_{secrets.token_hex(4)}" for _ in range(2))
    execute(office.url, f"CREATE DATABASE {left}", f"CREATE DATABASE {used}")
    bring_back = restoring.bring_back

    def ended(*arguments: Any) -> None:
        bring_back(*arguments)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(restoring, "bring_back", ended)
    how = ("--folder", str(office.backups), "--identity", str(office.safe), "--test-restore")
    try:
        with psycopg.connect(urlunsplit(urlsplit(office.url)._replace(path=f"/{used}"))):
            checked = office.run("verify", *how)
        databases = {name for (name,) in rows(office.url, "SELECT datname FROM pg_database")}
    finally:
        execute(office.url, f"DROP DATABASE IF EXISTS {left}", f"DROP DATABASE IF EXISTS {used}")

    assert checked.code == 128 + signal.SIGTERM
    assert [name for name in databases if name.startswith("xinhuo_verify")] == [used]


def opened(office: Office, path: Path) -> bytes:
    """Open a file by Debian's tool alone."""
    if shutil.which("age") is None:
        apt.install("age")
    command = ["age", "--decrypt", "-i", office.safe, path]
    return subprocess.run(command, capture_output=True, check=True).stdout


def unpacked(archive: bytes, *how: str) -> bytes:
    reader = programs.for_archive(18, programs.installed()).path("pg_restore")
    return subprocess.run([reader, *how], input=archive, capture_output=True, check=True).stdout


def test_debians_age_and_pg_restore_alone_open_a_backup(office: Office, made: dict[str, Any]) -> None:
    listed = unpacked(opened(office, office.backups / made["name"] / "awards.dump.age"), "--list")

    assert b"TABLE DATA awards tallies" in listed


def test_no_key_and_no_password_is_in_a_backup_and_one_that_were_is_found(
    office: Office, made: dict[str, Any], tmp_path: Path
) -> None:
    planted = base64.b64encode(MASTER).decode()
    execute(office.url, f"CREATE TABLE volunteers.planted AS SELECT '{planted}' AS k, '\\x{MASTER.hex()}'::bytea AS b")
    try:
        leaking = office.create(tmp_path)
    finally:
        execute(office.url, "DROP TABLE volunteers.planted")
    secrets = {
        "raw": MASTER,
        "hex": MASTER.hex().encode(),
        "base64": planted.encode(),
        "identity": office.safe.read_text().splitlines()[-1].encode(),
        "password": str(urlsplit(office.url).password).encode(),
    }

    def found(folder: Path) -> set[str]:
        text = (folder / sets.MANIFEST).read_bytes()
        text += b"".join(unpacked(opened(office, path), "--file=-") for path in folder.glob("*.age"))
        assert b"COPY volunteers.person_keys" in text
        return {name for name, secret in secrets.items() if secret in text}

    assert found(office.backups / made["name"]) == set()
    assert found(tmp_path / leaking["name"]) == {"hex", "base64"}


def test_nothing_can_be_read_in_the_files_and_only_their_owner_has_them(
    office: Office, made: dict[str, Any], tmp_path: Path
) -> None:
    for path in (office.backups / made["name"]).glob("*.age"):
        assert path.read_bytes().startswith(b"age-encryption.org/v1\n")
        assert path.stat().st_mode & 0o077 == 0
    assert (office.backups / made["name"]).stat().st_mode & 0o077 == 0
    stranger = tmp_path / "stranger.txt"
    assert office.run("key", str(stranger)).code == 0
    ended = office.run("verify", "--folder", str(office.backups), "--identity", str(stranger))
    assert (ended.code, "不是为这个私钥加密的" in ended.stderr) == (Exit.REFUSED, True)


def test_the_keys_of_backups_are_made_once_and_never_replaced(office: Office) -> None:
    before = office.safe.read_text()

    dry, again = office.run("key", str(office.safe), "--dry-run"), office.run("key", str(office.safe))

    assert (dry.code, again.code) == (0, 0)
    assert again.stdout == (office.folder / "recipient.txt").read_text()
    assert office.safe.read_text() == before
    assert office.safe.stat().st_mode & 0o077 == 0


def test_who_was_erased_after_the_backup_is_erased_again_and_never_known(
    postgres_url: str, office: Office, made: dict[str, Any], tmp_path: Path, elsewhere: str
) -> None:
    gone = office.people[-1]
    url = create_database(postgres_url)
    folder = tmp_path / "backups"
    folder.mkdir()
    try:
        assert office.restore(made["name"], DATABASE_URL=url).code == 0  # an office of its own
        name = office.create(folder, DATABASE_URL=url)["name"]
        with three_services(url) as three, three.volunteers.runtime.db.transaction() as session:
            erase(session, [gone], NOW, "asked")
        known = "SELECT count(*) FROM volunteers.person_keys WHERE volunteer_id = %s"

        # Where the present database can still be asked: it is moved aside, and asked before that.
        refused = office.restore(name, folder=folder, DATABASE_URL=url)
        assert (refused.code, "--replace" in refused.stderr) == (Exit.REFUSED, True)
        there = office.restore(name, "--replace", "--json", folder=folder, DATABASE_URL=url).figures
        assert there["erased_again"] == 1
        assert set(there["asked_for_erasures"]) == {"volunteers", "awards", "notify"}
        assert rows(url, known, gone) == [(0,)]
        assert rows(url, "SELECT count(*) FROM awards.erased_persons WHERE volunteer_id = %s", gone) == [(1,)]
        said = "SELECT count(*) FILTER (WHERE text <> ''), count(*) > 0 FROM notify.messages WHERE volunteer_id = %s"
        assert rows(url, said, gone) == [(0, True)]
        why = "SELECT reason FROM volunteers.audit_log WHERE action = 'volunteer.erased' ORDER BY seq DESC LIMIT 1"
        assert rows(url, why) == [("backup_restored",)]
        aside = there["moved"]["volunteers"]
        assert rows(url, f"SELECT count(*) FROM {aside}.volunteers") == [(3,)]  # noqa: S608
    finally:
        drop_database(url)

    # Where nothing of it is left: the list beside the backups knows.
    ended = office.restore(name, "--json", folder=folder, DATABASE_URL=elsewhere)
    alone = ended.figures
    assert "after erasures.txt was last written" in ended.stderr
    assert (alone["erased_again"], alone["asked_for_erasures"]) == (1, [])
    assert rows(elsewhere, known, gone) == [(0,)]
    assert rows(elsewhere, "SELECT count(*) FROM volunteers.person_keys") == [(2,)]


#: Runs a command where a folder cannot be written to, not even by root.
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


def test_from_a_disk_that_cannot_be_written_to_a_backup_comes_back_and_who_was_erased_is_kept_in_the_data_folder(
    office: Office, made: dict[str, Any], elsewhere: str, tmp_path: Path
) -> None:
    gone = str(office.people[0])
    disk, data, later = (tmp_path / name for name in ("disk", "data", "later"))
    later.mkdir()
    shutil.copytree(office.backups / made["name"], disk / made["name"])
    settings = {**office.settings, "XINHUO_DATA": str(data)}
    arguments = ("restore", "--folder", str(disk), "--identity", str(office.safe), "--service", "notices")
    unshare = ["unshare", "--mount", "--map-root-user", "bash", "-c", READ_ONLY, str(disk), XINHUO, "backup"]
    execute(elsewhere, "CREATE SCHEMA awards", "CREATE TABLE awards.erased_persons (volunteer_id uuid)")
    execute(elsewhere, f"INSERT INTO awards.erased_persons VALUES ('{gone}')")  # noqa: S608

    ended = subprocess.run(
        [*unshare, *arguments], env=clean_environment({**settings, "DATABASE_URL": elsewhere}), capture_output=True,
        encoding="utf-8", check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    assert f"who was erased is kept in {data}/erasures.txt" in ended.stderr
    assert (data / "erasures.txt").read_text() == f"{gone}\n"
    assert [path.name for path in disk.iterdir()] == [made["name"]]
    taken_in = office.run("erasures", "--folder", str(later), "--json", XINHUO_DATA=str(data)).figures
    assert (taken_in["new"], (later / "erasures.txt").read_text()) == (1, f"{gone}\n")


AWAY = "postgresql://x:y@127.0.0.1:9/z"


@pytest.mark.parametrize(
    ("service", "away", "begins"),
    [("awards", "volunteers", False), ("volunteers", "notify", False), ("awards", "notify", True)],
)
def test_nothing_is_brought_back_while_somebody_who_was_erased_could_be_missed(
    office: Office, made: dict[str, Any], elsewhere: str, service: str, away: str, begins: bool
) -> None:
    urls = {"DATABASE_URL": elsewhere, "VOLUNTEERS_DATABASE_URL": office.url if service == "awards" else elsewhere}
    settings = {**urls, f"{away.upper()}_DATABASE_URL": AWAY}
    restore = ("--service", service, "--dry-run")

    restored = office.restore(*restore, **settings)
    anyway = [] if begins else [office.restore(*restore[:-1], **settings), settle(office, service, **settings)]

    assert restored.code == (0 if begins else Exit.UNAVAILABLE), restored.stderr
    assert [one.code for one in anyway] == [Exit.UNAVAILABLE] * len(anyway)
    assert [one for one in anyway if f"{away} could not be asked who was erased" not in one.stderr] == []
    assert rows(elsewhere, "SELECT count(*) FROM pg_namespace WHERE nspname = ANY(%s)", list(SERVICES)) == [(0,)]


def test_volunteers_that_went_back_itself_is_not_asked_alone_who_was_erased(office: Office, elsewhere: str) -> None:
    without = office.run("settle", "--back-to", "2026-03-01T08:00+08:00")
    told = settle(office, "volunteers", "--dry-run", DATABASE_URL=elsewhere)

    assert (without.code, "--folder" in without.stderr) == (Exit.USAGE, True)
    assert (told.code, "after erasures.txt was last written" in told.stderr) == (0, True)


def settle(office: Office, service: str, *more: str, **settings: str) -> Ended:
    back_to = ("--back-to", datetime.now(UTC).isoformat(), "--folder", str(office.backups))
    return office.run("settle", *back_to, "--service", service, *more, **settings)


def test_the_list_of_erasures_grows_by_itself_and_survives_a_line_cut_in_half(office: Office, tmp_path: Path) -> None:
    journal = tmp_path / "erasures.txt"
    one, other = (f"00000000-0000-7000-8000-00000000000{number}" for number in (1, 2))
    arguments = ("erasures", "--folder", str(tmp_path), "--json")
    try:
        execute(office.url, f"INSERT INTO awards.erased_persons VALUES ('{one}')")  # noqa: S608
        first, again = office.run(*arguments).figures, office.run(*arguments).figures
        journal.write_text(journal.read_text() + "00000000-0000-7000-80")
        execute(office.url, f"INSERT INTO notify.forgotten_persons VALUES ('{other}')")  # noqa: S608
        dry = office.run(*arguments, "--dry-run").figures
        after = office.run(*arguments).figures
    finally:
        execute(office.url, "DELETE FROM awards.erased_persons", "DELETE FROM notify.forgotten_persons")

    assert [first["new"], again["new"], dry["new"], after["new"]] == [1, 0, 1, 1]
    assert {one, other} <= set(journal.read_text().split())
    away = office.run(*arguments, DATABASE_URL=AWAY)
    assert away.code == Exit.UNAVAILABLE


@pytest.mark.parametrize("how", ["missing", "another"])
def test_without_the_master_key_nothing_is_brought_back_and_it_is_said_so(
    office: Office, made: dict[str, Any], elsewhere: str, tmp_path: Path, how: str
) -> None:
    key = tmp_path / "master.key"
    if how == "another":
        assert called("key", "create", str(key)).code == 0

    refused = office.restore(DATABASE_URL=elsewhere, XINHUO_KEY_FILE=str(key))

    assert refused.code == Exit.REFUSED
    assert "主密钥" in refused.stderr
    assert "master key" in refused.stderr
    assert rows(elsewhere, "SELECT count(*) FROM pg_namespace WHERE nspname = 'volunteers'") == [(0,)]
    if how == "missing":
        anyway = office.restore("--without-master-key", DATABASE_URL=elsewhere, XINHUO_KEY_FILE=str(key))
        assert anyway.code == 0, anyway.stderr
        assert rows(elsewhere, "SELECT sum(minutes) > 0 FROM volunteers.ledger_entries") == [(True,)]


def test_a_damaged_backup_is_found_and_not_brought_back(
    office: Office, made: dict[str, Any], elsewhere: str, tmp_path: Path
) -> None:
    copy = tmp_path / made["name"]
    shutil.copytree(office.backups / made["name"], copy)
    path = copy / "volunteers.dump.age"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])

    checked = office.run("verify", "--folder", str(tmp_path))
    refused = office.restore(folder=tmp_path, DATABASE_URL=elsewhere)
    others = office.restore("--service", "awards", "--json", folder=tmp_path, DATABASE_URL=elsewhere)

    assert (checked.code, "volunteers.dump.age" in checked.stderr) == (Exit.REFUSED, True)
    assert (refused.code, "volunteers.dump.age" in refused.stderr) == (Exit.REFUSED, True)
    assert others.figures["services"] == ["awards"]
    manifest = json.loads((copy / sets.MANIFEST).read_text())
    for part in manifest["parts"]:  # whoever changes the checksum too is found by the seal
        part["size"], part["sha256"] = sets.measured(copy / part["file"])
    (copy / sets.MANIFEST).write_text(json.dumps(manifest))
    read = office.run("verify", "--folder", str(tmp_path), "--identity", str(office.safe))
    assert (read.code, "备份文件被改动" in read.stderr) == (Exit.REFUSED, True)
    brought = office.restore("--service", "volunteers", folder=tmp_path, DATABASE_URL=elsewhere)
    assert brought.code == Exit.REFUSED
    assert rows(elsewhere, "SELECT count(*) FROM pg_namespace WHERE nspname = 'volunteers'") == [(0,)]


def test_a_full_disk_leaves_no_half_backup_and_no_old_one_is_lost(office: Office, made: dict[str, Any]) -> None:
    before = sorted(office.backups.iterdir())
    # A limit of the kernel on the size of a file, which ends a write like a full disk does.
    command = ["bash", "-c", 'ulimit -f 4; exec "$0" "$@"', XINHUO, "backup", "create", *office.to(office.backups)]

    ended = subprocess.run(command, env=clean_environment(office.settings), capture_output=True, text=True, check=False)

    assert ended.returncode == Exit.REFUSED, ended.stderr
    assert "空间不足" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert sorted(office.backups.iterdir()) == before


def test_what_a_killed_backup_left_is_never_taken_for_one_and_old_ones_go_by_the_rule(
    office: Office, tmp_path: Path
) -> None:
    half = tmp_path / ".20260301T000000Z.partial"
    half.mkdir()
    (half / "volunteers.dump.age").write_bytes(b"half")
    assert office.run("list", "--folder", str(tmp_path), "--json").figures["backups"] == []

    keep = ("--keep-daily", "1", "--keep-weekly", "0", "--keep-monthly", "0")
    first, second = office.create(tmp_path, *keep), office.create(tmp_path, *keep)

    assert not half.exists()
    assert (first["removed"], second["removed"]) == ([], [first["name"]])
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [second["name"]]


def test_two_at_once_do_not_mix(office: Office, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = office.run("create", *office.to(tmp_path))

    assert (ended.code, "另一个备份" in ended.stderr) == (Exit.UNAVAILABLE, True)


def test_a_running_service_is_in_the_way_of_a_restore(office: Office, made: dict[str, Any], elsewhere: str) -> None:
    with psycopg.connect(elsewhere, application_name="xinhuo-awards-worker"):
        refused = office.restore(DATABASE_URL=elsewhere)
        other = office.restore("--service", "notices", "--dry-run", DATABASE_URL=elsewhere)

    assert (refused.code, "xinhuo-awards-worker" in refused.stderr) == (Exit.REFUSED, True)
    assert other.code == 0, other.stderr
    assert "请把整个系统恢复到同一时刻" in other.stderr


def test_an_account_that_only_reads_makes_a_backup(office: Office, tmp_path: Path) -> None:
    role = f"xinhuo_test_backup_{tmp_path.name[-1]}"
    execute(
        office.url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'only-reads' BYPASSRLS",
        f"GRANT pg_read_all_data TO {role}",
    )
    parts = urlsplit(office.url)
    reader = urlunsplit(parts._replace(netloc=f"{role}:only-reads@{parts.hostname}:{parts.port}"))
    try:
        assert set(office.create(tmp_path, DATABASE_URL=reader)["services"]) == set(SERVICES)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(reader, "DELETE FROM volunteers.ledger_entries")
        execute(office.url, f"REVOKE pg_read_all_data FROM {role}")
        refused = office.run("create", *office.to(tmp_path), DATABASE_URL=reader)
        assert (refused.code, "pg_read_all_data" in refused.stderr) == (Exit.USAGE, True)
    finally:
        execute(office.url, f"DROP ROLE {role}")


def test_an_account_that_is_shown_nobody_is_not_taken_for_nobody_was_erased(office: Office, tmp_path: Path) -> None:
    role = f"xinhuo_test_blind_{tmp_path.name[-1]}"
    execute(
        office.url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'blind'",
        f"GRANT pg_read_all_data TO {role}",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA volunteers TO {role}",
    )
    parts = urlsplit(office.url)
    blind = urlunsplit(parts._replace(netloc=f"{role}:blind@{parts.hostname}:{parts.port}"))
    try:
        assert rows(blind, "SELECT count(*) FROM volunteers.volunteers") == [(0,)]
        ended = office.run("erasures", "--folder", str(tmp_path), "--json", DATABASE_URL=blind)
    finally:
        execute(office.url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")

    assert (ended.code, "BYPASSRLS" in ended.stderr) == (Exit.UNAVAILABLE, True)
    assert "volunteers" not in json.loads(ended.stdout)["asked"]


def test_an_owner_who_is_no_superuser_brings_a_backup_back(
    office: Office, made: dict[str, Any], elsewhere: str, tmp_path: Path
) -> None:
    role = f"xinhuo_test_owner_{urlsplit(elsewhere).path[-6:]}"
    roles = ", ".join(role_of(name) for name in SERVICES)
    execute(
        elsewhere,
        f"CREATE ROLE {role} LOGIN PASSWORD 'owns'",
        f"GRANT {roles} TO {role}",
        f"ALTER DATABASE {urlsplit(elsewhere).path[1:]} OWNER TO {role}",
    )
    parts = urlsplit(elsewhere)
    owner = urlunsplit(parts._replace(netloc=f"{role}:owns@{parts.hostname}:{parts.port}"))
    try:
        came_back = office.restore("--json", DATABASE_URL=owner)
        assert came_back.figures["name"] == made["name"]
        assert called("reconcile", settings={**office.settings, "DATABASE_URL": owner}).code == 0
        assert office.create(tmp_path, DATABASE_URL=owner)["name"]
    finally:
        execute(elsewhere, f"REASSIGN OWNED BY {role} TO postgres", f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_services_with_databases_of_their_own_are_copied_listeners_first_and_brought_back_each_to_its_own(
    office: Office, elsewhere: str, postgres_url: str, tmp_path: Path
) -> None:
    other = create_database(postgres_url)
    try:
        # The same database by another name of its host is another database to us.
        apart = {"AWARDS_DATABASE_URL": office.url.replace("127.0.0.1", "localhost")}
        made = office.create(tmp_path, **apart)
        parts = json.loads((tmp_path / made["name"] / sets.MANIFEST).read_text())["parts"]
        back = {"DATABASE_URL": elsewhere, "AWARDS_DATABASE_URL": other}
        assert office.restore(folder=tmp_path, **back).code == 0
        assert [part["service"] for part in parts if part["database"] == 0] == ["awards"]
        at = {part["service"]: part["taken_at"] for part in parts}
        assert at["awards"] < at["volunteers"] == at["notify"]
        schemas = "SELECT nspname::text FROM pg_namespace WHERE nspname = ANY(%s) ORDER BY 1"
        assert rows(other, schemas, list(SERVICES)) == [("awards",)]
        assert len(rows(elsewhere, schemas, list(SERVICES))) == len(SERVICES) - 1
        assert called("reconcile", "--older-than", "0", settings={**office.settings, **back}).code == 0
    finally:
        drop_database(other)


def copied_with_a_wrong_head(office: Office, made: dict[str, Any], folder: Path, service: str) -> None:
    """Copy the backup so that one service is refused after its tables came back."""
    shutil.copytree(office.backups / made["name"], folder / made["name"])
    path = folder / made["name"] / sets.MANIFEST
    manifest = json.loads(path.read_text())
    for part in manifest["parts"]:
        if part["service"] == service:
            part["audit_head"] = "00" * 32
    path.write_text(json.dumps(manifest))


def test_a_restore_that_fails_at_one_service_leaves_others_settled_and_this_one_as_it_was(
    office: Office, made: dict[str, Any], elsewhere: str, tmp_path: Path
) -> None:
    copied_with_a_wrong_head(office, made, tmp_path, "volunteers")
    both = ("--service", "awards", "--service", "volunteers")
    there = "SELECT nspname::text FROM pg_namespace WHERE nspname = ANY(%s) ORDER BY 1"
    settled = "SELECT object_id FROM awards.audit_log WHERE action = 'backup.restored'"

    refused = office.restore(*both, folder=tmp_path, DATABASE_URL=elsewhere)

    assert refused.code == Exit.REFUSED
    assert "back and fit to be worked on: awards; no other came back" in refused.stderr
    assert rows(elsewhere, there, list(SERVICES)) == [("awards",)]
    assert rows(elsewhere, settled) == [(made["name"],)]
    assert rows(elsewhere, "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE '%%restoring'") == []

    execute(elsewhere, "CREATE SCHEMA volunteers", "CREATE TABLE volunteers.mine ()")
    again = office.restore(*both, "--replace", folder=tmp_path, DATABASE_URL=elsewhere)
    moved = rows(elsewhere, "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE '%%before%%'")
    assert again.code == Exit.REFUSED
    assert [name.startswith("awards_before_") for (name,) in moved] == [True]
    assert moved[0][0] in again.stderr
    assert rows(elsewhere, "SELECT to_regclass('volunteers.mine')::text") == [("volunteers.mine",)]
    nothing = office.restore(*both, folder=tmp_path, DATABASE_URL=elsewhere)
    assert "nothing was changed" in nothing.stderr


#: A command that is killed when the restore calls what is named first; what it does before, it has done.
KILLED = """
import functools, os, signal, sys
from xinhuo.cli.backup import restoring
from xinhuo.cli.main import app
*owner, name = sys.argv.pop(1).split(".")
setattr(functools.reduce(getattr, owner, restoring), name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
app()
"""


@pytest.mark.parametrize("at", ["bring_back", "migrations.upgrade", "_let_in"])
def test_what_a_killed_restore_left_no_service_can_use_and_no_upgrade_lets_it_in(
    office: Office, made: dict[str, Any], elsewhere: str, tmp_path: Path, at: str
) -> None:
    copied_with_a_wrong_head(office, made, tmp_path, "volunteers")
    settings = {**office.settings, "DATABASE_URL": elsewhere}
    only = ("--folder", str(office.backups), "--identity", str(office.safe), "--service", "volunteers")
    command = [sys.executable, "-c", KILLED, at, "backup", "restore", *only]
    killed = subprocess.run(command, env=clean_environment(settings), capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    failed = office.restore("--service", "volunteers", "--replace", folder=tmp_path, DATABASE_URL=elsewhere)
    refused = [called("db", "upgrade", "volunteers", *dry, settings=settings) for dry in ((), ("--dry-run",))]
    others = called("db", "upgrade", "notices", settings=settings)
    allowed = rows(
        elsewhere, "SELECT has_schema_privilege('xinhuo_volunteers', to_regnamespace('volunteers'), 'USAGE')"
    )
    again = office.restore("--service", "volunteers", "--replace", DATABASE_URL=elsewhere)
    upgraded = called("db", "upgrade", "volunteers", settings=settings)

    says = "xinhuo backup restore --service volunteers --replace"
    assert failed.code == Exit.REFUSED
    assert [(one.code, one.stderr.count(says)) for one in refused] == [(Exit.REFUSED, 2)] * 2
    assert others.code == 0, others.stderr
    assert allowed != [(True,)]
    assert (again.code, upgraded.code) == (0, 0), again.stderr + upgraded.stderr
    db = Database(elsewhere, "volunteers", application="xinhuo-backup")
    try:
        assert migrations.tables_of_service(db).revision == migrations.head(versions_of("volunteers"))
    finally:
        db.close()


def test_what_a_killed_restore_left_is_no_backup_and_is_not_asked_who_was_erased(
    office: Office, made: dict[str, Any], elsewhere: str, tmp_path: Path
) -> None:
    """It is of an earlier time: a backup of it would say that it is of today, and push out those that are good."""
    assert office.restore(made["name"], DATABASE_URL=elsewhere).code == 0
    execute(elsewhere, f"CREATE SCHEMA {mark('volunteers')}")

    copied = office.run("create", *office.to(tmp_path), DATABASE_URL=elsewhere)
    listed = office.run("erasures", "--folder", str(tmp_path), DATABASE_URL=elsewhere)
    again = office.restore("--service", "volunteers", "--replace", "--json", DATABASE_URL=elsewhere)

    assert (copied.code, "a restore of volunteers has not ended" in copied.stderr) == (Exit.REFUSED, True)
    assert [one.name for one in tmp_path.iterdir() if one.is_dir()] == []
    assert listed.code == Exit.UNAVAILABLE
    assert "volunteers" not in again.figures["asked_for_erasures"]
    assert "after erasures.txt was last written" in again.stderr
    assert office.run("erasures", "--folder", str(tmp_path), DATABASE_URL=elsewhere).code == 0


def test_a_settle_that_failed_and_is_repeated_replays_from_the_same_instant(
    office: Office, made: dict[str, Any], elsewhere: str
) -> None:
    assert office.restore(DATABASE_URL=elsewhere).code == 0
    execute(
        elsewhere,
        "UPDATE awards.outbox SET published_at = NULL, position = NULL, recorded_at = '2026-02-10T08:00Z'"
        " WHERE id = (SELECT id FROM awards.outbox ORDER BY seq LIMIT 1)",
        "ALTER TABLE volunteers.outbox RENAME TO away",
    )
    settle = ("settle", "--back-to", datetime.now(UTC).isoformat(), "--folder", str(office.backups))
    both = ("--service", "awards", "--service", "volunteers", "--json")

    failed = office.run(*settle, *both, DATABASE_URL=elsewhere)
    waiting = rows(elsewhere, "SELECT count(*) FROM awards.outbox WHERE published_at IS NULL")
    execute(elsewhere, "ALTER TABLE volunteers.away RENAME TO outbox")
    again = office.run(*settle, *both, DATABASE_URL=elsewhere).figures

    assert (failed.code != 0, waiting) == (True, [(0,)])
    assert again["unsent"] == {"awards": 0, "volunteers": 0}
    assert {line.partition("--since ")[2] for line in again["replay"]} == {"2026-02-03T08:00+00:00"}


def park(service: Service, method: str, events: list[Delivery]) -> None:
    """Leave events to be handled later, as a failure does."""
    with service.runtime.db.transaction() as session:
        for event in events:
            session.execute(
                sa.text(
                    "INSERT INTO parked_events (event_id, handler, body, attempts, next_attempt_at, reason, error)"
                    " VALUES (:id, :handler, :body, 1, clock_timestamp(), 'event.failed', '')"
                ),
                {"id": event.envelope.id, "handler": queue_name(service.name, method), "body": event.body},
            )


def test_what_waited_to_be_handled_at_the_backup_tells_nobody_a_second_time(
    postgres_url: str, office: Office, elsewhere: str, tmp_path: Path
) -> None:
    url = create_database(postgres_url, migrated_template(postgres_url))
    try:
        with three_services(url) as three:
            three.log(people=1)
            hours = [one for one in deliveries(three.volunteers) if one.envelope.type.endswith("hours_logged.v1")]
            park(three.notify, "acknowledge_hours", hours[:-2])
            park(three.awards, "add_to_tally", hours)
            with three.notify.runtime.db.transaction() as session:
                batch = codec.join_batch([one.body for one in hours[-2:]])
                for body in (batch, hours[-1].body, b"{no event}"):
                    ladder.insert_dead_letter(session, "notify.acknowledge_hours", body, "event.failed", "")
            three.publish("volunteers")
        office.create(tmp_path, DATABASE_URL=url)
    finally:
        drop_database(url)

    assert office.restore(folder=tmp_path, DATABASE_URL=elsewhere).code == 0

    with three_services(elsewhere) as three:
        assert retry_parked(three.awards) == len(hours)
        assert retry_parked(three.notify) == len(hours) - 2
        stars = [one for one in deliveries(three.awards) if "star_earned" in one.envelope.type]
        deliver(three.notify, "acknowledge_star", stars)
        letters = fetch(three.notify, "SELECT body FROM dead_letters ORDER BY octet_length(body)")
        # The replay brings them too: they are the same events.
        deliver(
            three.notify,
            "acknowledge_hours",
            [Delivery(codec.as_replayed(one.body), one.envelope) for one in hours[:-2]],
        )
    told = "SELECT occasion, state, count(*) FROM notify.messages GROUP BY 1, 2 ORDER BY 1"
    assert rows(elsewhere, told) == [
        ("hours_logged", "restored", len(hours) - 2),
        ("star_earned", "restored", len(stars)),
    ]
    assert stars
    unread, one, two = (bytes(letter["body"]) for letter in letters)
    assert unread == b"{no event}"
    assert one == codec.as_replayed(hours[-1].body)
    assert [each.envelope.replayed for each in decisions.open_letter(two)] == [True, True]
    assert rows(elsewhere, "SELECT count(*) FROM notify.dead_letters") == [(3,)], "no event is taken for another"


@pytest.mark.parametrize(
    ("content", "says"),
    [("AGE-SECRET-KEY-1QQQQ", "identity"), ("", "age1"), ("age1nonsense", "age1"), ("ssh-ed25519 AAAA", "age1")],
)
def test_what_is_no_recipient_is_refused_before_anything_is_copied(
    office: Office, tmp_path: Path, content: str, says: str
) -> None:
    wrong = tmp_path / "recipient.txt"
    wrong.write_text(content)

    ended = office.run("create", "--folder", str(tmp_path), "--recipient", str(wrong), "--json")

    assert (ended.code, says in ended.stderr) == (Exit.USAGE, True)
    assert "QQQQ" not in ended.stderr
    assert list(tmp_path.iterdir()) == [wrong]


def test_what_is_away_or_missing_ends_with_its_own_code(office: Office, tmp_path: Path) -> None:
    away = office.run("create", *office.to(tmp_path), DATABASE_URL="postgresql://x:y@127.0.0.1:9/z")
    nowhere = office.run("list", "--folder", str(tmp_path / "not-mounted"))
    nothing = office.run("verify", "--folder", str(tmp_path))
    unknown = office.restore("20200101T000000Z", folder=tmp_path)

    codes = (away.code, nowhere.code, nothing.code, unknown.code)
    assert codes == (Exit.UNAVAILABLE, Exit.USAGE, Exit.REFUSED, Exit.REFUSED)
    assert "xinhuo backup list" in unknown.stderr
    assert "x:y" not in away.stderr


def test_a_dry_run_tells_what_would_be_copied_and_with_what(office: Office, tmp_path: Path) -> None:
    told = office.run("create", *office.to(tmp_path), "--dry-run", "--json").figures

    [database] = told["databases"]
    assert set(database["services"]) == set(SERVICES)
    assert database["pg_dump"] >= database["server"]
    assert list(tmp_path.iterdir()) == []

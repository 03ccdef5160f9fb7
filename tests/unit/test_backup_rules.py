"""What decides about backups without any: which are kept, which program is taken, in which order is copied."""

import errno
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest

from xinhuo.chassis import config
from xinhuo.cli.backup import erasures
from xinhuo.cli.backup.databases import connected, listeners_first, places, publishers_of
from xinhuo.cli.backup.programs import Programs, for_archive, for_server
from xinhuo.cli.backup.refused import BackupRefused
from xinhuo.cli.backup.sets import Keep, locked, to_remove

SHANGHAI = ZoneInfo("Asia/Shanghai")
#: Two in the morning in China.
FIRST = datetime(2026, 1, 1, 18, tzinfo=UTC)
NIGHTS = [FIRST + timedelta(days=day) for day in range(400)]


def kept(times: list[datetime], keep: Keep) -> list[datetime]:
    gone = to_remove(times, keep, SHANGHAI)
    return [moment for moment in times if moment not in gone]


def test_the_newest_of_each_day_week_and_month_stays_and_the_rest_goes() -> None:
    left = kept(NIGHTS, Keep(7, 5, 12))

    assert left[-7:] == NIGHTS[-7:]
    months = {(moment.astimezone(SHANGHAI).year, moment.astimezone(SHANGHAI).month) for moment in left}
    assert len(months) == 12
    weeks = [moment for moment in left if moment.astimezone(SHANGHAI).isoweekday() == 7]
    assert len(weeks) >= 4
    assert 12 + 6 <= len(left) <= 7 + 5 + 12


def test_removing_night_after_night_keeps_the_same_as_removing_once() -> None:
    there: list[datetime] = []
    for night in NIGHTS:
        there = kept([*there, night], Keep(7, 5, 12))

    assert there == kept(NIGHTS, Keep(7, 5, 12))


def test_the_newest_stays_whatever_the_rule_says() -> None:
    assert kept(NIGHTS[:3], Keep(0, 0, 0)) == NIGHTS[2:3]
    assert kept([], Keep()) == []


def test_a_pause_of_months_removes_nothing_that_is_the_last_of_its_kind() -> None:
    long_ago = [FIRST - timedelta(days=days) for days in (400, 300)]

    assert kept([*long_ago, FIRST], Keep(3, 3, 3)) == [*long_ago, FIRST]


@pytest.mark.parametrize(("server", "taken"), [(14, 15), (15, 15), (16, 18), (18, 18)])
def test_the_oldest_pg_dump_that_reads_the_server_is_taken(server: int, taken: int) -> None:
    there = [Programs(Path("/new"), 18), Programs(Path("/old"), 15)]

    assert for_server(server, there).major == taken


def test_a_server_newer_than_every_pg_dump_is_refused_with_the_package_to_install() -> None:
    with pytest.raises(BackupRefused, match="postgresql-client-19") as refused:
        for_server(19, [Programs(Path("/new"), 18)])

    assert "请安装" in str(refused.value)
    with pytest.raises(BackupRefused, match="postgresql-client-18"):
        for_archive(18, [Programs(Path("/old"), 15)])


def test_who_listens_is_copied_before_who_publishes() -> None:
    order = listeners_first()

    assert sorted(order) == sorted(config.SERVICES)
    assert publishers_of("notify") == {"volunteers", "awards"}
    for listener in order:
        for publisher in publishers_of(listener) - {listener}:
            assert order.index(listener) < order.index(publisher), (listener, publisher)


def test_a_database_of_several_services_is_copied_when_the_last_of_their_listeners_was() -> None:
    of = "postgresql://x@127.0.0.1:5432/{}".format
    settings = config.load({"DATABASE_URL": of("shared"), "AWARDS_DATABASE_URL": of("awards"),
                            "NOTICES_DATABASE_URL": of("notices")})  # fmt: skip

    found = [(place.parameters["dbname"], set(place.services)) for place in places(settings)]

    assert found[0][0] == "awards"
    assert dict(found)["shared"] == {"volunteers", "notify", "portal"}
    assert len(found) == 3


def test_a_password_is_in_no_argument_of_a_program() -> None:
    [place] = places(config.load({"DATABASE_URL": "postgresql://me:s%3Acret@127.0.0.1:5432/x?sslmode=require"}))

    assert "cret" not in " ".join(place.arguments())
    assert "cret" not in place.shown
    with place.environment() as environment:
        assert environment["PGPASSWORD"] == "s:cret"
    assert "sslmode=require" in place.arguments()[0]


def test_the_password_of_a_clients_key_is_in_a_file_for_its_owner_only_while_a_program_runs() -> None:
    [place] = places(
        config.load({"DATABASE_URL": "postgresql://me@127.0.0.1/x?sslcert=c&sslkey=k&sslpassword=s%3Dcret"})
    )

    assert "cret" not in " ".join(place.arguments())
    with place.environment() as environment:
        file = Path(environment["PGSERVICEFILE"])
        section = re.search(r"service='?([\w-]+)", place.arguments()[0])
        assert section is not None
        assert file.read_text() == f"[{section[1]}]\nsslpassword=s=cret\n"
        assert file.stat().st_mode & 0o777 == 0o600
        assert "cret" not in str(environment)
    assert not file.exists()


def test_programs_are_told_whom_to_trust_and_nothing_else_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {
        "PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/ca", "PGPASSFILE": "/pass", "PGCHANNELBINDING": "require",
    }  # fmt: skip
    for name, value in {**kept, "PGHOST": "elsewhere", "PGOPTIONS": "-crole=x"}.items():
        monkeypatch.setenv(name, value)
    [place] = places(config.load({"DATABASE_URL": "postgresql://me@127.0.0.1/x"}))

    with place.environment() as environment:
        found = {name: value for name, value in environment.items() if name.startswith("PG")}
    assert found == {**kept, "PGAPPNAME": "xinhuo-backup"}


def test_options_of_the_url_are_kept_and_do_not_let_rows_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def away(**settings: Any) -> None:
        given.update(settings)
        raise psycopg.OperationalError

    monkeypatch.setattr(psycopg, "connect", away)
    url = "postgresql://me@127.0.0.1/x?options=-csearch_path%3Da%20-crow_security%3Don"
    [place] = places(config.load({"DATABASE_URL": url}))
    with pytest.raises(BackupRefused), connected(place):
        pass

    assert given["options"].startswith("-csearch_path=a -crow_security=on -c")
    assert given["options"].endswith(" -crow_security=off")


@pytest.mark.parametrize("why", [errno.EROFS, errno.EACCES])
def test_a_set_on_a_disk_that_cannot_be_written_to_is_read_without_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: int
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise OSError(why, os.strerror(why), path)

    monkeypatch.setattr(Path, "open", refuse)
    with locked(tmp_path, reading=True):
        pass
    with pytest.raises(OSError, match=os.strerror(why)), locked(tmp_path):
        pass


ONE, OTHER, THIRD = (UUID(f"00000000-0000-7000-8000-00000000000{number}") for number in (1, 2, 3))


@pytest.mark.parametrize(
    "text",
    [
        f"{ONE}\n{OTHER}\n",
        f"\ufeff{ONE}\r\n{OTHER}\r\n",
        f" {ONE} \n\n\t{str(OTHER).upper()}",
        f"{ONE}\n{OTHER}\n00000000-0000-70",
    ],
)
def test_a_list_of_erasures_that_somebody_touched_still_names_everybody(tmp_path: Path, text: str) -> None:
    (tmp_path / erasures.JOURNAL).write_bytes(text.encode())

    assert erasures.read_journal(tmp_path) == {ONE, OTHER}
    assert erasures.keep(tmp_path, [OTHER, THIRD]) == 1
    assert erasures.read_journal(tmp_path) == {ONE, OTHER, THIRD}


@pytest.mark.parametrize("line", ["00000000-0000-70", "# by hand", f"{ONE}{OTHER}", "\0" * 36])
def test_a_line_that_does_not_tell_who_was_erased_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    (tmp_path / erasures.JOURNAL).write_text(f"{ONE}\n{line}\n{OTHER}\n")

    with pytest.raises(BackupRefused, match=r"第 2 行.*line 2"):
        erasures.read_journal(tmp_path)
    with pytest.raises(BackupRefused):
        erasures.keep(tmp_path, [THIRD])


def test_the_list_of_erasures_is_for_its_owner_only(tmp_path: Path) -> None:
    assert erasures.keep(tmp_path, [ONE]) == 1
    assert (tmp_path / erasures.JOURNAL).stat().st_mode & 0o777 == 0o600

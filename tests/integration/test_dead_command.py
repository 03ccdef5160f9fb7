"""`xinhuo dead` on the databases of the real services, with none of them running."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from services.volunteers.service import Volunteers
from tests.support.installation import Ended, clean_environment
from tests.support.services import delivery_of, empty_tables, fetch, make_service, retry_parked
from xinhuo.chassis import key_file, ladder
from xinhuo.chassis.errors import PermanentEventError
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.ladder import Delivery
from xinhuo.cli.exits import Exit
from xinhuo.cli.main import app
from xinhuo.contracts.codec import Envelope
from xinhuo.contracts.notices import UnitRegistered

HANDLER = "volunteers.follow_units"
WHY = ("--why", "原因已排除", "--by", "ops-1")
Run = Callable[..., Ended]


class NotToday(PermanentEventError):
    """The event cannot be handled today."""

    code = "dead_command_test.not_today"
    title = "今天不处理"


@pytest.fixture
def volunteers(database: str) -> Iterator[Volunteers]:
    made = make_service(Volunteers, database)
    yield made
    empty_tables(made, [])
    with made.runtime.db.transaction() as session:
        session.execute(sa.text("DELETE FROM known_units"))
    made.runtime.db.close()


@pytest.fixture
def run(database: str, volunteers: Volunteers, tmp_path: Path) -> Run:
    """Call the command in this process, with an answer to its question."""
    key = tmp_path / "master.key"
    key_file.create_key_file(key)
    settings = {"DATABASE_URL": database, "XINHUO_KEY_FILE": str(key), "COLUMNS": "200"}

    def call(*arguments: str, answer: str | None = None) -> Ended:
        environment: dict[str, str | None] = {**clean_environment(settings)}
        result = CliRunner().invoke(app, ["dead", *arguments], env=environment, input=answer, prog_name="xinhuo")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    return call


def never(_session: object, _envelopes: list[Envelope]) -> None:
    raise NotToday("no")


def bury(volunteers: Volunteers, count: int = 1) -> list[Delivery]:
    batch = [delivery_of(UnitRegistered(unit_code=f"U-{new_id()}".upper(), kind="primary")) for _ in range(count)]
    ladder.take(volunteers.runtime.db, HANDLER, never, batch)
    return batch


def letters(volunteers: Volunteers, state: str = "waiting") -> list[str]:
    found = fetch(volunteers, "SELECT id FROM dead_letters WHERE state = :s ORDER BY died_at, id", s=state)
    return [str(row["id"]) for row in found]


def json_of(ended: Ended, code: int = Exit.OK) -> Any:
    assert ended.code == code, ended
    (line,) = ended.stdout.splitlines()
    return json.loads(line)


def known_units(volunteers: Volunteers) -> int:
    return int(fetch(volunteers, "SELECT count(*) FROM known_units")[0]["count"])


def test_an_empty_desk_says_so(run: Run) -> None:
    assert "没有死信 / no dead letters" in run("list").stdout
    assert json_of(run("list", "--json")) == {"groups": []}
    assert json_of(run("list", "--each", "--json")) == {"letters": []}
    ended = run("retry", "--handler", HANDLER, *WHY)
    assert (ended.code, "没有符合条件的死信" in ended.stdout) == (Exit.OK, True)


def test_groups_and_letters_are_listed_for_people_and_for_programs(run: Run, volunteers: Volunteers) -> None:
    bury(volunteers, 3)
    table = run("list").stdout
    assert all(word in table for word in ("volunteers", HANDLER, "dead_command_test.not_today", "今天不处理", "3"))
    (group,) = json_of(run("list", "--json"))["groups"]
    assert (group["service"], group["waiting"]) == ("volunteers", 3)
    assert json_of(run("list", "--service", "awards", "--json")) == {"groups": []}
    assert json_of(run("list", "--reason", "handler.failed", "--json")) == {"groups": []}
    each = run("list", "--each", "--limit", "2").stdout.splitlines()
    assert [line.split()[0] for line in each] == letters(volunteers)[:0:-1]
    assert json_of(run("list", "--each", "--state", "dropped", "--json")) == {"letters": []}


def test_a_retry_takes_effect_once_and_keeps_its_record(run: Run, volunteers: Volunteers) -> None:
    bury(volunteers)
    (letter,) = letters(volunteers)
    result = json_of(run("retry", letter, *WHY, "--yes", "--json"))
    assert (result["dry_run"], result["counts"], result["items"][0]["service"]) == (False, {"queued": 1}, "volunteers")
    assert (retry_parked(volunteers), known_units(volunteers)) == (1, 1)
    shown = run("show", letter).stdout
    assert "已生效" in shown
    assert "ops-1: 原因已排除" in shown
    again = run("retry", letter, *WHY, "--yes")
    assert (again.code, "已重发" in again.stderr) == (Exit.REFUSED, True)


def test_more_than_a_portion_is_worked_through_and_what_cannot_be_read_stands_in_nobodys_way(
    run: Run, volunteers: Volunteers
) -> None:
    for number in range(205):
        ladder.bury_message(volunteers.runtime.db, HANDLER, b"no event %d" % number, "event.undecodable", "why")
    bury(volunteers, 230)
    result = json_of(run("retry", "--handler", HANDLER, *WHY, "--rate", "1000", "--yes", "--json"), Exit.REFUSED)
    assert result["counts"] == {"refused": 205, "queued": 230}
    assert len(letters(volunteers)) == 205
    told = run("retry", "--handler", HANDLER, *WHY, "--yes")
    assert told.code == Exit.REFUSED
    assert "还有 185 封" in told.stdout
    assert json_of(run("drop", "--handler", HANDLER, *WHY, "--limit", "5", "--yes", "--json"))["counts"] == {
        "dropped": 5
    }


def test_a_rehearsal_runs_the_real_handlers_and_changes_nothing(run: Run, volunteers: Volunteers) -> None:
    bury(volunteers, 2)
    result = json_of(run("retry", "--handler", HANDLER, *WHY, "--dry-run", "--json"))
    assert (result["dry_run"], result["counts"]) == (True, {"would_take_effect": 2})
    assert json_of(run("drop", "--handler", HANDLER, *WHY, "--dry-run", "--json"))["counts"] == {"would_drop": 2}
    assert (len(letters(volunteers)), known_units(volunteers), retry_parked(volunteers)) == (2, 0, 0)
    assert fetch(volunteers, "SELECT 1 FROM dead_letter_actions") == []
    assert "没有改动" in run("retry", "--handler", HANDLER, *WHY, "--dry-run").stdout


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", Exit.OK, 0), ("n\n", Exit.CANCELLED, 1), ("", 6, 1)])
def test_it_asks_before_it_decides(run: Run, volunteers: Volunteers, answer: str, code: int, left: int) -> None:
    bury(volunteers)
    ended = run("drop", "--handler", HANDLER, *WHY, answer=answer)
    assert "作废 1 封死信？" in ended.stdout + ended.stderr
    assert (ended.code, len(letters(volunteers))) == (code, left)


@pytest.mark.parametrize(
    "arguments",
    [
        ("retry", "--handler", HANDLER),
        ("retry", *WHY),
        ("retry", "7", *WHY),
        ("retry", str(new_id()), "--handler", HANDLER, *WHY),
        ("retry", "--handler", HANDLER, "--why", "a\x1bb", "--by", "ops-1", "--yes"),
        ("retry", "--handler", HANDLER, "--why", "x", "--by", "王 小明", "--yes"),
        ("retry", "--handler", HANDLER, *WHY, "--json"),
        ("retry", "--since", "gestern", *WHY, "--yes"),
        ("retry", "--handler", HANDLER, *WHY, "--rate", "0"),
        ("list", "--service", "nobody"),
        ("list", "--state", "dropped"),
        ("list", "--each", "--state", "lost"),
        ("show", "7"),
        ("show", str(new_id()), "--json", "--body", "-"),
    ],
)
def test_what_is_not_clear_is_a_mistake_of_use(run: Run, volunteers: Volunteers, arguments: tuple[str, ...]) -> None:
    bury(volunteers)
    ended = run(*arguments)
    assert (ended.code, ended.stdout) == (Exit.USAGE, ""), ended
    assert ended.stderr
    assert len(letters(volunteers)) == 1


def test_of_letters_named_together_none_is_dropped_when_one_was_settled_before(
    run: Run, volunteers: Volunteers
) -> None:
    bury(volunteers, 3)
    first, second, third = letters(volunteers)
    assert run("drop", second, *WHY, "--yes").code == Exit.OK

    ended = run("drop", first, second, third, *WHY, "--yes", "--json")

    assert (ended.code, ended.stdout) == (Exit.REFUSED, "")
    assert f"{second} was dropped" in ended.stderr
    assert letters(volunteers) == [first, third]


@pytest.mark.parametrize(
    "arguments",
    [
        ("drop", "--handler", "", *WHY, "--yes"),
        ("drop", "--handler", HANDLER, "--since", "", *WHY, "--yes"),
        ("retry", "--handler", HANDLER, "--reason", " ", *WHY, "--yes"),
    ],
)
def test_an_option_without_a_value_does_not_mean_everything(
    run: Run, volunteers: Volunteers, arguments: tuple[str, ...]
) -> None:
    bury(volunteers)
    ended = run(*arguments)
    assert ended.code == Exit.USAGE
    assert "是空的" in ended.stderr
    assert len(letters(volunteers)) == 1


def test_ids_with_a_limit_are_refused(run: Run, volunteers: Volunteers) -> None:
    bury(volunteers, 2)
    ended = run("drop", *letters(volunteers), "--limit", "1", *WHY, "--yes")
    assert (ended.code, "--limit" in ended.stderr) == (Exit.USAGE, True)
    assert len(letters(volunteers)) == 2


def test_a_handler_that_there_is_not_is_refused_with_those_that_there_are(run: Run) -> None:
    ended = run("retry", "--handler", "follow_units", *WHY, "--yes")
    assert (ended.code, HANDLER in ended.stderr) == (Exit.USAGE, True)


def test_a_user_without_a_name_is_asked_who_decides(
    run: Run, volunteers: Volunteers, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(volunteers)
    monkeypatch.setattr("getpass.getuser", nameless)
    ended = run("drop", "--handler", HANDLER, "--why", "no use", "--yes")
    assert (ended.code, "--by" in ended.stderr) == (Exit.USAGE, True)
    assert run("drop", "--handler", HANDLER, *WHY, "--yes").code == Exit.OK


def nameless() -> str:
    raise KeyError("getpwuid(): uid not found: 45678")


def test_an_unknown_letter_is_named(run: Run) -> None:
    unknown = str(new_id())
    for arguments in (("show", unknown), ("retry", unknown, *WHY, "--yes"), ("drop", unknown, *WHY, "--yes")):
        ended = run(*arguments)
        assert (ended.code, unknown in ended.stderr) == (Exit.REFUSED, True)


def test_the_body_is_saved_only_when_asked_for_and_overwrites_nothing(
    run: Run, volunteers: Volunteers, tmp_path: Path
) -> None:
    body = "王小明 \x1b[2J".encode()
    ladder.bury_message(volunteers.runtime.db, HANDLER, body, "event.undecodable", "why")
    (letter,) = letters(volunteers)
    assert "王小明" not in run("show", letter).stdout + run("show", letter, "--json").stdout
    file = tmp_path / "body"
    assert run("show", letter, "--body", str(file)).code == Exit.OK
    assert file.read_bytes() == body
    assert run("show", letter, "--body", str(file)).code == Exit.USAGE
    assert run("show", letter, "--body", "-").stdout.encode() == body


def test_databases_of_an_older_version_and_databases_away_are_told(run: Run, empty_database: str) -> None:
    runner = CliRunner()
    old = runner.invoke(app, ["dead", "list"], env={"DATABASE_URL": empty_database})
    assert (old.exit_code, "xinhuo db upgrade" in old.stderr) == (Exit.REFUSED, True)
    away = runner.invoke(app, ["dead", "list"], env={"DATABASE_URL": "postgresql://x:y@127.0.0.1:9/z"})
    assert away.exit_code == Exit.UNAVAILABLE


@pytest.mark.parametrize(
    "arguments",
    [
        ("reconcile",),
        ("rebuild", "statistics", "--dry-run"),
        ("events", "replay", "--service", "awards", "--since", "2026-03-01", "--dry-run"),
    ],
)
def test_other_commands_on_a_database_without_tables_say_what_is_first(
    arguments: tuple[str, ...], empty_database: str
) -> None:
    settings = {"DATABASE_URL": empty_database, "AMQP_URI": "amqp://x:y@127.0.0.1:9/z"}
    ended = CliRunner().invoke(app, arguments, env=clean_environment(settings))
    assert (ended.exit_code, "xinhuo db upgrade" in ended.stderr) == (Exit.REFUSED, True), ended.output


@pytest.mark.parametrize("minutes", ["nan", "inf", "-1", "1e9"])
def test_minutes_that_are_none_are_refused(minutes: str) -> None:
    ended = CliRunner().invoke(app, ["reconcile", "--older-than", minutes])
    assert ended.exit_code == Exit.USAGE
    assert "--older-than" in ended.stderr

"""The `xinhuo` command: help at once and in both languages, JSON for scripts, exit codes that mean something."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kombu import Connection
from typer.main import get_command

from tests.support.documents import ROOT
from tests.support.installation import SERVICES, Ended, called, xinhuo
from xinhuo.cli.exits import Exit
from xinhuo.cli.main import app

HELP_CPU_SECONDS = 0.5
CHINESE = re.compile(r"[\u4e00-\u9fff]")
ENGLISH = re.compile(r"\b[A-Za-z]{3,}\b")
#: Parameters whose help is a list of names.
NAMES_ONLY = {"service", "role"}
#: Options that the library brings along.
OF_TYPER = {"help", "install_completion", "show_completion"}
#: Nobody listens there.
AWAY = {"AMQP_URI": "amqp://x:y@127.0.0.1:9/z", "DATABASE_URL": "postgresql://x:y@127.0.0.1:9/z"}


def tree(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with the words that call it."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from tree(inner, (*path, name))


COMMANDS = dict(tree(get_command(app)))
LEAVES = {path: command for path, command in COMMANDS.items() if not hasattr(command, "commands")}


def options_of(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


def json_of(ended: Ended) -> Any:
    (line,) = ended.stdout.splitlines()
    return json.loads(line)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "xinhuo")
def test_help_is_in_chinese_and_english_and_ends_well(path: tuple[str, ...]) -> None:
    ended = called(*path, "--help", settings={"COLUMNS": "100"})

    assert (ended.code, ended.stderr) == (0, "")
    assert CHINESE.search(ended.stdout)
    purpose = str(COMMANDS[path].help)
    assert CHINESE.search(purpose), purpose
    assert ENGLISH.search(purpose), purpose
    for parameter in COMMANDS[path].params:
        text = getattr(parameter, "help", None)
        if text and parameter.name not in NAMES_ONLY | OF_TYPER:
            assert CHINESE.search(text), f"{parameter.name}: {text}"
            assert ENGLISH.search(text), f"{parameter.name}: {text}"


def test_help_takes_less_than_half_a_second_of_the_processor() -> None:
    best = min(xinhuo("--help").cpu_seconds for _ in range(3))

    print(f"xinhuo --help: {best:.2f} s of CPU time, best of 3")
    assert best < HELP_CPU_SECONDS


def test_every_command_that_lists_something_can_do_so_as_json() -> None:
    lists = {("db", "current"), ("subs", "events"), ("hours", "imports"), ("hours", "show"), ("hours", "claims"),
             ("dead", "list"), ("dead", "show"), ("doctor",), ("reconcile",), ("accounts", "list"), ("keys", "list"),
             ("whoami",), ("retention", "due"), ("retention", "report"), ("backup", "list")}  # fmt: skip

    assert lists <= LEAVES.keys()
    assert [path for path in lists if "--json" not in options_of(LEAVES[path])] == []


def test_every_command_that_changes_something_can_be_tried_dry() -> None:
    writes = {("db", "upgrade"), ("topology", "apply"), ("subs", "create"), ("hours", "import"), ("hours", "undo"),
              ("hours", "approve"), ("key", "create"), ("key", "rotate"), ("key", "rewrap"),
              ("dead", "retry"), ("dead", "drop"), ("events", "replay"),
              ("rebuild", "statistics"), ("backup", "key"), ("backup", "create"), ("backup", "restore"),
              ("backup", "settle"), ("backup", "erasures")}  # fmt: skip
    # Serving is what these are for; the others read, or save a file under the name that they are given.
    others = {("up",), ("serve",), ("db", "current"), ("subs", "events"), ("hours", "imports"), ("hours", "show"),
              ("dead", "list"), ("dead", "show"), ("doctor",), ("reconcile",), ("prove",), ("hours", "template"),
              ("hours", "result"), ("hours", "claims")}  # fmt: skip
    # What they do is shown by the portal before and after, and can be taken back there.
    others |= {("login",), ("logout",), ("whoami",), ("activate",), ("token",), ("accounts", "first-admin"),
               ("accounts", "create"),
               ("accounts", "list"), ("accounts", "reset"), ("keys", "create"), ("keys", "list"), ("keys", "rotate"),
               ("keys", "revoke"), ("audit", "verify"), ("retention", "due"), ("retention", "report"),
               ("backup", "list"), ("backup", "verify")}  # fmt: skip

    assert LEAVES.keys() == writes | others
    assert [path for path in writes if "--dry-run" not in options_of(LEAVES[path])] == []


def test_exit_codes_are_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")

    for code in Exit:
        assert f"| {int(code)} | `{code.name}` |" in page
    for path in LEAVES:
        assert f"## `xinhuo {' '.join(path)}`" in page


def test_databases_are_brought_to_the_newest_version_once(empty_database: str) -> None:
    settings = {"DATABASE_URL": empty_database}

    before = xinhuo("db", "current", "--json", settings=settings)
    planned = xinhuo("db", "upgrade", "--dry-run", "--json", settings=settings)
    still = xinhuo("db", "current", "--json", settings=settings)
    upgraded = xinhuo("db", "upgrade", "--json", settings=settings)
    after = xinhuo("db", "current", settings=settings)
    again = xinhuo("db", "upgrade", settings=settings)

    assert (before.code, planned.code, still.code, upgraded.code, after.code, again.code) == (1, 0, 1, 0, 0, 0)
    assert [row["service"] for row in json_of(before)["services"]] == list(SERVICES)
    assert {row["from"] for row in json_of(before)["services"]} == {None}
    assert json_of(planned) == json_of(still)
    rows = json_of(still)["services"]
    assert {row.pop("serves") for row in rows} == {False}, "no process works before it"
    assert rows == json_of(upgraded)["services"]
    assert after.stdout.count("已是最新") == again.stdout.count("up to date") == len(SERVICES)


def test_one_service_alone_can_be_upgraded(database: str) -> None:
    ended = xinhuo("db", "upgrade", "awards", "--json", settings={"DATABASE_URL": database})

    (row,) = json_of(ended)["services"]
    assert row["service"] == "awards"
    assert row["from"] == row["to"]


def test_the_topology_is_made_once_and_subscriptions_bind_to_it(empty_broker: str) -> None:
    settings = {"AMQP_URI": empty_broker}

    planned = xinhuo("topology", "apply", "--dry-run", "--json", settings=settings)
    made = xinhuo("topology", "apply", "--json", settings=settings)
    again = xinhuo("topology", "apply", settings=settings)

    assert (planned.code, made.code, again.code) == (0, 0, 0)
    assert json_of(planned)["made"] == json_of(made)["made"]
    assert "queue volunteers.keep_statistics" in json_of(made)["made"]
    assert again.stdout.splitlines()[0] == "已是最新 / nothing to do"
    assert set(json_of(xinhuo("topology", "apply", "--json", settings=settings))["same"]) == set(json_of(made)["made"])

    wanted = ("subs", "create", "traffic", "--events", "volunteers.hours_logged.v1", "--json")
    tried = xinhuo(*wanted, "--dry-run", settings=settings)
    assert tried.code == 0
    assert json_of(tried)["dry_run"] is True
    assert not exchange_exists(empty_broker, "dept.traffic.events")
    created = xinhuo(*wanted, settings=settings)
    assert json_of(created)["exchange"] == "dept.traffic.events"
    assert exchange_exists(empty_broker, "dept.traffic.events")
    assert xinhuo(*wanted, settings=settings).code == 0


def test_a_queue_that_differs_is_shown_with_both_values_and_replaced_when_that_is_harmless(empty_broker: str) -> None:
    settings = {"AMQP_URI": empty_broker}
    xinhuo("topology", "apply", settings=settings)
    with Connection(empty_broker) as connection, connection.channel() as channel:
        channel.queue_delete("awards.add_to_tally")
        channel.queue_declare("awards.add_to_tally", durable=True, auto_delete=False)
        channel.queue_delete("awards.dead")
        channel.queue_declare(
            "awards.dead", durable=True, auto_delete=False,
            arguments={"x-queue-type": "quorum", "x-delivery-limit": 7},
        )  # fmt: skip

    shown = xinhuo("topology", "apply", "--dry-run", settings=settings)
    told = xinhuo("topology", "apply", "--json", settings=settings)
    replaced = xinhuo("topology", "apply", "--replace", settings=settings)

    assert (shown.code, told.code, replaced.code) == (Exit.REFUSED, Exit.REFUSED, Exit.REFUSED)
    assert "不同 / differs: queue awards.add_to_tally" in shown.stdout
    assert "x-delivery-limit: 现为 / there 7，应为 / wanted —" in shown.stdout
    assert "xinhuo topology apply --replace" in shown.stdout
    assert {item["name"] for item in json_of(told)["differs"]} == {"awards.add_to_tally", "awards.dead"}
    assert "已重建 / replaced: queue awards.add_to_tally" in replaced.stdout
    assert "differs: queue awards.dead" in replaced.stdout
    with Connection(empty_broker) as connection, connection.channel() as channel:
        channel.queue_delete("awards.dead")
    assert xinhuo("topology", "apply", settings=settings).code == 0


def exchange_exists(amqp_uri: str, name: str) -> bool:
    with Connection(amqp_uri) as connection, connection.channel() as channel:
        try:
            channel.exchange_declare(name, "topic", passive=True)
        except connection.channel_errors:
            return False
        return True


def test_a_fresh_installation_agrees_with_itself_and_the_doctor_says_what_is_wrong_with_it(
    database: str, tmp_path: Path
) -> None:
    settings = {"DATABASE_URL": database, "XINHUO_DATA": str(tmp_path)}

    compared, spoken = xinhuo("reconcile", "--json", settings=settings), xinhuo("reconcile", settings=settings)
    asked, told = xinhuo("doctor", "--json", settings=settings), xinhuo("doctor", settings=settings)

    assert (compared.code, spoken.code) == (0, 0)
    assert json_of(compared)["equal"] is True
    assert spoken.stdout.count("✓") == len(json_of(compared)["comparisons"]) == 9
    found = {finding["code"] for finding in json_of(asked)["findings"]}
    assert (asked.code, told.code) == (Exit.REFUSED, Exit.REFUSED)
    assert {"key.missing", "broker.in_process"} <= found
    assert all(code in told.stdout for code in found)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO awards.tallies (volunteer_id, minutes) VALUES (gen_random_uuid(), 60)")
    wrong = xinhuo("reconcile", settings=settings)
    assert wrong.code == Exit.REFUSED
    assert "第一条 / first: extra" in wrong.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("subs", "create", "Traffic", "--events", "volunteers.hours_logged.v1"), "部门代号"),
        (("subs", "create", "x", "--events", "volunteers.hours_logged.v1"), "2 to 30"),
        (("subs", "create", "a.b", "--events", "volunteers.hours_logged.v1"), "部门代号"),
        (("subs", "create", "traffic", "--events", "volunteers.hours_lost.v1"), "volunteers.hours_logged.v1"),
        (("subs", "create", "traffic", "--events", " , "), "--events"),
        (("serve", "payroll"), "notices, volunteers, awards, notify"),
        (("serve", "awards", "--role", "cook"), "--role"),
        (("db", "upgrade", "payroll"), "payroll"),
        (("hours", "show", "7"), "UUID"),
        (("no-such-command",), "no-such-command"),
    ],
)
def test_what_is_called_wrongly_ends_with_2_and_says_what_would_be_right(arguments: tuple[str, ...], says: str) -> None:
    ended = called(*arguments, settings=AWAY)

    assert ended.code == Exit.USAGE, ended.stderr
    assert says in ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [("db", "current"), ("db", "upgrade"), ("topology", "apply"), ("reconcile",),
     ("subs", "create", "traffic", "--events", "volunteers.hours_logged.v1")],
)  # fmt: skip
def test_what_is_away_ends_with_3(arguments: tuple[str, ...]) -> None:
    ended = called(*arguments, settings=AWAY)

    assert ended.code == Exit.UNAVAILABLE, ended.stderr
    assert "连接不上" in ended.stderr
    assert "x:y" not in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"XINHUO_PORT_BASE": "many"}, "XINHUO_PORT_BASE"),
        ({"DATABASE_URL": "mysql://somewhere/else"}, "DATABASE_URL"),
        ({"AMQP_URI": "http://somewhere"}, "AMQP_URI"),
        ({}, "DATABASE_URL"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, str], names: str) -> None:
    ended = called("db", "current", settings=settings)

    assert ended.code == Exit.USAGE
    assert names in ended.stderr
    assert "Traceback" not in ended.stderr


def test_public_events_are_listed_for_people_and_for_scripts() -> None:
    listed, spoken = json_of(called("subs", "events", "--json"))["events"], called("subs", "events").stdout

    assert {"volunteers.hours_logged.v1", "awards.star_earned.v1"} <= {event["type"] for event in listed}
    assert len(spoken.splitlines()) == len(listed)
    assert all(event["type"] in spoken and event["what"] in spoken for event in listed)


def test_a_master_key_is_made_once_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "master.key"

    dry = called("key", "create", str(path), "--dry-run")
    existed = path.exists()
    made = called("key", "create", str(path))
    key = path.read_bytes()
    kept = called("key", "create", str(path))

    assert (dry.code, made.code, kept.code) == (0, 0, 0)
    assert not existed
    assert ("将新建" in dry.stdout, "已新建" in made.stdout, "已存在" in kept.stdout) == (True, True, True)
    assert path.read_bytes() == key
    assert path.stat().st_mode & 0o077 == 0


def test_the_version_is_told() -> None:
    from xinhuo import __version__

    assert xinhuo("--version").stdout == f"xinhuo {__version__}\n"

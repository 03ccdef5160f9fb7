"""Signing in by the command line, from the first administrator's link to the keys of programs."""

import json
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Loaded
from tests.support.installation import Ended, Installation, called, xinhuo
from tests.support.portal import OTHER_PASSWORD, PASSWORD
from tests.support.threads import at_once
from xinhuo.cli.exits import Exit

LINK = re.compile(r"xhl_[\w-]{43}")
WRONG = "登录名、密码或验证码不正确"


@dataclass
class Seat:
    """A terminal at which somebody sits, with a session of his own."""

    installation: Installation
    session: Path

    @property
    def settings(self) -> dict[str, str]:
        """What its commands find in the environment."""
        return {"XINHUO_SESSION_FILE": str(self.session), "XINHUO_PORTAL_URL": self.installation.url("portal")}

    def run(self, *arguments: str, stdin: str | None = None, **more: str) -> Ended:
        """Run a command."""
        return called(*arguments, settings={**self.settings, **more}, stdin=stdin)

    def process(self, *arguments: str, stdin: str | None = None, **more: str) -> Ended:
        """Run a command as a process of its own."""
        return xinhuo(*arguments, settings={**self.settings, **more}, stdin=stdin)

    def sign_in(self, login: str, password: str = PASSWORD) -> Ended:
        """Sign in as a script does."""
        return self.run("login", login, "--password-stdin", stdin=f"{password}\n")

    def activate(self, link: str, password: str = PASSWORD) -> Ended:
        """Set a password by a one-time link."""
        return self.run("activate", "--password-stdin", "--json", stdin=f"{password}\n", XINHUO_LINK=link)

    def json(self, *arguments: str, **more: str) -> Any:
        """Return the one object that a command prints."""
        return self.run(*arguments, "--json", **more).figures


@dataclass
class Office:
    """An installation without sample, the links that its starts showed, and its administrator's password set."""

    installation: Installation
    links: list[str]
    folder: Path

    def seat(self, name: str, *, login: str | None = "admin") -> Seat:
        """Return a terminal, with somebody signed in."""
        seat = Seat(self.installation, self.folder / f"{name}.json")
        if login is not None:
            signed_in = seat.sign_in(login)
            assert signed_in.code == 0, signed_in.stderr
        return seat


@pytest.fixture(scope="module")
def office(install: Callable[[str], Installation], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    installation = install("embedded")
    first = xinhuo(*installation.arguments("--no-sample", "--once"))
    assert first.code == 0, first.stdout + first.stderr
    installation.spawn("--no-sample")
    installation.serve()
    links = [LINK.findall(text) for text in (first.stdout, installation.output.read_text(encoding="utf-8"))]
    assert [len(found) for found in links] == [1, 1], "each start shows one link, until it is used"
    made = Office(installation, [found[0] for found in links], tmp_path_factory.mktemp("seats"))
    old, new = (made.seat("first", login=None).activate(link) for link in made.links)
    assert old.code == Exit.REFUSED, "the newer link is the only one that is good"
    assert new.figures["login"] == "admin"
    yield made
    installation.end()


def on_the_server(installation: Installation) -> dict[str, str]:
    """Return the settings of a command that goes to the database itself."""
    return {"PORTAL_DATABASE_URL": installation.sql_url(), "XINHUO_DATA": str(installation.data)}


def test_the_link_is_good_once_and_is_shown_no_more_when_somebody_can_sign_in(office: Office) -> None:
    again = office.seat("again", login=None).activate(office.links[1], OTHER_PASSWORD)
    assert again.code == Exit.REFUSED
    assert json.loads(again.stdout)["error"]["code"] == "link.unusable"
    settings = on_the_server(office.installation)
    refused = called("accounts", "first-admin", settings=settings)
    assert (refused.code, refused.stdout) == (Exit.REFUSED, "")
    assert "已有在用的局管理员" in refused.stderr
    assert office.installation.stop() == 0
    office.installation.spawn("--no-sample")
    office.installation.serve()
    assert not LINK.search(office.installation.output.read_text(encoding="utf-8"))


def test_a_session_is_kept_for_its_owner_only_until_he_signs_out(office: Office) -> None:
    seat = office.seat("owner", login=None)
    nobody = seat.process("whoami")
    assert (nobody.code, "xinhuo login" in nobody.stderr) == (Exit.REFUSED, True)
    signed_in = seat.process("login", "ADMIN", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert "bureau_admin" in signed_in.stdout
    assert stat.S_IMODE(seat.session.stat().st_mode) == 0o600
    assert PASSWORD not in seat.session.read_text()
    me = seat.json("whoami")
    assert (me["login"], me["role"], me["kind"]) == ("admin", "bureau_admin", "account")
    # The session knows its portal: a command that names none finds it.
    assert seat.json("accounts", "list", XINHUO_PORTAL_URL="http://127.0.0.1:9")["accounts"]
    kept = seat.session.read_text()
    assert seat.json("logout") == {"signed_in_before": True, "ended": True}
    assert not seat.session.exists()
    assert seat.json("logout") == {"signed_in_before": False, "ended": False}
    assert seat.run("whoami").code == Exit.REFUSED
    # Who had copied it can no longer renew it.
    seat.session.write_text(json.dumps({**json.loads(kept), "until": 0}))
    ended = seat.run("whoami")
    assert (ended.code, "会话已终止" in ended.stderr) == (Exit.REFUSED, True)


def test_a_wrong_password_is_refused_in_both_languages_and_leaves_no_session(office: Office) -> None:
    seat = office.seat("wrong", login=None)
    for login in ("admin", "no.such.one"):
        refused = seat.sign_in(login, OTHER_PASSWORD)
        assert (refused.code, refused.stdout) == (Exit.REFUSED, "")
        assert WRONG in refused.stderr
        assert "The login, password or code is wrong" in refused.stderr
    assert not seat.session.exists()
    assert "bureau_admin" in seat.sign_in("admin").stdout


def test_commands_that_run_at_once_with_a_token_past_its_time_take_turns_and_all_work(office: Office) -> None:
    seat = office.seat("together")
    kept = json.loads(seat.session.read_text())
    seat.session.write_text(json.dumps({**kept, "until": 0}))
    for found in at_once([lambda: seat.process("whoami", "--json") for _ in range(3)]):
        assert found.figures["login"] == "admin"
    renewed = json.loads(seat.session.read_text())
    assert renewed["refresh_token"] != kept["refresh_token"]
    assert stat.S_IMODE(seat.session.stat().st_mode) == 0o600
    # A token that the services do not take, though its time is not over, is changed for another one.
    seat.session.write_text(json.dumps({**renewed, "access_token": "no.token.this"}))
    assert seat.json("whoami")["login"] == "admin"


def test_an_administrator_makes_an_account_lists_it_and_resets_its_password(office: Office) -> None:
    admin = office.seat("manager")
    made = admin.run("accounts", "create", "clerk.li", "--role", "clerk")
    assert made.code == 0, made.stderr
    [link] = LINK.findall(made.stdout)
    taken = admin.run("accounts", "create", "clerk.li", "--role", "clerk")
    assert (taken.code, "已被其他账号使用" in taken.stderr) == (Exit.REFUSED, True)
    clerk = office.seat("clerk", login=None)
    assert clerk.sign_in("clerk.li").code == Exit.REFUSED
    assert clerk.activate(link).figures["login"] == "clerk.li"
    assert clerk.sign_in("clerk.li").code == 0
    states = {one["login"]: one for one in admin.json("accounts", "list")["accounts"]}
    assert (states["clerk.li"]["role"], states["clerk.li"]["state"]) == ("clerk", "active")
    # A clerk manages nobody, and is told who does.
    refused = clerk.run("accounts", "list")
    assert (refused.code, "局管理员" in refused.stderr) == (Exit.REFUSED, True)
    reset = admin.json("accounts", "reset", states["clerk.li"]["id"])
    assert clerk.sign_in("clerk.li").code == 0, "the old password is good until the link is used"
    assert clerk.activate(reset["secret"], OTHER_PASSWORD).code == 0
    assert clerk.sign_in("clerk.li").code == Exit.REFUSED
    assert clerk.sign_in("clerk.li", OTHER_PASSWORD).code == 0


def test_a_key_is_made_used_rotated_and_ended(office: Office) -> None:
    admin, program = office.seat("keys"), office.seat("program", login=None)
    url = office.installation.url("volunteers")

    def imports(key: str) -> Ended:
        return program.run("hours", "imports", "--url", url, "--json", XINHUO_API_KEY=key)

    scopes = "hours:import,people:read"
    shown = admin.run("keys", "create", "导入程序", "--role", "clerk", "--scopes", scopes, "--days", "30")
    assert shown.code == 0, shown.stderr
    [key] = re.findall(r"xhk_\w{8}_[\w-]{43}", shown.stdout)
    prefix = key.split("_")[1]
    assert imports(key).figures == {"imports": []}
    me = program.json("whoami", XINHUO_API_KEY=key)
    assert (me["kind"], me["scopes"]) == ("client", ["hours:import", "people:read"])
    [client] = [one for one in admin.json("keys", "list")["clients"] if one["name"] == "导入程序"]
    assert [one["prefix"] for one in client["keys"]] == [prefix]
    newer = admin.json("keys", "rotate", client["id"], prefix, "--overlap-hours", "1")
    assert [imports(one).code for one in (key, newer["key"])] == [0, 0], "both are good for the overlap"
    assert admin.run("keys", "revoke", client["id"], prefix).code == 0
    refused = imports(key)
    assert (refused.code, "HTTP 401" in refused.stderr) == (Exit.UNAVAILABLE, True), refused.stderr
    assert imports(newer["key"]).code == 0
    beyond = admin.run("keys", "create", "越权程序", "--role", "clerk", "--scopes", "accounts:manage")
    assert (beyond.code, "accounts:manage" in beyond.stderr) == (Exit.REFUSED, True)


def test_nobody_gets_in_without_signing_in(office: Office) -> None:
    seat, installation = office.seat("stranger", login=None), office.installation
    for command in (("accounts", "list"), ("keys", "list"), ("whoami",)):
        assert seat.run(*command).code == Exit.REFUSED
    refused = seat.run("hours", "imports", "--url", installation.url("volunteers"))
    assert (refused.code, "请先登录" in refused.stderr) == (Exit.REFUSED, True)


def test_in_production_there_is_no_sample_and_no_account_to_try(tmp_path: Path) -> None:
    data = tmp_path / "data"
    refused = xinhuo("up", "--data", data, settings={"XINHUO_ENVIRONMENT": "production"})
    assert refused.code == Exit.USAGE
    assert "--no-sample" in refused.stdout + refused.stderr
    assert not data.exists()


def test_the_accounts_of_the_sample_work_are_shown_once_and_need_no_first_administrator(
    load: Callable[[str], Loaded], tmp_path: Path
) -> None:
    loaded = load("embedded")
    assert loaded.first.code == 0, loaded.first.stderr
    shown = dict(re.findall(r"^ +\w+ +(demo-\w+) +(\S+)", loaded.first.stderr, re.MULTILINE))
    assert {"demo-admin", "demo-clerk", "demo-operator", "demo-volunteer"} <= set(shown)
    assert "demo-admin" not in loaded.second.stderr
    installation = loaded.installation.serve()
    refused = called("accounts", "first-admin", "--json", settings=on_the_server(installation))
    assert (refused.code, "已有在用的局管理员" in refused.stderr) == (Exit.REFUSED, True)
    seat = Seat(installation, tmp_path / "session.json")
    assert "clerk" in seat.sign_in("demo-clerk", shown["demo-clerk"]).stdout
    found = seat.json("hours", "imports", "--url", installation.url("volunteers"))
    assert [one["state"] for one in found["imports"]] == ["done"]

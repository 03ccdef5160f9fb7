"""What is done at the portal without a token, or on the server, leaves its rows too; none says anything personal."""

from typing import Any
from uuid import UUID

import pyotp
import pytest
from werkzeug.test import Client

from services.portal.commands import accounts as commands
from services.portal.commands import clients
from services.portal.service import Portal
from tests.support.portal import OTHER_PASSWORD, PASSWORD, Person, account, change, outcome, row, signed_in, web
from tests.support.services import fetch
from tests.support.statements import noted
from xinhuo.chassis.db import database_now

LOGIN = "lin.anhe"


class Log:
    """The rows that are new since it was looked at last."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self._seq = row(portal, "SELECT seq FROM audit_head")["seq"]

    def new(self) -> list[dict[str, Any]]:
        """Return the new rows, the oldest first."""
        found = fetch(self.portal, "SELECT * FROM audit_log WHERE seq > :seq ORDER BY seq", seq=self._seq)
        self._seq += len(found)
        return found

    def told(self) -> list[tuple[str, str, str, str | None]]:
        """Return of the new rows what was done, as which role, with which outcome and for which reason."""
        return [(one["action"], one["role"], one["outcome"], one["reason"]) for one in self.new()]


def test_a_session_is_written_down_when_it_begins_and_when_it_ends_and_not_when_it_goes_on(portal: Portal) -> None:
    of = account(portal, LOGIN, "unit_operator", unit_code="XX-1")
    log, person = Log(portal), Person(web(portal))
    assert person.sign_in(LOGIN).status_code == 201
    [begun] = log.new()
    session = row(portal, "SELECT id FROM sessions")["id"]
    assert (begun["action"], begun["object_kind"], begun["object_id"]) == ("session.begun", "session", str(session))
    assert (begun["subject"], begun["role"], begun["unit"]) == (of, "unit_operator", "XX-1")
    assert person.refresh().status_code == 200
    assert log.new() == []
    for _ in range(2):
        token = {"refresh_token": person.tokens["refresh_token"]}
        assert person.client.post("/v1/sessions:end", json=token).status_code == 204
    [ended] = log.new()
    assert (ended["action"], ended["object_id"], ended["reason"]) == ("session.ended", str(session), "signed_out")
    assert (ended["subject"], ended["role"]) == (of, "unit_operator")
    assert person.client.post("/v1/sessions:end", json={"refresh_token": "xhr_none"}).status_code == 204
    assert outcome(person.refresh()) == (401, "session.ended")
    assert log.new() == []


@pytest.mark.parametrize(
    ("moved", "reason"),
    [
        ("UPDATE sessions SET used_at = used_at - interval '13 hours'", "expired"),
        ("UPDATE sessions SET generation = generation + 2", "reused"),
        ("UPDATE accounts SET state = 'disabled'", "account"),
    ],
)
def test_a_session_that_the_system_ends_is_written_down_once_with_the_reason(
    portal: Portal, moved: str, reason: str
) -> None:
    person, log = signed_in(portal, LOGIN), Log(portal)
    change(portal, moved)
    for _ in range(2):
        assert person.refresh().status_code == 401
    assert log.told() == [("session.ended", "system", "done", reason)]


def test_a_login_that_fails_is_written_down_with_the_account_where_there_is_one_and_never_with_the_login(
    portal: Portal,
) -> None:
    known, away = account(portal, LOGIN), account(portal, "away.one")
    change(portal, "UPDATE accounts SET state = 'disabled' WHERE id = :id", id=away)
    log, person = Log(portal), Person(web(portal))
    for login, password, of in (
        (LOGIN, OTHER_PASSWORD, str(known)),
        ("away.one", PASSWORD, str(away)),
        ("no.such.one", PASSWORD, "unknown"),
        ("440781198505110454", PASSWORD, "unknown"),
    ):
        assert outcome(person.sign_in(login, password)) == (401, "login.failed")
        [failed] = log.new()
        assert (failed["action"], failed["outcome"]) == ("login.failed", "refused")
        assert (failed["object_kind"], failed["object_id"]) == ("account", of)
        assert (failed["subject"], failed["role"], failed["unit"]) == (None, "system", None)
        assert login not in str(failed)


def test_a_wrong_code_is_a_failure_and_a_code_that_was_not_given_yet_is_none(portal: Portal) -> None:
    person = signed_in(portal, LOGIN)
    secret = (person.post("/v1/me/totp", {}).json or {})["secret"]
    change(portal, "UPDATE accounts SET totp_last_step = NULL")
    assert person.post("/v1/me/totp:confirm", {"code": pyotp.TOTP(secret).now()}).status_code == 204
    log = Log(portal)
    assert outcome(person.sign_in(LOGIN)) == (401, "login.code_needed")
    assert log.new() == []
    assert outcome(person.sign_in(LOGIN, code="000000")) == (401, "login.failed")
    assert log.told() == [("login.failed", "system", "refused", None)]


def test_while_a_login_is_locked_nothing_is_written(portal: Portal) -> None:
    account(portal, LOGIN)
    person, log = Person(web(portal)), Log(portal)
    for _ in range(5):
        assert outcome(person.sign_in(LOGIN, OTHER_PASSWORD)) == (401, "login.failed")
    assert len(log.new()) == 5
    change(portal, "UPDATE login_failures SET locked_until = clock_timestamp() + interval '1 hour'")
    for _ in range(20):
        assert outcome(person.sign_in(LOGIN)) == (429, "login.locked")
    assert log.new() == []


def test_an_unknown_login_costs_as_many_statements_as_a_known_one(portal: Portal) -> None:
    account(portal, LOGIN)
    person = Person(web(portal))
    assert outcome(person.sign_in("warm.up", OTHER_PASSWORD)) == (401, "login.failed")
    asked = []
    for login in (LOGIN, "no.such.one"):
        with noted(portal.runtime.db.engine) as statements:
            assert outcome(person.sign_in(login, OTHER_PASSWORD)) == (401, "login.failed")
        asked.append(statements.texts)
    assert asked[0] == asked[1]


def link_of(portal: Portal, admin: Person, login: str) -> tuple[UUID, str]:
    made: dict[str, Any] = admin.post("/v1/accounts", {"login": login, "role": "clerk"}).json  # type: ignore[assignment]
    return UUID(made["id"]), made["activation"]["secret"]


def activated(client: Client, secret: str, password: str = PASSWORD) -> int:
    return client.post("/v1/activations", json={"secret": secret, "password": password}).status_code


def test_a_first_password_activates_and_a_later_one_is_changed_both_by_whose_account_it_is(portal: Portal) -> None:
    admin, client = signed_in(portal, "admin.gao", "bureau_admin"), web(portal)
    of, secret = link_of(portal, admin, LOGIN)
    log = Log(portal)
    assert activated(client, secret, "short") == 422
    assert activated(client, "xhl_none") == 422
    assert log.new() == []
    assert activated(client, secret) == 200
    [row_of_first] = log.new()
    assert (row_of_first["action"], row_of_first["subject"], row_of_first["role"]) == ("account.activated", of, "clerk")
    assert activated(client, secret) == 422
    assert log.new() == []
    answer = admin.post(f"/v1/accounts/{of}:reset")
    assert log.told() == [("account.reset", "bureau_admin", "done", None)]
    assert activated(client, (answer.json or {})["secret"], OTHER_PASSWORD) == 200
    [later] = log.new()
    assert (later["action"], later["subject"], later["object_id"]) == ("account.password_changed", of, str(of))


def test_a_change_says_that_a_second_factor_went_off_and_one_that_changes_nothing_is_none(portal: Portal) -> None:
    admin = signed_in(portal, "admin.gao", "bureau_admin")
    of = account(portal, LOGIN)
    secret = portal.runtime.keys.encrypt(pyotp.random_base32(), "accounts.totp_secret")
    change(portal, "UPDATE accounts SET totp_secret = :secret WHERE id = :id", secret=secret, id=of)
    log, path = Log(portal), f"/v1/accounts/{of}"
    assert admin.patch(path, {"second_factor": False}).status_code == 200
    done = [("account.changed", "bureau_admin", "done", None), ("account.factor_off", "bureau_admin", "done", None)]
    assert log.told() == done
    assert admin.patch(path, {"second_factor": False}).status_code == 200
    assert admin.patch(path, {"display_name": "林安和"}).status_code == 200
    [renamed] = log.new()
    assert bytes(renamed["before_hash"]) != bytes(renamed["after_hash"])
    assert admin.patch(path, {"display_name": "林安和"}).status_code == 200
    assert outcome(admin.patch(path, {"role": "volunteer"})) == (422, "account.belonging_missing")
    assert log.new() == []


def test_what_is_done_on_the_server_is_written_down_as_the_systems(portal: Portal) -> None:
    log = Log(portal)
    for _ in range(2):
        with portal.runtime.db.transaction() as session:
            commands.first_admin(session, portal.runtime.keys, "admin", database_now(session))
    account(portal, LOGIN)
    for _ in range(2):
        with portal.runtime.db.transaction() as session:
            key = clients.installation_key(session, "service awards", "service", ["books:read"])
    assert web(portal).post("/v1/client-tokens", json={"key": key}).status_code == 201
    assert web(portal).post("/v1/client-tokens", json={"key": f"{key[:-1]}_"}).status_code == 401
    rows = log.new()
    assert {(one["subject"], one["role"]) for one in rows} == {(None, "system")}
    assert [one["action"] for one in rows] == [
        "account.created", "account.reset", "account.created", "client.created", "client_key.created",
        "client_key.revoked", "client_key.created",
    ]  # fmt: skip


def test_no_row_holds_anything_personal_or_secret(portal: Portal) -> None:
    admin, client = signed_in(portal, "admin.gao", "bureau_admin"), web(portal)
    given = {"login": LOGIN, "role": "clerk", "display_name": "林安和"}
    made: dict[str, Any] = admin.post("/v1/accounts", given).json  # type: ignore[assignment]
    secret = made["activation"]["secret"]
    assert activated(client, secret) == 200
    person = Person(client)
    for login, password in ((LOGIN, OTHER_PASSWORD), (PASSWORD, PASSWORD), (LOGIN, PASSWORD)):
        person.sign_in(login, password)
    assert person.post("/v1/me/password", {"old": PASSWORD, "new": OTHER_PASSWORD}).status_code == 204
    text = row(portal, "SELECT string_agg(l::text, E'\\n') AS text FROM audit_log AS l")["text"]
    kept = row(portal, "SELECT * FROM accounts WHERE login = :login", login=LOGIN)
    tokens = [person.tokens["access_token"], person.tokens["refresh_token"]]
    for word in (LOGIN, "admin.gao", "林安和", PASSWORD, OTHER_PASSWORD, secret, kept["password_hash"], *tokens):
        assert word not in text
        assert word.encode().hex() not in text

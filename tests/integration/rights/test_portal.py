"""The portal's doors: those that are open to everybody, those of one's own account, and programs, which have none."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from werkzeug.test import TestResponse

from services.portal import signing
from services.portal.commands import accounts as commands
from tests.support.identity import SHIPPED, token_of
from tests.support.portal import PASSWORD, change, outcome, row
from xinhuo.chassis.db import database_now
from xinhuo.chassis.identity.actor import Actor
from xinhuo.chassis.identity.tokens import Verifier

from . import accounts
from .own import OWN
from .table import OPEN, ROLES
from .world import Ask, World, actor


@pytest.fixture(scope="module")
def world(database: str) -> Iterator[World]:
    world = World(database)
    yield world
    world.close()


def _sign_in(world: World) -> Ask:
    account = accounts.leader_of(world.portal, "XX-1", "DUI-1")
    login = row(world.portal, "SELECT login FROM accounts WHERE id = :id", id=account)["login"]
    return Ask("/v1/sessions", {"login": login, "password": PASSWORD})


def _with_refresh_token(path: str) -> Callable[[World], Ask]:
    def ask(world: World) -> Ask:
        account = accounts.leader_of(world.portal, "XX-1", "DUI-1")
        return Ask(path, {"refresh_token": accounts.session_of(world.portal, account)[1]})

    return ask


def _activate(world: World) -> Ask:
    account = accounts.leader_of(world.portal, "XX-1", "DUI-1")
    with world.portal.runtime.db.transaction() as session:
        found = {"id": account, "password_hash": None}
        secret, _ = commands._make_link(session, found, None, database_now(session))
    return Ask("/v1/activations", {"secret": secret, "password": PASSWORD})


def _key(world: World) -> Ask:
    return Ask("/v1/client-tokens", {"key": accounts.key_of_role(world.portal, "service")})


#: How each of the open routes is asked so that it works, and what it answers then; there is no directory here.
ASKED: dict[tuple[str, str, str], tuple[Callable[[World], Ask], tuple[int, str | None]]] = {
    ("portal", "POST", "/v1/sessions"): (_sign_in, (201, None)),
    ("portal", "POST", "/v1/sessions:refresh"): (_with_refresh_token("/v1/sessions:refresh"), (200, None)),
    ("portal", "POST", "/v1/sessions:end"): (_with_refresh_token("/v1/sessions:end"), (204, None)),
    ("portal", "POST", "/v1/activations"): (_activate, (200, None)),
    ("portal", "POST", "/v1/client-tokens"): (_key, (201, None)),
    ("portal", "GET", "/v1/keys"): (lambda _: Ask("/v1/keys"), (200, None)),
    ("portal", "GET", "/v1/oidc/start"): (lambda _: Ask("/v1/oidc/start"), (404, "oidc.not_configured")),
    ("portal", "GET", "/v1/oidc/callback"): (
        lambda _: Ask("/v1/oidc/callback?state=x&code=y"), (404, "oidc.not_configured")
    ),
}  # fmt: skip


def test_only_the_routes_of_the_list_written_by_hand_are_public() -> None:
    assert set(SHIPPED) == OPEN == set(ASKED)


@pytest.mark.parametrize("role", [None, *ROLES])
@pytest.mark.parametrize("route", sorted(OPEN), ids=" ".join)
def test_what_is_public_works_for_everybody_alike(world: World, route: tuple[str, str, str], role: str | None) -> None:
    service, method, _ = route
    make, expected = ASKED[route]
    for who in [None] if role is None else world.actors[role]:
        assert outcome(world.ask(who, service, method, make(world))) == expected


@pytest.mark.parametrize("route", sorted(OPEN), ids=" ".join)
def test_what_is_public_looks_at_no_token_not_even_at_a_bad_one(world: World, route: tuple[str, str, str]) -> None:
    service, method, _ = route
    make, expected = ASKED[route]
    for shown in ("Bearer no-token", "Basic eDp5", f"Bearer {token_of(actor('clerk'), seconds=-3600)}"):
        ask = make(world)
        answer = world.ask(None, service, method, Ask(ask.path, ask.json, headers={"Authorization": shown}))
        assert outcome(answer) == expected, shown


@pytest.mark.parametrize("role", ["clerk", "unit_operator", "auditor", "ops"])
def test_an_api_key_of_a_role_that_people_have_sees_who_it_is_and_has_no_account(world: World, role: str) -> None:
    who = Actor(accounts.client_of_role(world.portal, role), role, unit="XX-1")
    for route, ask in OWN.items():
        if "totp:" in route[2] or "/me/keys" in route[2]:
            continue  # what must be made first needs an account; keys are a department's own
        answer = world.ask(who, "portal", route[1], ask(world, who))
        if route[2] == "/v1/me":
            assert (answer.json or {})["id"] == str(who.subject)
            assert (answer.json or {})["kind"] == "client"
        else:
            assert outcome(answer) == (404, "account.not_found"), route


def test_no_key_whatever_its_role_manages_accounts_or_clients(world: World) -> None:
    own = Verifier(signing.OwnKeys(world.portal.runtime.db))
    for role in ("clerk", "unit_operator", "ops", "service"):
        key = {"key": accounts.key_of_role(world.portal, role)}
        answer = world.ask(None, "portal", "POST", Ask("/v1/client-tokens", key)).json or {}
        program = own.actor_of(answer["access_token"])
        assert program.scopes
        assert not {"accounts:manage", "clients:manage"} & program.scopes
        for path in ("/v1/accounts", "/v1/clients"):
            assert outcome(world.ask(program, "portal", "GET", Ask(path))) == (403, "right.missing")


def test_a_token_of_before_a_change_changes_nothing_any_more(world: World) -> None:
    """Ten minutes may pass until it ends; what is managed looks at the account itself."""
    portal = world.portal
    ways: list[tuple[str, str, dict[str, Any]]] = [
        ("bureau_admin", "role = 'clerk'", {}),
        ("bureau_admin", "state = 'disabled'", {}),
        ("unit_operator", "unit_code = 'XX-2'", {"unit": "XX-1"}),
        ("unit_operator", "role = 'team_leader', team_code = 'DUI-1'", {"unit": "XX-1"}),
    ]
    for role, changed, fields in ways:
        who = accounts.seated(portal, actor(role, **fields))
        form = {"login": f"late-{uuid4().hex[:8]}", "role": "team_leader", "team_code": "DUI-1", "unit_code": "XX-1"}
        assert _made(world, who, form).status_code == 201
        change(portal, f"UPDATE accounts SET {changed} WHERE id = :id", id=who.subject)  # noqa: S608 - ours
        before = world.effects("portal")
        for method, path, body in (
            ("POST", "/v1/accounts", {**form, "login": "later-one"}),
            ("PATCH", f"/v1/accounts/{world.here.account}", {"display_name": "新名"}),
            ("POST", f"/v1/accounts/{world.here.account}:reset", None),
        ):
            answer = world.ask(who, "portal", method, Ask(path, body, headers={"If-Match": "*"}))
            assert outcome(answer) == (401, "session.ended"), (role, changed, path)
        assert world.effects("portal") == before


def test_an_operator_gives_no_role_and_no_unit_beyond_the_own(world: World) -> None:
    operator, portal = world.operators["XX-1"], world.portal
    form = {"login": "beyond-one", "role": "team_leader", "team_code": "DUI-1", "unit_code": "XX-1"}
    account = accounts.leader_of(portal, "XX-1", "DUI-1")
    before = world.effects("portal")
    for role in ("bureau_admin", "clerk", "auditor", "privacy_officer", "ops", "volunteer", "guardian"):
        more = {"volunteer_id": str(world.here.volunteer), "wards": [str(world.here.volunteer)]}
        assert outcome(_made(world, operator, {**form, **more, "role": role})) == (403, "account.role_beyond")
        changed = Ask(f"/v1/accounts/{account}", {"role": role, **more}, headers={"If-Match": "*"})
        assert outcome(world.ask(operator, "portal", "PATCH", changed)) == (403, "account.role_beyond")
    moved = Ask(f"/v1/accounts/{account}", {"unit_code": "XX-2"}, headers={"If-Match": "*"})
    assert outcome(world.ask(operator, "portal", "PATCH", moved)) == (403, "account.unit_beyond")
    for role in ("clerk", "bureau_admin", "volunteer"):
        foreign = world.actors[role][0].subject
        for method, path in (("GET", ""), ("PATCH", ""), ("POST", ":reset")):
            ask = Ask(f"/v1/accounts/{foreign}{path}", {} if method == "PATCH" else None, headers={"If-Match": "*"})
            assert outcome(world.ask(operator, "portal", method, ask)) == (404, "account.not_found")
    assert world.effects("portal") == before


def test_filters_and_cursors_of_accounts_lead_to_nothing_foreign(world: World) -> None:
    operator = world.operators["XX-1"]
    for path in ("?unit=XX-2", "?role=clerk", "?role=volunteer", "?unit=QU-1"):
        assert world.listed(operator, "portal", f"/v1/accounts{path}") == []
    shown = world.listed(operator, "portal", "/v1/accounts?limit=1")
    assert {item["unit_code"] for item in shown} == {"XX-1"}
    assert {item["role"] for item in shown} <= {"unit_operator", "team_leader"}


def test_an_operator_of_no_unit_sees_no_leader_who_is_of_none(world: World) -> None:
    accounts.seated(world.portal, actor("team_leader", team="DUI-1"))
    assert world.listed(actor("unit_operator"), "portal", "/v1/accounts") == []


def _made(world: World, who: Actor, form: dict[str, Any]) -> TestResponse:
    return world.ask(who, "portal", "POST", Ask("/v1/accounts", form))

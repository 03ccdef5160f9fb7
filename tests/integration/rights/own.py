"""How everybody asks about his own account, and by what one sees that it was his and nobody else's."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from tests.support.portal import PASSWORD, outcome
from xinhuo.chassis.identity.actor import Actor

from . import accounts
from .table import Line
from .world import Ask, World

_TOTP, _KEYS = "/v1/me/totp", "/v1/me/keys"


def _password(_world: World, _who: Actor) -> Ask:
    return Ask("/v1/me/password", {"old": PASSWORD, "new": PASSWORD})


def _begin(world: World, who: Actor) -> Ask:
    accounts.begin_factor(world.portal, who.subject)
    return Ask(_TOTP, {})


def _confirm(world: World, who: Actor) -> Ask:
    return Ask(f"{_TOTP}:confirm", {"code": accounts.begin_factor(world.portal, who.subject)})


def _remove(world: World, who: Actor) -> Ask:
    accounts.begin_factor(world.portal, who.subject, confirmed=True)
    return Ask(f"{_TOTP}:remove", {"password": PASSWORD})


def _end(world: World, who: Actor) -> Ask:
    return _ending(accounts.session_of(world.portal, who.subject)[0] if accounts.is_of(world.portal, who) else uuid4())


def _own_key(verb: str, form: dict[str, Any] | None = None) -> Callable[[World, Actor], Ask]:
    """Return what is asked about a new key of a client; of who has none, about one that there is not."""

    def ask(world: World, who: Actor) -> Ask:
        program = not accounts.is_of(world.portal, who)
        prefix = accounts.new_key_of(world.portal, who.subject) if program else "x" * 8
        return Ask(f"{_KEYS}/{prefix}:{verb}", form)

    return ask


def _ending(session: UUID) -> Ask:
    return Ask(f"/v1/me/sessions/{session}:end")


#: The request of each route for somebody about himself, all that it needs being made.
OWN: dict[tuple[str, str, str], Callable[[World, Actor], Ask]] = {
    ("portal", "GET", "/v1/me"): lambda _world, _who: Ask("/v1/me"),
    ("portal", "POST", "/v1/me/password"): _password,
    ("portal", "POST", _TOTP): _begin,
    ("portal", "POST", f"{_TOTP}:confirm"): _confirm,
    ("portal", "POST", f"{_TOTP}:remove"): _remove,
    ("portal", "GET", "/v1/me/sessions"): lambda _world, _who: Ask("/v1/me/sessions"),
    ("portal", "POST", "/v1/me/sessions/{id:uuid}:end"): _end,
    ("portal", "GET", _KEYS): lambda _world, _who: Ask(_KEYS),
    ("portal", "POST", f"{_KEYS}/{{prefix}}:rotate"): _own_key("rotate", {}),
    ("portal", "POST", f"{_KEYS}/{{prefix}}:revoke"): _own_key("revoke"),
}


def check_own(world: World, line: Line, letter: str, who: Actor) -> None:
    """A route works for the account that asks and touches no other; a program that has none is told so."""
    portal, ask = world.portal, OWN[line.route](world, who)
    stranger = world.operators[world.there.unit].subject
    foreign, _ = accounts.session_of(portal, stranger)
    if accounts.is_of(portal, who):
        accounts.session_of(portal, who.subject)
    before = accounts.of_others(portal, who.subject)
    answer = world.ask(who, "portal", line.method, ask)
    if letter == "N":
        assert outcome(answer) == (404, "account.not_found"), (who, answer.text)
    else:
        assert answer.status_code < 300, (who, answer.text)
    if letter == "M" and line.path == "/v1/me":
        assert (answer.json or {})["id"] == str(who.subject)
    if letter == "M" and line.path == "/v1/me/sessions":
        shown = {item["id"] for item in (answer.json or {})["items"]}
        assert shown == accounts.live_sessions(portal, who.subject) != set()
    if letter == "M" and "{id:uuid}" in line.path:
        answers = [world.ask(who, "portal", line.method, _ending(one)) for one in (foreign, uuid4())]
        assert [outcome(one) for one in answers] == [(404, "session.not_found")] * 2
    if letter == "M" and line.path == _KEYS:
        shown = {item["prefix"] for item in (answer.json or {})["items"]}
        assert shown == accounts.keys_of(portal, who.subject) != set()
    if letter == "M" and "{prefix}" in line.path:
        verb = line.path.rpartition(":")[2]
        _, others = accounts.key_of_client(portal)
        answers = [
            world.ask(who, "portal", "POST", Ask(f"{_KEYS}/{one}:{verb}", ask.json)) for one in (others, "x" * 8)
        ]
        assert [outcome(one) for one in answers] == [(404, "client.key_not_found")] * 2
        assert accounts.is_live(portal, others)
    assert accounts.of_others(portal, who.subject) == before, who
    assert str(foreign) in accounts.live_sessions(portal, stranger)

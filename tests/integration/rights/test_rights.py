"""Every route asked by every role, for what is the role's own and for what is foreign."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.identity import rights as roles
from xinhuo.chassis.identity.actor import Actor
from xinhuo.chassis.web.app import routes_of
from xinhuo.cli.build import service_class

from .own import OWN, check_own
from .table import OPEN, PUBLIC, ROLES, TABLE, Line
from .ways import WAYS
from .world import Ask, Place, World, actor, made_up, problem

#: What somebody may lack.
LACKED = [line for line in TABLE if "-" in line.letters.values()]


@pytest.fixture(scope="module")
def world(database: str) -> Iterator[World]:
    world = World(database)
    yield world
    world.close()


@pytest.fixture(autouse=True)
def stays(world: World) -> Iterator[None]:
    """Bring back, after each test, whom it let leave."""
    yield
    world.come_back(world.here)
    world.come_back(world.there)


def test_every_route_has_a_line_and_every_line_a_route() -> None:
    routes = [
        (name, route.mark.method, route.mark.path) for name in SERVICES for route in routes_of(service_class(name))
    ]
    lines = [*(line.route for line in TABLE), *OPEN]
    assert sorted(set(routes) - set(lines)) == []
    assert sorted(set(lines) - set(routes)) == []
    assert len(lines) == len(set(lines))
    assert set(WAYS) == {line.route for line in TABLE}
    assert set(ROLES) == set(roles.ROLES), "a role without a column"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("line", TABLE, ids=str)
def test_a_role_reaches_what_the_table_gives_it_and_nothing_else(world: World, line: Line, role: str) -> None:
    for who in world.actors[role]:
        _check(world, line, line.letters[role], who)


def _check(world: World, line: Line, letter: str, who: Actor) -> None:
    way = WAYS[line.route]
    if letter == "-":
        ask = OWN[line.route](world, who) if line.route in OWN else way.asked_by(world, world.here, who)
        with world.untouched(line.service):
            answer = world.ask(who, line.service, line.method, ask)
        found = problem(answer)
        assert (answer.status_code, found["code"], found["right"]) == (403, "right.missing", line.right), who
        assert who.role not in found["roles"]
    elif letter in {"M", "N"}:
        check_own(world, line, letter, who)
    elif way.listed:
        _check_list(world, line, letter, who)
    elif letter == "P":
        for place in (world.here, world.there):
            answer = world.ask(who, line.service, line.method, way.ask(world, place))
            assert answer.status_code == 200, (who, answer.text)
            assert way.in_public(answer), (who, answer.text)
    else:
        reached = _reached(world, letter, who)
        assert not way.of_nobody or len(reached) == 2
        for place in (world.here, world.there):
            if place in reached:
                _works(world, line, who, place)
            else:
                _is_as_nothing(world, line, who, place)


def _reached(world: World, letter: str, who: Actor) -> list[Place]:
    if letter == "A":
        return [world.here, world.there]
    return [] if letter == "U" and who.unit != world.here.unit else [world.here]


def _works(world: World, line: Line, who: Actor, place: Place) -> None:
    way = WAYS[line.route]
    answer = world.ask(who, line.service, line.method, way.asked_by(world, place, who))
    assert way.worked(answer), (who, place.unit, answer.status_code, answer.text)


def _is_as_nothing(world: World, line: Line, who: Actor, place: Place) -> None:
    """What is foreign answers to the letter as what there is not."""
    way, nowhere = WAYS[line.route], made_up()
    ask = way.asked_by(world, place, who)
    before = world.effects(line.service)
    foreign = world.ask(who, line.service, line.method, ask)
    assert world.effects(line.service) == before, who
    nothing = world.ask(who, line.service, line.method, way.asked_by(world, nowhere, who))
    assert foreign.status_code == way.refused, (who, foreign.text)
    assert not way.worked(foreign), (who, foreign.text)
    assert way.said(foreign, place) == way.said(nothing, nowhere), who


def _check_list(world: World, line: Line, letter: str, who: Actor) -> None:
    way = WAYS[line.route]
    assert way.listed
    name, attribute = way.listed
    path = way.ask(world, world.here).path
    if way.file:
        found = way.file(world.ask(who, line.service, "GET", Ask(path)))
    else:
        found = [item[name] for item in world.listed(who, line.service, f"{path}?limit=200")]
    reached = _reached(world, "A" if letter == "P" and not way.of_many else letter, who)
    for place in (world.here, world.there):
        assert (str(getattr(place, attribute)) in found) is (place in reached), who
    if letter in {"S", "C"} and not way.file:
        assert _owners(world, who, line, path) == {str(world.here.volunteer)}
    if letter == "P" and way.of_many:
        separator = "&" if "?" in path else "?"
        refused = world.ask(who, line.service, "GET", Ask(f"{path}{separator}group_by=volunteer"))
        assert (refused.status_code, problem(refused)["code"]) == (403, "statistics.of_persons")


def _owners(world: World, who: Actor, line: Line, path: str) -> set[str]:
    """Return whom a list is about; what somebody did himself is his, whomever it is about."""
    items = world.listed(who, line.service, path)
    return {item[WAYS[line.route].owner] for item in items if item.get("subject") != str(who.subject)}


def _somewhere(line: Line) -> str:
    """Return an address of a route; there is nothing at it."""
    path = line.path.replace("{id:uuid}", str(uuid4())).replace("{code}", "NO-1")
    return path.replace("{name}", "none").replace("{prefix}", "x")


@pytest.mark.parametrize("line", TABLE, ids=str)
def test_without_a_token_nothing_of_a_request_is_looked_at(world: World, line: Line) -> None:
    path = _somewhere(line)
    asks: list[Ask] = [
        Ask(path),
        Ask(f"{path}?nothing=1&limit=x"),
        Ask(path, data=b'{"half": \xff', content_type="application/json"),
        Ask(path, data=b"<xml/>", content_type="text/xml"),
        Ask(path, headers={"Idempotency-Key": "two words", "If-Match": "x"}),
    ]
    with world.untouched(line.service):
        for ask in asks:
            answer = world.ask(None, line.service, line.method, ask)
            assert (answer.status_code, problem(answer)["code"]) == (401, "token.missing")
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="xinhuo", error="token.missing"'
            late = world.ask(actor("clerk"), line.service, line.method, ask, seconds=-3600)
            assert (late.status_code, problem(late)["code"]) == (401, "token.expired")
            assert late.headers["WWW-Authenticate"] == 'Bearer realm="xinhuo", error="token.expired"'


@pytest.mark.parametrize("line", LACKED, ids=str)
def test_who_lacks_the_right_is_told_so_before_anything_of_a_request_is_looked_at(world: World, line: Line) -> None:
    path = _somewhere(line)
    who = next(actor(role) for role in ROLES if line.letters[role] == "-")
    bad: dict[str, Any] = {"data": b'{"half": \xff', "content_type": "text/xml"}
    with world.untouched(line.service):
        answer = world.ask(who, line.service, line.method, Ask(f"{path}?nothing=1", **bad))
    assert (answer.status_code, problem(answer)["right"]) == (403, line.right)


@pytest.mark.parametrize("service", SERVICES)
def test_health_and_documentation_answer_everybody(world: World, service: str) -> None:
    for path in PUBLIC:
        answer = world.ask(None, service, "GET", Ask(path))
        # A service may be not ready, but it says so to everybody.
        assert answer.status_code in ({200, 503} if path == "/readyz" else {200}), path


@pytest.mark.parametrize("line", TABLE, ids=str)
def test_of_the_rights_of_a_role_only_those_in_the_scopes_of_a_token_are_given(world: World, line: Line) -> None:
    for role in (role for role in ROLES if line.letters[role] != "-"):
        whole = world.actors[role][0]
        others = {other.right for other in TABLE} - {line.right}
        for scopes in (frozenset(others), frozenset[str]()):
            narrow = Actor(uuid4(), role, whole.unit, whole.team, whole.volunteer, whole.wards, scopes)
            with world.untouched(line.service):
                answer = world.ask(narrow, line.service, line.method, Ask(_somewhere(line)))
            assert (answer.status_code, problem(answer)["right"]) == (403, line.right)
            assert "scopes" in problem(answer)["detail_en"]
        if WAYS[line.route].listed:
            just = Actor(uuid4(), role, whole.unit, whole.team, whole.volunteer, whole.wards, frozenset({line.right}))
            _check(world, line, line.letters[role], just)

"""The audit log tells somebody what he did himself and what was done to him or his wards, and nothing else."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from xinhuo.chassis import caller
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.identity.actor import Actor
from xinhuo.chassis.web.pages import cursor_of

from .ways import objects_of_file
from .world import Ask, World

pytestmark = pytest.mark.parametrize("service", SERVICES)


@pytest.fixture(scope="module")
def world(database: str) -> Iterator[World]:
    world = World(database)
    yield world
    world.close()


@pytest.fixture(params=["volunteer", "guardian"])
def who(request: pytest.FixtureRequest, world: World) -> Actor:
    """Somebody who reads what is of himself, with an account that did nothing yet."""
    return replace(world.actors[request.param][0], subject=uuid4())


def rows(world: World, who: Actor, service: str, query: str = "") -> list[dict[str, Any]]:
    """Return the rows of a list, which the file has too."""
    found = world.listed(who, service, f"/v1/audit{query}")
    if "after=" not in query and "limit=" not in query:
        file = objects_of_file(world.ask(who, service, "GET", Ask(f"/v1/audit.csv{query}")))
        assert file == [row["object_id"] for row in reversed(found)]
    return found


def test_ones_own_deeds_are_in_the_log_and_nobody_elses(world: World, service: str, who: Actor) -> None:
    about, other = uuid4(), replace(who, subject=uuid4(), volunteer=uuid4(), wards=())
    before = len(rows(world, who, service))
    world.note(service, who, about)
    world.note(service, other, about)
    found = rows(world, who, service)
    assert len(found) == before + 1
    assert (found[0]["object_id"], found[0]["subject"]) == (str(about), str(who.subject))
    assert {UUID(row["object_id"]) for row in found[1:]} <= {who.volunteer, *who.wards}


def test_what_was_done_to_oneself_or_a_ward_is_in_the_log(world: World, service: str, who: Actor) -> None:
    mine = [who.volunteer, *who.wards]
    clerk = world.actors["clerk"][0]
    for one in mine:
        if one is not None:
            world.note(service, clerk, one)
    assert {UUID(row["object_id"]) for row in rows(world, who, service)} == {one for one in mine if one is not None}


def test_no_filter_and_no_cursor_leads_to_foreign_rows(world: World, service: str, who: Actor) -> None:
    clerk, foreign = world.actors["clerk"][0], world.there.volunteer
    world.note(service, clerk, foreign)
    assert rows(world, who, service, f"?object={foreign}") == []
    assert rows(world, who, service, f"?object={foreign}&subject={clerk.subject}&outcome=done") == []
    for query in (f"?subject={clerk.subject}", "?action=volunteer.noted", f"?after={cursor_of(10**9)}", "?limit=1"):
        assert str(foreign) not in {row["object_id"] for row in rows(world, who, service, query)}
    auditor = world.actors["auditor"][0]
    assert {row["object_id"] for row in rows(world, auditor, service, f"?object={foreign}")} == {str(foreign)}


def test_from_where_somebody_else_asked_is_not_told(world: World, service: str, who: Actor) -> None:
    clerk = world.actors["clerk"][0]
    with caller.at("203.0.113.7"):
        world.note(service, who, uuid4())
        world.note(service, clerk, next(one for one in (who.volunteer, *who.wards) if one is not None))
    found = rows(world, who, service, "?limit=2")[:2]
    assert [row["address"] for row in found] == [None, "203.0.113.7"]
    assert [row["subject"] for row in found] == [str(clerk.subject), str(who.subject)]
    auditor = world.actors["auditor"][0]
    told = [row["address"] for row in rows(world, auditor, service, "?limit=2")[:2]]
    assert told == ["203.0.113.7"] * 2


def test_a_log_cannot_be_written_to_over_http(world: World, service: str, who: Actor) -> None:
    for person in (who, world.actors["auditor"][0], world.actors["bureau_admin"][0]):
        for path in ("/v1/audit", "/v1/audit.csv"):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                assert world.ask(person, service, method, Ask(path, {})).status_code == 405

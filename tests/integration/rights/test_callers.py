"""Two callers at once, or with one key: each gets what is his own."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.support.services import fetch
from tests.support.threads import at_once
from xinhuo.chassis.identity.actor import Actor

from .world import Ask, Place, World


@pytest.fixture(scope="module")
def world(database: str) -> Iterator[World]:
    world = World(database)
    yield world
    world.close()


@pytest.fixture
def pair(world: World) -> tuple[Actor, Actor]:
    """The operators of the two schools."""
    return world.operators[world.here.unit], world.operators[world.there.unit]


def recorders(world: World, activity: Any) -> dict[str, Any]:
    """Return who recorded the entries at an activity, by the entry."""
    found = fetch(
        world.services["volunteers"],
        "SELECT id, recorded_by FROM ledger_entries WHERE activity_id = :activity AND recorded_by IS NOT NULL",
        activity=activity,
    )
    return {str(row["id"]): row["recorded_by"] for row in found}


def test_of_forty_who_log_hours_together_each_gets_the_own_outcome_and_is_named_in_the_ledger(
    world: World, pair: tuple[Actor, Actor]
) -> None:
    places = (world.here, world.there)
    asked: list[tuple[Actor, Place, dict[str, Any]]] = []
    for number in range(40):
        who, place = pair[number % 2], places[number // 2 % 2]
        # Each for a person of the place, own or foreign alike; all of them in one or two batches.
        asked.append((who, place, world.hours(place, place.people[number % len(place.people)])))
    answers = at_once(
        [
            lambda who=who, body=body: world.ask(who, "volunteers", "POST", Ask("/v1/hours", body))  # type: ignore[misc]
            for who, _, body in asked
        ]
    )
    known = {place.unit: recorders(world, place.activity) for place in places}
    entered = 0
    for (who, place, body), answer in zip(asked, answers, strict=True):
        found = answer.json or {}
        if who.unit == place.unit:
            assert answer.status_code == 201, answer.text
            assert (found["activity_id"], found["started_at"][:16]) == (body["activity_id"], body["started_at"][:16])
            assert (found["recorded_by"], known[place.unit][found["id"]]) == (str(who.subject), who.subject)
            entered += 1
        else:
            assert (answer.status_code, found["code"]) == (422, "activity.unknown")
    assert entered == 20


def test_in_one_batch_what_is_foreign_is_refused_beside_what_is_ones_own(
    world: World, pair: tuple[Actor, Actor]
) -> None:
    items = [world.hours(place) for place in (world.here, world.there, world.here)]
    answer = world.ask(pair[0], "volunteers", "POST", Ask("/v1/hours:batch", {"items": items}))
    results = (answer.json or {})["items"]
    assert [one["status"] for one in results] == ["entered", "refused", "entered"]
    assert results[1]["problem"]["code"] == "activity.unknown"
    assert {one["entry"]["recorded_by"] for one in (results[0], results[2])} == {str(pair[0].subject)}


def test_a_reversal_names_who_made_it(world: World, pair: tuple[Actor, Actor]) -> None:
    entry = world.entry_at(world.here)
    answer = world.ask(pair[0], "volunteers", "POST", Ask(f"/v1/hours/{entry}:reverse", {"reason_code": "wrong_time"}))
    assert (answer.json or {})["recorded_by"] == str(pair[0].subject)


@pytest.mark.parametrize("path", ["/v1/hours", "/v1/hours:batch"])
def test_one_key_of_two_callers_is_two_keys(world: World, pair: tuple[Actor, Actor], path: str) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    answers = []
    for who, place in zip(pair, (world.here, world.there), strict=True):
        body = world.hours(place)
        ask = Ask(path, body if path == "/v1/hours" else {"items": [body]}, headers=key)
        first, again = (world.ask(who, "volunteers", "POST", ask) for _ in range(2))
        assert (first.status_code < 300, again.headers["Idempotency-Replayed"]) == (True, "true")
        assert "Idempotency-Replayed" not in first.headers
        assert again.text == first.text
        answers.append(first.text)
    assert answers[0] != answers[1]


def test_the_very_request_of_another_with_the_same_key_is_not_answered_with_what_the_other_got(
    world: World, pair: tuple[Actor, Actor]
) -> None:
    ask = Ask("/v1/hours", world.hours(world.here), headers={"Idempotency-Key": uuid4().hex})
    assert world.ask(pair[0], "volunteers", "POST", ask).status_code == 201
    other = world.ask(pair[1], "volunteers", "POST", ask)
    assert (other.status_code, (other.json or {})["code"]) == (422, "activity.unknown")
    assert "Idempotency-Replayed" not in other.headers


def test_a_key_opens_nothing_to_whom_the_right_was_taken_from(world: World, pair: tuple[Actor, Actor]) -> None:
    ask = Ask("/v1/hours", world.hours(world.here), headers={"Idempotency-Key": uuid4().hex})
    assert world.ask(pair[0], "volunteers", "POST", ask).status_code == 201
    now_volunteer = Actor(pair[0].subject, "volunteer", volunteer=world.here.volunteer)
    with world.untouched("volunteers"):
        assert world.ask(now_volunteer, "volunteers", "POST", ask).status_code == 403
    late = world.ask(pair[0], "volunteers", "POST", ask, seconds=-int(timedelta(hours=1).total_seconds()))
    assert late.status_code == 401

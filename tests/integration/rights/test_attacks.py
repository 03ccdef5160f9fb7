"""Ways round the reach of a right, each of which must lead nowhere: what is foreign is not there."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from services.volunteers import reach
from services.volunteers.commands.hours import reverse_entries
from services.volunteers.domain import EntryNotFound
from services.volunteers.models import Reversed
from tests.support.services import deliver, delivery_of, fetch
from xinhuo.chassis.db import database_now
from xinhuo.chassis.identity.actor import Access, Actor, Reach, grant
from xinhuo.chassis.identity.reached import reaches_person
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.web.pages import cursor_of
from xinhuo.contracts.notices import UnitChanged
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed

from .table import TABLE, Line
from .ways import WAYS
from .world import Ask, Place, World, actor, made_up, problem, said


@pytest.fixture(scope="module")
def world(database: str) -> Iterator[World]:
    world = World(database)
    yield world
    world.close()


@pytest.fixture
def operator(world: World) -> Actor:
    return world.operators[world.here.unit]


@pytest.fixture
def leader(world: World) -> Actor:
    return world.actors["team_leader"][0]


def codes(world: World, who: Actor, path: str, field: str = "code") -> list[str]:
    return [item[field] for item in world.listed(who, "volunteers", path)]


def post(world: World, who: Actor, path: str, form: Any = None) -> tuple[int, dict[str, Any]]:
    answer = world.ask(who, "volunteers", "POST", Ask(path, form))
    return answer.status_code, answer.json or {}


# --- Lists --------------------------------------------------------------------------------------------------


def test_filters_that_name_foreign_things_find_nothing(world: World, operator: Actor, leader: Actor) -> None:
    there = world.there
    person = there.people[0]
    for who in (operator, leader):
        for path in (
            f"/v1/teams?unit={there.unit}",
            f"/v1/activities?unit={there.unit}",
            f"/v1/activities?team={there.team}",
            f"/v1/activities?number={there.activity_number}",
            f"/v1/volunteers?unit={there.unit}",
            f"/v1/volunteers?team={there.team}",
            f"/v1/volunteers?volunteer_no={person.volunteer_no}",
            f"/v1/hours?unit={there.unit}",
            f"/v1/hours?team={there.team}",
            f"/v1/hours?volunteer={person.id}",
            f"/v1/hours?activity={there.activity}",
            f"/v1/hours?import={there.hours_import}",
            f"/v1/statistics?unit={there.unit}",
            f"/v1/statistics?team={there.team}&group_by=volunteer",
        ):
            assert world.listed(who, "volunteers", path) == [], path
        sums = world.ask(who, "volunteers", "GET", Ask(f"/v1/statistics?unit={there.unit}")).json or {}
        assert sums["totals"] == {"minutes": 0, "entries": 0}
    duties = f"/v1/notices/{world.here.notice}/obligations?unit={there.unit}"
    assert world.listed(operator, "notices", "/v1/units?parent=QU-2") == []
    assert world.listed(operator, "notices", duties) == []


def test_cursors_made_of_foreign_ids_lead_to_nothing_foreign(world: World, operator: Actor) -> None:
    there, first = world.there, UUID(int=0)
    foreign = {str(one) for one in (there.unit, there.team, there.activity, there.entry, there.hours_import)}
    foreign |= {str(person.id) for person in there.people} | {str(there.notice)}
    last = UUID("ffffffff-ffff-7fff-bfff-ffffffffffff")
    for service, path, keys in (
        ("volunteers", "/v1/volunteers", [(there.volunteer,), (first,)]),
        ("volunteers", "/v1/activities", [(there.activity,), (first,)]),
        ("volunteers", "/v1/hours", [(there.entry,), (last,)]),
        ("volunteers", "/v1/imports", [(there.hours_import,), (last,)]),
        ("volunteers", "/v1/teams", [(there.team,), ("A",)]),
        ("volunteers", "/v1/statistics", [(there.unit,), ("A",)]),
        ("notices", "/v1/units", [(there.unit,), ("A",)]),
        ("notices", "/v1/notices", [("2021-03-01", there.notice), ("2099-01-01", last)]),
    ):
        for key in keys:
            found = world.listed(operator, service, f"{path}?after={cursor_of(*key)}")
            shown = {str(item.get(name)) for item in found for name in ("id", "code", "unit_code", "team_code")}
            assert not shown & foreign, path


def test_drafts_are_seen_by_those_who_write_notices_and_by_no_others(world: World) -> None:
    draft = str(world.draft_to(world.here.unit))
    for role in ("unit_operator", "team_leader", "volunteer", "guardian"):
        for who in world.actors[role]:
            assert world.ask(who, "notices", "GET", Ask(f"/v1/notices/{draft}")).status_code == 404
            assert draft not in [item["id"] for item in world.listed(who, "notices", "/v1/notices?limit=200")]
            assert world.listed(who, "notices", "/v1/notices?state=draft") == []
            # The right to a notice is not one to a unit's duties.
            seen = world.ask(who, "notices", "GET", Ask(f"/v1/notices/{world.here.notice}")).json or {}
            assert seen["obligations"][0]["units_by_state"] == ({"open": 1} if role == "unit_operator" else {})
    for role in ("privacy_officer", "service"):
        seen = world.ask(world.actors[role][0], "notices", "GET", Ask(f"/v1/notices/{world.here.notice}")).json or {}
        assert seen["obligations"][0]["units_by_state"] == {}


def test_a_notice_to_the_district_is_not_its_schools_and_of_one_to_several_each_sees_its_own_duties(
    world: World, operator: Actor
) -> None:
    above, both = world.issued_to("QU-1"), world.issued_to(world.here.unit, world.there.unit)
    district = world.actors["unit_operator"][1]
    assert world.ask(operator, "notices", "GET", Ask(f"/v1/notices/{above}")).status_code == 404
    assert world.ask(district, "notices", "GET", Ask(f"/v1/notices/{above}")).status_code == 200
    for who in (operator, district):
        duties = world.listed(who, "notices", f"/v1/notices/{both}/obligations")
        assert [duty["unit_code"] for duty in duties] == [world.here.unit]
        seen = world.ask(who, "notices", "GET", Ask(f"/v1/notices/{both}")).json or {}
        assert seen["obligations"][0]["units_by_state"] == {"open": 1}
    assert world.ask(operator, "notices", "GET", Ask("/v1/units/QU-1")).status_code == 404


# --- People, teams, activities ------------------------------------------------------------------------------


def test_nobody_is_registered_in_a_foreign_place(world: World, operator: Actor, leader: Actor) -> None:
    here, there, nowhere = world.here, world.there, made_up()
    world.make("volunteers", "/v1/teams", {"code": "DUI-1B", "name": "同校另一队", "unit_code": here.unit})
    before = fetch(world.services["volunteers"], "SELECT count(*) FROM volunteers")
    for who, mixes in (
        (operator, [(here.unit, there.team), (there.unit, here.team), ("QU-1", here.team)]),
        (leader, [(here.unit, there.team), (there.unit, here.team), ("QU-1", here.team), (here.unit, "DUI-1B")]),
    ):
        for unit, team in mixes:
            own = {here.unit, here.team}
            place = replace(nowhere, unit=unit, team=team)
            nothing = replace(nowhere, **{name: getattr(place, name) for name in ("unit", "team")
                                          if getattr(place, name) in own})  # fmt: skip
            answers = [
                said(world.ask(who, "volunteers", "POST", Ask("/v1/volunteers", world.person_at(one))), one)
                for one in (place, nothing)
            ]
            assert answers[0] == answers[1], (who.role, unit, team)
            assert answers[0][0] == 422
    assert fetch(world.services["volunteers"], "SELECT count(*) FROM volunteers") == before


def test_a_foreign_volunteer_does_not_become_readable_by_joining_or_by_serving(
    world: World, operator: Actor, leader: Actor
) -> None:
    stranger = world.there.people[1]
    for who in (operator, leader):
        path = f"/v1/teams/{world.here.team}/members"
        foreign, nothing = (
            world.ask(who, "volunteers", "POST", Ask(path, {"volunteer_id": str(one)}))
            for one in (stranger.id, uuid4())
        )
        assert (foreign.status_code, problem(foreign)["code"]) == (422, "volunteer.unknown")
        assert said(foreign, world.here) == said(nothing, world.here)
        assert post(world, who, "/v1/hours", world.hours(world.here, stranger))[0] == 201
        assert world.ask(who, "volunteers", "GET", Ask(f"/v1/volunteers/{stranger.id}")).status_code == 404
        assert str(stranger.id) not in codes(world, who, "/v1/volunteers?limit=200", "id")
    assert world.ask(leader, "volunteers", "POST", Ask(f"/v1/volunteers/{stranger.id}:verify")).status_code == 403


def test_an_activity_of_ones_own_team_cannot_be_put_under_a_foreign_unit(
    world: World, operator: Actor, leader: Actor
) -> None:
    form = WAYS["volunteers", "POST", "/v1/activities"].ask(world, world.here).json
    for who in (operator, leader):
        for unit in (world.there.unit, "QU-1", "NO-SUCH"):
            status, found = post(world, who, "/v1/activities", {**form, "unit_code": unit})
            assert (status, found["code"]) == (422, "unit.unknown")


def test_a_refusal_of_what_is_taken_does_not_name_the_foreign_thing_that_has_it(
    world: World, operator: Actor, leader: Actor
) -> None:
    there = world.there
    person, form = there.people[0], WAYS["volunteers", "POST", "/v1/activities"].ask(world, world.here).json
    for who in (operator, leader):
        again = world.person_at(world.here, id_number=person.number)
        status, found = post(world, who, "/v1/volunteers", again)
        assert (status, found["code"]) == (409, "volunteer.exists")
        assert "other" not in found
        assert str(person.id) not in str(found)
        status, found = post(world, who, "/v1/activities", {**form, "number": there.activity_number})
        assert (status, found["code"]) == (409, "activity.number_taken")
        assert "other" not in found
        own = world.person_at(world.here, id_number=world.here.people[0].number)
        assert post(world, who, "/v1/volunteers", own)[1]["other"] == str(world.here.volunteer)
        number = world.here.activity_number
        assert post(world, who, "/v1/activities", {**form, "number": number})[1]["other"] == str(world.here.activity)


# --- Hours --------------------------------------------------------------------------------------------------


def test_an_overlap_says_nothing_of_an_entry_that_is_foreign(world: World, operator: Actor, leader: Actor) -> None:
    person = world.here.people[1]
    asked = world.hours(world.there, person)
    foreign = world.make("volunteers", "/v1/hours", asked)["id"]
    same = {**asked, "activity_id": str(world.here.activity)}
    for who in (operator, leader):
        status, found = post(world, who, "/v1/hours", same)
        assert (status, found["code"]) == (409, "hours.overlap")
        assert "other" not in found
        assert foreign not in str(found)
        assert asked["started_at"][:10] not in str(found)
        # Of one's own it is said, and of those of the same request.
        own = world.hours(world.here, person)
        longer = {**own, "minutes": 7}
        answer = post(world, who, "/v1/hours:batch", {"items": [own, longer, same]})[1]["items"]
        assert answer[1]["problem"]["other"] == answer[0]["entry"]["id"]
        assert "other" not in answer[2]["problem"]
    assert post(world, world.operators[world.there.unit], "/v1/hours", {**asked, "minutes": 7})[1]["other"] == foreign


def test_of_a_batch_of_reversals_the_foreign_ones_are_not_there(world: World, operator: Actor) -> None:
    own, foreign = world.entry_at(world.here), world.entry_at(world.there)
    with world.services["volunteers"].runtime.db.transaction() as session:
        grant(session, Access(operator, "hours:reverse", Reach.OWN))
        outcomes = reverse_entries(session, [foreign, own, uuid4(), own], "wrong_time", database_now(session))
    assert [type(one) for one in outcomes[:3]] == [EntryNotFound, Reversed, EntryNotFound]
    assert fetch(
        world.services["volunteers"], "SELECT reverses FROM ledger_entries WHERE reverses IN (:a, :b)", a=own, b=foreign
    ) == [{"reverses": own}]


def test_statistics_of_five_persons_of_whom_one_was_taken_back_are_not_public(world: World) -> None:
    volunteer = world.actors["volunteer"][0]
    of = {"team_code": "DUI-5", "unit_code": "XX-5", "activity_id": uuid4(), "category": "care"}
    logged = [
        HoursLogged(entry_id=new_id(), volunteer_id=person, served_on=date(2026, 5, 1), minutes=60, **of)
        for person in [*(one.id for one in world.here.people), world.there.volunteer]
    ]
    follow = world.services["volunteers"]
    deliver(follow, "keep_statistics", [delivery_of(one) for one in logged])
    path = "/v1/statistics?unit=XX-5"
    assert codes(world, volunteer, path, "entries") == [6]
    for taken, entries in ((logged[0], [5]), (logged[1], [])):
        back = HoursReversed(
            reversal_id=new_id(), entry_id=taken.entry_id, volunteer_id=taken.volunteer_id, minutes=60,
            served_on=taken.served_on, reason_code="wrong_time", **of,
        )  # fmt: skip
        deliver(follow, "keep_statistics", [delivery_of(back)])
        assert codes(world, volunteer, path, "entries") == entries
    sums = world.ask(volunteer, "volunteers", "GET", Ask(path)).json or {}
    assert sums["totals"] == {"minutes": 0, "entries": 0}


def test_one_who_earned_a_star_five_times_is_not_five_persons(world: World) -> None:
    insert = (
        "INSERT INTO stars (award_id, volunteer_id, star, occurrence, earned_at, rule, threshold_minutes,"
        " minutes_total, withdrawn_at, withdrawn_by) SELECT gen_random_uuid(), :volunteer, 5, n, now(), 'r', 1, 1,"
        " CASE WHEN n < 5 THEN now() END, CASE WHEN n < 5 THEN gen_random_uuid() END FROM generate_series(1, 5) AS n"
    )
    with world.services["awards"].runtime.db.transaction() as session:
        session.execute(sa.text(insert), {"volunteer": world.here.volunteer})
    counts = {
        role: (world.ask(world.actors[role][0], "awards", "GET", Ask("/v1/stars/counts")).json or {})["stars"][-1]
        for role in ("clerk", "volunteer")
    }
    assert (counts["clerk"]["earned"], counts["clerk"]["held"]) == (5, 1)
    assert (counts["volunteer"]["earned"], counts["volunteer"]["held"]) == (None, None)


# --- Those who are nowhere ----------------------------------------------------------------------------------

NOWHERE = [
    actor("unit_operator"), actor("unit_operator", unit="NO-SUCH"), actor("team_leader"),
    actor("team_leader", unit="XX-1", team="NO-SUCH"), actor("volunteer", unit="XX-1", team="DUI-1"),
    actor("guardian", unit="XX-1"),
]  # fmt: skip


@pytest.mark.parametrize("who", NOWHERE, ids=lambda who: f"{who.role}-{who.unit}-{who.team}")
def test_who_is_of_no_unit_team_or_person_reaches_nothing(world: World, who: Actor) -> None:
    # A leader who is of a unit sees it, whatever the team.
    wanted = set("TSC") if who.unit == "XX-1" else set("OTSCU")
    lines = [line for line in TABLE if line.letters[who.role] in wanted]
    assert lines
    for line in lines:
        for place in (world.here, world.there):
            _reaches_nothing(world, line, who, place)


def _reaches_nothing(world: World, line: Line, who: Actor, place: Place) -> None:
    way, nowhere = WAYS[line.route], made_up()
    ask = way.ask(world, place)
    if way.file:
        assert way.file(world.ask(who, line.service, "GET", ask)) == [], line
        return
    if way.listed:
        # Imports that were made with such a token are its own.
        assert world.listed(who, line.service, ask.path) == [] or line.path == "/v1/imports", line
        return
    found = world.ask(who, line.service, line.method, ask)
    nothing = world.ask(who, line.service, line.method, way.ask(world, nowhere))
    assert not way.worked(found), (line, found.text)
    assert way.said(found, place) == way.said(nothing, nowhere), line


def test_no_team_and_no_person_is_not_whatever_has_none(world: World) -> None:
    with world.services["volunteers"].runtime.db.transaction() as session:
        for role in ("team_leader", "volunteer", "guardian"):
            for wide in (Reach.TEAM, Reach.SELF, Reach.CHILD, Reach.PUBLIC):
                access = Access(actor(role), "hours:import", wide)
                grant(session, access)
                assert not reach.reaches_import(session, world.here.hours_import), wide
                assert not reach.reaches_unit(session, world.here.unit), wide
                unknown = sa.select(sa.true()).where(*reaches_person(access, sa.cast(sa.null(), sa.Uuid)))
                assert session.scalar(unknown) is None, wide


# --- Units that move ----------------------------------------------------------------------------------------


def test_units_in_a_circle_reach_each_other_and_nothing_else(world: World) -> None:
    for code in ("YU-1", "YU-2"):
        world.add_unit(code)
    world.hear_of_units()
    for code in ("YU-1", "YU-2"):
        world.make("volunteers", "/v1/teams", {"code": f"DUI-{code}", "name": "测试队", "unit_code": code})
    # Two events that cross: each was right when it was written.
    for code, parent in (("YU-1", "YU-2"), ("YU-2", "YU-1")):
        event = UnitChanged(unit_code=code, kind="middle_school", parent_code=parent, revision=99)
        deliver(world.services["volunteers"], "follow_units", [delivery_of(event)])
    for code in ("YU-1", "YU-2"):
        who = actor("unit_operator", unit=code)
        assert codes(world, who, "/v1/teams") == ["DUI-YU-1", "DUI-YU-2"]
        form = WAYS["volunteers", "POST", "/v1/activities"].ask(world, replace(made_up(), team="DUI-YU-2")).json
        status, made = post(world, who, "/v1/activities", form)
        assert status == 201
        body = world.hours(replace(world.here, activity=UUID(made["id"])))
        body |= {"started_at": "2026-01-01T00:00", "ended_at": f"2026-01-01T00:0{1 if code == 'YU-1' else 2}"}
        status, found = post(world, who, "/v1/hours", {**body, "volunteer_id": str(world.here.people[3].id)})
        assert status in {201, 409}, found
        assert post(world, who, "/v1/hours", world.hours(world.there))[1]["code"] == "activity.unknown"


def test_a_unit_that_moved_is_reached_by_those_above_it_now_also_by_what_was_asked_before(world: World) -> None:
    here, there = actor("unit_operator", unit="QU-1"), actor("unit_operator", unit="QU-2")
    world.add_unit("XX-3", "QU-1")
    world.hear_of_units()
    place = world.place("XX-3", "DUI-3", 1)
    row = world.row(place, place.people[0])
    import_id = world.check(here, row)["id"]
    assert "DUI-3" in codes(world, here, "/v1/teams")
    confirmed = Ask(f"/v1/imports/{import_id}:confirm", {"mode": "valid_rows"})
    assert world.ask(here, "volunteers", "POST", confirmed).status_code == 202
    world.move_unit("XX-3", "QU-2")
    world.work()
    shown = world.ask(here, "volunteers", "GET", Ask(f"/v1/imports/{import_id}")).json or {}
    assert (shown["entered"], shown["counts"]) == (0, {"activity.unknown": 1})
    for who, sees in ((here, False), (there, True)):
        assert ("DUI-3" in codes(world, who, "/v1/teams")) is sees
        for path in (
            f"/v1/volunteers/{place.volunteer}",
            f"/v1/hours/{place.entry}",
            f"/v1/activities/{place.activity}",
        ):
            assert world.ask(who, "volunteers", "GET", Ask(path)).status_code == (200 if sees else 404), path
        assert post(world, who, "/v1/hours", world.hours(place, place.people[0]))[0] == (201 if sees else 422)
        assert world.ask(who, "notices", "GET", Ask("/v1/units/XX-3")).status_code == (200 if sees else 404)
    assert post(world, here, f"/v1/hours/{place.entry}:reverse", {"reason_code": "wrong_time"})[0] == 404


# --- Doors --------------------------------------------------------------------------------------------------


def test_no_other_spelling_of_an_address_or_method_opens_a_door(world: World) -> None:
    for path in (
        "/v1/volunteers/", "//v1/volunteers", "/V1/VOLUNTEERS", "/v1/volunteers;x", "/docs/../v1/volunteers",
        "/docs%2f..%2fv1/volunteers", "/v1//volunteers", "/v1/volunteers%00", "/healthz/../v1/teams",
    ):  # fmt: skip
        for method in ("GET", "HEAD", "POST", "OPTIONS", "get", "TRACE"):
            headers = {"X-HTTP-Method-Override": "GET", "X-Original-URL": "/healthz", "X-Forwarded-User": "admin"}
            answer = world.ask(None, "volunteers", method, Ask(path, headers=headers))
            assert answer.status_code in {401, 404, 405} or (method == "OPTIONS" and not answer.text), (method, path)

"""Ways round the reach of a right by workbooks of hours: what is foreign is marked as what there is not."""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import openpyxl
import pytest
import sqlalchemy as sa

from tests.support.services import fetch
from xinhuo.chassis.identity.actor import Actor

from .world import Ask, Person, World, actor, made_up, problem


@pytest.fixture(scope="module")
def world(database: str) -> Iterator[World]:
    world = World(database)
    yield world
    world.close()


@pytest.fixture
def operator(world: World) -> Actor:
    return world.operators[world.here.unit]


def post(world: World, who: Actor, path: str, form: Any = None) -> int:
    return world.ask(who, "volunteers", "POST", Ask(path, form)).status_code


def test_rows_that_name_foreign_activities_are_marked_as_those_that_name_none(world: World, operator: Actor) -> None:
    """Whatever else is wrong with the row: were it marked otherwise, the activity would show."""
    pending = world.make("volunteers", "/v1/volunteers", asked := world.person_at(world.here))
    people = [
        world.here.people[0], Person(UUID(pending["id"]), asked["id_number"], pending["volunteer_no"]),
        Person(uuid4(), made_up().people[0].number, ""), world.there.people[0],
    ]  # fmt: skip
    texts = []
    for place in (world.there, made_up()):
        rows = [world.row(place, person) for person in people]
        rows.append(replace(world.row(place), name="测试员乙"))
        own = world.row(world.here)
        shown = world.check(operator, own, *rows)
        assert (shown["valid"], shown["counts"]["activity.unknown"]) == (1, 5)
        assert world.confirm(operator, shown["id"]).status_code == 202
        done = world.ask(operator, "volunteers", "GET", Ask(f"/v1/imports/{shown['id']}")).json or {}
        assert (done["entered"], done["refused"]) == (1, 5)
        result = world.ask(operator, "volunteers", "GET", Ask(f"/v1/imports/{shown['id']}/result.xlsx"))
        book = openpyxl.load_workbook(BytesIO(result.get_data()))
        marks = [[(cell.value if cell.column > 8 else None, cell.comment and cell.comment.text) for cell in row]
                 for row in book.worksheets[0].iter_rows()]  # fmt: skip
        texts.append((shown["counts"], shown["errors"], done["errors"], marks))
    assert texts[0] == texts[1]


def test_a_workbook_tells_nothing_of_foreign_people_that_it_did_not_say(world: World, operator: Actor) -> None:
    stranger, nobody, own = world.there.people[0], made_up().people[0], world.here.people[0]
    row = world.row(world.here)

    def found(**changes: Any) -> list[tuple[str, str]]:
        shown = world.check(operator, replace(row, **changes))
        return [(one["cell"], one["code"]) for one in shown["errors"]]

    # A name is not to be found out by trying, nor whose number it is.
    for one in (stranger, nobody):
        assert found(name="测试员乙", id_number=one.number) == [("B2", "volunteer.unknown")]
    no_such = found(name="测试员乙", id_number="", volunteer="V00000000000")
    assert found(name="测试员乙", id_number="", volunteer=stranger.volunteer_no) == no_such
    assert found(id_number=own.number, volunteer=stranger.volunteer_no) == [("C2", "volunteer.unknown")]
    assert found(name="测试员乙", id_number=own.number) == [("A2", "import.name_mismatch")]


def test_a_file_that_a_foreign_unit_imported_is_refused_without_naming_its_import(
    world: World, operator: Actor
) -> None:
    there = world.operators[world.there.unit]
    ask = world.workbook(world.row(world.there, world.there.people[0]), world.row(world.here))
    first = (world.ask(there, "volunteers", "POST", ask).json or {})["id"]
    assert world.confirm(there, first).status_code == 202
    foreign = world.ask(operator, "volunteers", "POST", ask)
    assert (foreign.status_code, problem(foreign)["code"]) == (409, "import.seen_before")
    assert not {"other", "link", "confirmed_at"} & problem(foreign).keys()
    assert first not in foreign.text
    for who in (there, world.actors["clerk"][0]):
        assert problem(world.ask(who, "volunteers", "POST", ask))["other"] == first


def test_what_a_worker_enters_and_takes_back_is_recorded_as_done_by_those_who_asked(
    world: World, operator: Actor
) -> None:
    district = world.actors["unit_operator"][1]
    import_id = world.check(operator, world.row(world.here))["id"]
    assert world.confirm(district, import_id).status_code == 202
    assert post(world, district, f"/v1/imports/{import_id}:undo") == 202
    world.work()
    entries = "SELECT kind, recorded_by FROM ledger_entries WHERE import_id = :id ORDER BY id"
    found = fetch(world.services["volunteers"], entries, id=import_id)
    assert [(row["kind"], row["recorded_by"]) for row in found] == [
        ("entry", operator.subject), ("reversal", district.subject),
    ]  # fmt: skip


def test_a_foreign_import_is_neither_undone_nor_confirmed(world: World, operator: Actor) -> None:
    done, checked = world.import_at(world.there, done=True), world.import_at(world.there)
    for who in (operator, world.actors["unit_operator"][1]):
        assert post(world, who, f"/v1/imports/{done}:undo") == 404
        assert post(world, who, f"/v1/imports/{checked}:confirm", {"mode": "all"}) == 404
    world.work()
    states = "SELECT state FROM imports WHERE id IN (:done, :checked) ORDER BY id"
    found = fetch(world.services["volunteers"], states, done=done, checked=checked)
    assert [row["state"] for row in found] == ["done", "checked"]
    # One's own is not undone with the help of the office's either.
    office = world.check(world.actors["clerk"][0], world.row(world.here))["id"]
    assert world.ask(operator, "volunteers", "GET", Ask(f"/v1/imports/{office}")).status_code == 404


def test_an_import_of_an_operator_without_a_unit_is_not_entered_with_the_reach_of_the_office(
    world: World, operator: Actor
) -> None:
    nowhere = world.ask(actor("unit_operator"), "volunteers", "POST", world.workbook(world.row(world.here)))
    assert (nowhere.status_code, problem(nowhere)["code"]) == (404, "import.not_found")
    import_id = world.check(operator, world.row(world.here))["id"]
    with world.services["volunteers"].runtime.db.transaction() as session:
        session.execute(sa.text("UPDATE imports SET unit_code = NULL WHERE id = :id"), {"id": import_id})
    clerk = world.actors["clerk"][0]
    assert world.confirm(clerk, import_id).status_code == 202
    shown = world.ask(clerk, "volunteers", "GET", Ask(f"/v1/imports/{import_id}")).json or {}
    assert (shown["state"], shown["entered"], shown["counts"]) == ("done", 0, {"activity.unknown": 1})

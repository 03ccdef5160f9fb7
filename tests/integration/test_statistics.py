"""Statistics follow the ledger's events, on PostgreSQL."""

import random
from collections.abc import Iterator
from datetime import date
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from openpyxl import load_workbook
from werkzeug.test import Client

from services.volunteers.commands.hours import log_hours, reverse_entries
from services.volunteers.models import Entered
from services.volunteers.service import Volunteers
from tests.support.hours import NOW, World
from tests.support.services import client_of, deliver, delivery_of, fetch, make_service, recorded
from tests.support.threads import at_once
from xinhuo.chassis.ladder import Delivery
from xinhuo.chassis.web.spreadsheets import harmless
from xinhuo.contracts import codec
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed


@pytest.fixture(scope="module")
def service(database: str) -> Iterator[Volunteers]:
    service = make_service(Volunteers, database)
    yield service
    service.runtime.db.close()


@pytest.fixture
def client(service: Volunteers) -> Client:
    return client_of(service)


@pytest.fixture
def world(service: Volunteers) -> World:
    return World(service)


def deliveries(service: Volunteers, world: World) -> list[Delivery]:
    """Return the events of the unit's ledger as they come from the broker."""
    return [
        Delivery(codec.encode(envelope), envelope)
        for envelope in recorded(service)
        if getattr(envelope.data, "unit_code", None) == world.unit_code
    ]


def fill(service: Volunteers, world: World, count: int = 6) -> list[UUID]:
    """Log two hours on the fifth of January to April for some people, and take every third entry back."""
    people = world.add_volunteers(count)
    items = [
        world.served(one, f"2026-{month:02d}-05 09:00", f"2026-{month:02d}-05 11:00")
        for one in people
        for month in range(1, 5)
    ]
    with service.runtime.db.transaction() as session:
        outcomes = log_hours(session, items, now=NOW)
    entries = [outcome.entry.id for outcome in outcomes if isinstance(outcome, Entered)]
    with service.runtime.db.transaction() as session:
        reverse_entries(session, entries[::3], "wrong_time", NOW)
    return people


def cells(service: Volunteers, world: World) -> list[dict[str, Any]]:
    return fetch(
        service,
        "SELECT month, team_code, category, minutes, entries FROM statistics_cells WHERE unit_code = :unit"
        " ORDER BY 1, 2, 3",
        unit=world.unit_code,
    )


def people_of(service: Volunteers, world: World) -> list[dict[str, Any]]:
    return fetch(
        service,
        "SELECT volunteer_id, month, minutes, entries FROM volunteer_months WHERE unit_code = :unit ORDER BY 1, 2",
        unit=world.unit_code,
    )


def assert_equal_to_ledger(service: Volunteers, world: World) -> None:
    counted = "sum(minutes) AS minutes, sum(CASE kind WHEN 'entry' THEN 1 ELSE -1 END) AS entries"
    truth = "FROM ledger_entries WHERE unit_code = :unit GROUP BY"
    assert cells(service, world) == fetch(
        service,
        f"SELECT served_month AS month, team_code, category, {counted} {truth} 1, 2, 3 ORDER BY 1, 2, 3",
        unit=world.unit_code,
    )
    assert people_of(service, world) == fetch(
        service,
        f"SELECT volunteer_id, served_month AS month, {counted} {truth} 1, 2 ORDER BY 1, 2",
        unit=world.unit_code,
    )


def test_events_delivered_twice_and_out_of_order_leave_the_statistics_equal_to_the_ledger(
    service: Volunteers, world: World
) -> None:
    fill(service, world)
    events = deliveries(service, world)
    assert {type(event.envelope.data) for event in events} == {HoursLogged, HoursReversed}
    # The reversals first, then everything, then everything again in no order, in batches of seven.
    deliver(service, "keep_statistics", [e for e in events if isinstance(e.envelope.data, HoursReversed)])
    deliver(service, "keep_statistics", events)
    mixed = events * 2
    random.Random(3).shuffle(mixed)
    for start in range(0, len(mixed), 7):
        deliver(service, "keep_statistics", mixed[start : start + 7])
    assert_equal_to_ledger(service, world)
    assert sum(cell["minutes"] for cell in cells(service, world)) == 120 * 16


def test_workers_side_by_side_count_each_event_once(service: Volunteers, world: World) -> None:
    fill(service, world, 10)
    events = deliveries(service, world)

    def work(seed: int) -> None:
        mixed = events.copy()
        random.Random(seed).shuffle(mixed)
        for start in range(0, len(mixed), 5):
            deliver(service, "keep_statistics", mixed[start : start + 5])

    at_once([lambda seed=seed: work(seed) for seed in range(3)])
    assert_equal_to_ledger(service, world)
    assert fetch(service, "SELECT handler FROM parked_events") == []


def statistics(client: Client, query: str) -> dict[str, Any]:
    answer = client.get(f"/v1/statistics?{query}")
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert isinstance(answer.json, dict)
    return answer.json


def test_statistics_are_grouped_filtered_and_summed(service: Volunteers, client: Client, world: World) -> None:
    people = fill(service, world)
    deliver(service, "keep_statistics", deliveries(service, world))
    own = f"unit={world.unit_code}"
    totals = {"minutes": 120 * 16, "entries": 16}
    by_unit = statistics(client, own)
    assert by_unit == {
        "items": [{"unit_code": world.unit_code, **totals}],
        "after": None,
        "totals": totals,
    }
    assert statistics(client, f"group_by=team&{own}")["items"] == [{"team_code": world.team_code, **totals}]
    assert statistics(client, f"group_by=category&{own}")["items"] == [{"category": "community", **totals}]
    months = statistics(client, f"group_by=month&{own}&from=2026-02&to=2026-03")
    assert [item["month"] for item in months["items"]] == ["2026-02", "2026-03"]
    assert months["totals"] == {"minutes": 120 * 8, "entries": 8}
    by_person = statistics(client, f"group_by=volunteer&team={world.team_code}&category=community")
    assert {item["volunteer_id"] for item in by_person["items"]} == {str(one) for one in people}
    assert sum(item["minutes"] for item in by_person["items"]) == by_person["totals"]["minutes"] == 120 * 16
    for item in by_person["items"]:
        person = client.get(f"/v1/volunteers/{item['volunteer_id']}").json
        assert person is not None
        assert (item["minutes"], item["entries"]) == (person["minutes_total"], person["entries"])
        assert item["volunteer_no"] == person["volunteer_no"]
    assert statistics(client, f"{own}&category=nothing")["totals"] == {"minutes": 0, "entries": 0}


def test_pages_of_statistics_hold_every_group_once(service: Volunteers, client: Client, world: World) -> None:
    fill(service, world)
    deliver(service, "keep_statistics", deliveries(service, world))
    for group in ("volunteer", "month"):
        query = f"group_by={group}&unit={world.unit_code}"
        everything = statistics(client, query)["items"]
        found: list[Any] = []
        after = ""
        while True:
            page = statistics(client, f"{query}&limit=1{after}")
            found += page["items"]
            if page["after"] is None:
                break
            after = f"&after={page['after']}"
        assert found == everything
        assert len(found) > 3


@pytest.mark.parametrize(
    "query",
    ["group_by=person", "from=2026-13", "from=2026-03-01", "from=2026-04&to=2026-03", "limit=201", "after=x", "unt=1"],
)
def test_a_query_that_makes_no_sense_is_refused(client: Client, query: str) -> None:
    answer = client.get(f"/v1/statistics?{query}")
    assert answer.status_code == 400, answer.get_data(as_text=True)


def test_what_was_reversed_to_nothing_is_no_row(service: Volunteers, client: Client, world: World) -> None:
    [one] = world.add_volunteers(1)
    with service.runtime.db.transaction() as session:
        outcomes = log_hours(session, [world.served(one, "2026-01-05 09:00", "2026-01-05 10:00")], now=NOW)
    ids = [outcome.entry.id for outcome in outcomes if isinstance(outcome, Entered)]
    with service.runtime.db.transaction() as session:
        reverse_entries(session, ids, "wrong_time", NOW)
    deliver(service, "keep_statistics", deliveries(service, world))
    assert statistics(client, f"unit={world.unit_code}")["items"] == []


def test_the_workbook_holds_the_rows_a_sum_and_what_was_asked(
    service: Volunteers, client: Client, world: World
) -> None:
    fill(service, world)
    deliver(service, "keep_statistics", deliveries(service, world))
    answer = client.get(f"/v1/statistics.xlsx?group_by=month&unit={world.unit_code}&from=2026-02")
    assert answer.status_code == 200
    assert "filename*=UTF-8''" in answer.headers["Content-Disposition"]
    book = load_workbook(BytesIO(answer.get_data()))
    rows = list(book["统计"].values)
    assert rows[0] == ("月份", "服务时长（分钟）", "服务时长（小时）", "记录数")
    assert [row[0] for row in rows[1:]] == ["2026-02", "2026-03", "2026-04", "合计"]
    shown = statistics(client, f"group_by=month&unit={world.unit_code}&from=2026-02")
    assert [row[1] for row in rows[1:-1]] == [item["minutes"] for item in shown["items"]]
    assert rows[-1][1:] == (
        shown["totals"]["minutes"],
        shown["totals"]["minutes"] / 60,
        shown["totals"]["entries"],
    )
    about = dict(book["说明"].values)
    assert (about["单位"], about["起始月份"], about["截止月份"]) == (world.unit_code, "2026-02", "不限")
    assert "北京时间" in about["导出时间"]


def test_the_workbook_of_volunteers_names_them_by_number_only(
    service: Volunteers, client: Client, world: World
) -> None:
    fill(service, world, 2)
    deliver(service, "keep_statistics", deliveries(service, world))
    answer = client.get(f"/v1/statistics.xlsx?group_by=volunteer&unit={world.unit_code}")
    rows = list(load_workbook(BytesIO(answer.get_data()))["统计"].values)
    assert all(str(row[0]).startswith("V") for row in rows[1:-1])
    assert len(rows) == 4


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_cell_that_would_be_a_formula_becomes_text(text: str) -> None:
    assert harmless(text) == f"'{text}"
    assert harmless("甲队") == "甲队"


def test_a_team_code_that_looks_like_a_formula_is_harmless_in_the_workbook(
    service: Volunteers, client: Client, world: World
) -> None:
    logged = HoursLogged(
        entry_id=uuid4(),
        volunteer_id=uuid4(),
        team_code="=1+1",
        unit_code=world.unit_code,
        activity_id=uuid4(),
        category="community",
        served_on=date(2026, 1, 5),
        minutes=60,
    )
    deliver(service, "keep_statistics", [delivery_of(logged)])
    answer = client.get(f"/v1/statistics.xlsx?group_by=team&unit={world.unit_code}")
    sheet = load_workbook(BytesIO(answer.get_data()))["统计"]
    assert (sheet["A2"].value, sheet["A2"].data_type) == ("'=1+1", "s")


@pytest.mark.parametrize("minutes", [0, -1, 1441, 10**15])
def test_an_event_with_minutes_that_no_entry_can_hold_is_a_dead_letter_and_counts_nowhere(
    service: Volunteers, world: World, minutes: int
) -> None:
    fill(service, world)
    good = deliveries(service, world)
    forged = delivery_of(
        HoursLogged(
            entry_id=uuid4(), volunteer_id=uuid4(), activity_id=uuid4(),
            team_code=world.team_code, unit_code=world.unit_code,
            category="culture", served_on=date(2026, 3, 5), minutes=minutes,
        )
    )  # fmt: skip
    deliver(service, "keep_statistics", good)
    before = cells(service, world)
    deliver(service, "keep_statistics", [forged])
    assert cells(service, world) == before
    reasons = fetch(service, "SELECT reason FROM dead_letters WHERE event_id = :id", id=forged.envelope.id)
    assert [row["reason"] for row in reasons] == ["event.impossible_minutes"]

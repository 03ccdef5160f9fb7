"""Entries are taken back by reversals, on PostgreSQL."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from werkzeug.test import Client

from services.volunteers import domain
from services.volunteers.commands.hours import log_hours, reverse_entries
from services.volunteers.models import Entered, Reversed
from services.volunteers.service import Volunteers
from tests.support.hours import NOW, World, log
from tests.support.services import client_of, make_service, recorded
from xinhuo.contracts.volunteers import HoursReversed

SPAN = ("2026-03-05 09:00", "2026-03-05 11:00")


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


@pytest.fixture
def volunteer(world: World) -> UUID:
    return world.add_volunteers(1)[0]


def reverse(client: Client, entry_id: object, status: int = 201, reason: str = "wrong_time") -> dict[str, object]:
    answer = client.post(f"/v1/hours/{entry_id}:reverse", json={"reason_code": reason})
    assert answer.status_code == status, answer.get_data(as_text=True)
    assert isinstance(answer.json, dict)
    return answer.json


def test_a_reversal_is_a_new_row_with_negative_minutes_and_an_event(
    service: Volunteers, client: Client, world: World, volunteer: UUID
) -> None:
    entry = log(client, world.body(volunteer, *SPAN, 100))
    reversal = reverse(client, entry["id"])
    assert (reversal["kind"], reversal["reverses"], reversal["minutes"]) == ("reversal", entry["id"], -100)
    assert (reversal["reason_code"], reversal["served_on"]) == ("wrong_time", entry["served_on"])
    event = recorded(service, HoursReversed.topic)[-1].data
    assert isinstance(event, HoursReversed)
    assert (str(event.reversal_id), str(event.entry_id)) == (reversal["id"], entry["id"])
    assert (event.minutes, event.volunteer_id, event.team_code) == (100, volunteer, world.team_code)
    shown = client.get(f"/v1/hours/{entry['id']}").json
    assert shown == {**entry, "reversed_by": reversal["id"]}
    person = client.get(f"/v1/volunteers/{volunteer}").json
    assert person is not None
    assert (person["minutes_total"], person["entries"]) == (0, 0)


def test_reversed_time_can_be_logged_again_and_counts_once(client: Client, world: World, volunteer: UUID) -> None:
    body = world.body(volunteer, *SPAN)
    first = log(client, body)
    reverse(client, first["id"])
    second = log(client, body)
    assert second["id"] != first["id"]
    assert log(client, body, 200) == second
    reverse(client, second["id"])
    log(client, world.body(volunteer, "2026-03-05 10:00", "2026-03-05 12:00"))
    person = client.get(f"/v1/volunteers/{volunteer}").json
    assert person is not None
    assert (person["minutes_total"], person["entries"]) == (120, 1)


def test_a_reversal_gives_the_day_its_minutes_back(client: Client, world: World, volunteer: UUID) -> None:
    thirds = [("2026-03-05 00:00", "2026-03-05 08:00"), ("2026-03-05 08:00", "2026-03-05 16:00"),
              ("2026-03-05 16:00", "2026-03-06 00:00")]  # fmt: skip
    for span in thirds:
        reverse(client, log(client, world.body(volunteer, *span))["id"])
    again = log(client, world.body(volunteer, "2026-03-05 00:00", "2026-03-06 00:00"))
    assert again["minutes"] == 1440


def test_a_second_reversal_is_refused_and_names_the_first(client: Client, world: World, volunteer: UUID) -> None:
    entry = log(client, world.body(volunteer, *SPAN))
    first = reverse(client, entry["id"])
    refusal = reverse(client, entry["id"], 409)
    assert (refusal["code"], refusal["other"]) == ("entry.already_reversed", first["id"])
    assert reverse(client, first["id"], 409)["code"] == "entry.is_reversal"
    assert reverse(client, uuid4(), 404)["code"] == "entry.not_found"


@pytest.mark.parametrize("reason", ["", "because", "import_undone", None])
def test_a_reason_outside_the_list_is_refused(client: Client, world: World, volunteer: UUID, reason: str) -> None:
    entry = log(client, world.body(volunteer, *SPAN))
    assert reverse(client, entry["id"], 422, reason)["code"] == "input.invalid"
    shown = client.get(f"/v1/hours/{entry['id']}").json
    assert shown is not None
    assert shown["reversed_by"] is None


def test_many_entries_are_reversed_at_once_each_for_itself(service: Volunteers, world: World) -> None:
    people = world.add_volunteers(3)
    with service.runtime.db.transaction() as session:
        outcomes = log_hours(session, [world.served(one, *SPAN) for one in people], now=NOW)
    ids = [outcome.entry.id for outcome in outcomes if isinstance(outcome, Entered)]
    with service.runtime.db.transaction() as session:
        reverse_entries(session, ids[:1], "duplicate", NOW)
    with service.runtime.db.transaction() as session:
        results = reverse_entries(session, [*ids, ids[1], uuid4()], "import_undone", NOW)
    assert [type(result) for result in results] == [
        domain.EntryAlreadyReversed,
        Reversed,
        Reversed,
        domain.EntryAlreadyReversed,
        domain.EntryNotFound,
    ]
    with service.runtime.db.transaction() as session:
        assert reverse_entries(session, [], "import_undone", NOW) == []

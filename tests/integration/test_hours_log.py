"""Service time enters the ledger, on PostgreSQL."""

import time
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, ProgrammingError
from werkzeug.test import Client

from services.volunteers import domain
from services.volunteers.commands.hours import log_hours
from services.volunteers.models import Entered, Existing, Served, metadata
from services.volunteers.schemas.hours import LogHours, _load
from services.volunteers.service import Volunteers
from tests.support.hours import NOW, World, local, log
from tests.support.services import client_of, fetch, make_service, recorded
from tests.support.statements import noted
from xinhuo.chassis.errors import InvalidInput
from xinhuo.chassis.web.schema import Schema
from xinhuo.contracts.volunteers import HoursLogged


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


def test_an_entry_has_the_minutes_of_its_span_and_goes_out_as_event(
    service: Volunteers, client: Client, world: World, volunteer: UUID
) -> None:
    entry = log(client, world.body(volunteer, "2026-03-05 09:00", "2026-03-05 11:30"))
    assert (entry["kind"], entry["minutes"], entry["served_on"]) == ("entry", 150, "2026-03-05")
    assert (entry["team_code"], entry["unit_code"], entry["category"]) == (
        world.team_code,
        world.unit_code,
        "community",
    )
    assert entry["started_at"] == "2026-03-05T01:00:00Z"
    [logged] = [
        envelope.data
        for envelope in recorded(service, HoursLogged.topic)
        if isinstance(envelope.data, HoursLogged) and envelope.data.volunteer_id == volunteer
    ]
    assert (str(logged.entry_id), logged.minutes, str(logged.served_on)) == (entry["id"], 150, "2026-03-05")
    shown = client.get(f"/v1/hours/{entry['id']}").json
    assert shown == entry


def test_a_time_without_zone_is_office_time(client: Client, world: World, volunteer: UUID) -> None:
    body = world.body(volunteer, "2026-03-05 09:00", "2026-03-05 10:00")
    body |= {"started_at": "2026-03-05T09:00:00", "ended_at": "2026-03-05T10:00:00"}
    assert log(client, body)["started_at"] == "2026-03-05T01:00:00Z"


def test_spans_that_touch_do_not_overlap(client: Client, world: World, volunteer: UUID) -> None:
    log(client, world.body(volunteer, "2026-03-05 09:00", "2026-03-05 10:00"))
    log(client, world.body(volunteer, "2026-03-05 10:00", "2026-03-05 11:00"))
    log(client, world.body(volunteer, "2026-03-05 08:00", "2026-03-05 09:00"))
    total = client.get(f"/v1/volunteers/{volunteer}").json
    assert total is not None
    assert (total["minutes_total"], total["entries"]) == (180, 3)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-03-05 09:59", "2026-03-05 10:30"),
        ("2026-03-05 08:30", "2026-03-05 09:01"),
        ("2026-03-05 09:15", "2026-03-05 09:45"),
        ("2026-03-05 08:00", "2026-03-05 12:00"),
        ("2026-03-04 08:00", "2026-03-05 09:30"),
    ],
)
def test_an_overlap_is_refused_and_names_the_other_entry(
    client: Client, world: World, volunteer: UUID, start: str, end: str
) -> None:
    first = log(client, world.body(volunteer, "2026-03-05 09:00", "2026-03-05 10:00"))
    refusal = log(client, world.body(volunteer, start, end, 20), 409)
    assert (refusal["code"], refusal["other"]) == ("hours.overlap", first["id"])
    other_activity = world.add_activity()
    refusal = log(client, world.body(volunteer, start, end, 20, activity_id=str(other_activity)), 409)
    assert refusal["other"] == first["id"]


def test_the_same_service_again_returns_the_first_entry(
    service: Volunteers, client: Client, world: World, volunteer: UUID
) -> None:
    body = world.body(volunteer, "2026-03-05 09:00", "2026-03-05 10:00")
    before = len(recorded(service, HoursLogged.topic))
    first = log(client, body)
    assert log(client, body, 200) == first
    assert log(client, {**body, "minutes": 60}, 200) == first
    assert len(recorded(service, HoursLogged.topic)) == before + 1


def test_the_same_start_with_another_end_or_minutes_is_a_conflict(
    client: Client, world: World, volunteer: UUID
) -> None:
    first = log(client, world.body(volunteer, "2026-03-05 09:00", "2026-03-05 10:00"))
    for other in (
        world.body(volunteer, "2026-03-05 09:00", "2026-03-05 10:30"),
        world.body(volunteer, "2026-03-05 09:00", "2026-03-05 10:00", 59),
    ):
        refusal = log(client, other, 409)
        assert (refusal["code"], refusal["other"]) == ("hours.overlap", first["id"])


def test_a_day_holds_1440_minutes_and_a_span_across_midnight_counts_for_the_day_of_its_start(
    client: Client, world: World, volunteer: UUID
) -> None:
    log(client, world.body(volunteer, "2026-03-05 22:00", "2026-03-06 02:00"))
    log(client, world.body(volunteer, "2026-03-05 00:00", "2026-03-05 20:00"))
    # 240 + 1200 minutes: the day is full, though 120 of them were served after midnight.
    refusal = log(client, world.body(volunteer, "2026-03-05 21:00", "2026-03-05 21:01"), 422)
    assert (refusal["code"], refusal["left"], refusal["recorded"]) == ("hours.day_limit", 0, 1440)
    # The next day still has all of its time.
    log(client, world.body(volunteer, "2026-03-06 02:00", "2026-03-06 23:00"))
    shown = client.get(f"/v1/hours?volunteer={volunteer}").json
    assert shown is not None
    assert sum(item["minutes"] for item in shown["items"]) == 240 + 1200 + 1260


def test_more_than_480_minutes_a_day_need_attention(client: Client, world: World, volunteer: UUID) -> None:
    first = log(client, world.body(volunteer, "2026-03-05 08:00", "2026-03-05 16:00"))
    second = log(client, world.body(volunteer, "2026-03-05 16:00", "2026-03-05 16:01"))
    assert (first["needs_attention"], second["needs_attention"]) == (False, True)


def test_what_breaks_a_rule_is_refused_by_its_code(client: Client, world: World, volunteer: UUID) -> None:
    [pending] = world.add_volunteers(1, verified=False)
    short = world.add_activity(starts_at=local("2026-03-05 09:00"), ends_at=local("2026-03-05 11:00"))
    good = ("2026-03-05 09:00", "2026-03-05 10:00")
    for body, status, code in [
        (world.body(uuid4(), *good), 422, "volunteer.unknown"),
        (world.body(pending, *good), 409, "volunteer.not_verified"),
        (world.body(volunteer, *good, activity_id=str(uuid4())), 422, "activity.unknown"),
        (world.body(volunteer, *good, 0), 422, "hours.invalid"),
        (world.body(volunteer, *good, -5), 422, "hours.invalid"),
        (world.body(volunteer, *good, 61), 422, "hours.invalid"),
        (world.body(volunteer, "2026-03-05 00:00", "2026-03-08 00:00", 1441), 422, "hours.invalid"),
        (world.body(volunteer, "2026-03-05 00:00", "2026-03-08 00:00"), 422, "hours.invalid"),
        (world.body(volunteer, "2026-03-05 10:00", "2026-03-05 10:00"), 422, "hours.ends_before_start"),
        (world.body(volunteer, "2026-03-05 10:00", "2026-03-05 09:00"), 422, "hours.ends_before_start"),
        (world.body(volunteer, "2026-12-30 09:00", "2026-12-30 10:00"), 422, "hours.in_future"),
        (
            world.body(volunteer, "2026-03-05 08:59", "2026-03-05 10:00", activity_id=str(short)),
            422,
            "hours.outside_activity",
        ),
        (
            world.body(volunteer, "2026-03-05 10:30", "2026-03-05 11:01", activity_id=str(short)),
            422,
            "hours.outside_activity",
        ),
        (world.body(volunteer, *good, 12.5), 422, "input.invalid"),  # type: ignore[arg-type]
        (world.body(volunteer, *good) | {"minutes": "两小时"}, 422, "input.invalid"),
        (world.body(volunteer, *good) | {"minuts": 60}, 422, "input.invalid"),
        ({"volunteer_id": str(volunteer)}, 422, "input.invalid"),
        (world.body(volunteer, *good) | {"started_at": "2026-02-30T09:00:00"}, 422, "input.invalid"),
    ]:
        # Entries that lie in the future for the test's clock are checked with the database's.
        assert log(client, body, status)["code"] == code, body
    assert client.get(f"/v1/hours?volunteer={volunteer}").json == {"items": [], "after": None}


def test_items_of_one_batch_stand_alone_and_the_first_of_two_rivals_wins(
    client: Client, world: World, volunteer: UUID
) -> None:
    other = world.add_volunteers(1)[0]
    items = [
        world.body(volunteer, "2026-03-05 09:00", "2026-03-05 10:00"),
        world.body(volunteer, "2026-03-05 09:30", "2026-03-05 10:30"),
        world.body(volunteer, "2026-03-05 09:00", "2026-03-05 10:00"),
        world.body(volunteer, "2026-03-05 09:00", "2026-03-05 10:00", 30),
        world.body(other, "2026-03-05 09:00", "2026-03-05 10:00"),
        {"volunteer_id": "nobody", "minuts": 5},
        world.body(volunteer, "2026-03-05 10:30", "2026-03-05 11:00"),
        world.body(uuid4(), "2026-03-05 10:30", "2026-03-05 11:00"),
    ]
    answer = client.post("/v1/hours:batch", json={"items": items})
    assert answer.status_code == 200
    assert answer.json is not None
    results = answer.json["items"]
    assert [item["status"] for item in results] == [
        "entered", "refused", "existing", "refused", "entered", "refused", "entered", "refused",
    ]  # fmt: skip
    assert (answer.json["entered"], answer.json["existing"], answer.json["refused"]) == (3, 1, 4)
    first = results[0]["entry"]["id"]
    assert results[2]["entry"] == results[0]["entry"]
    assert {results[1]["problem"]["other"], results[3]["problem"]["other"]} == {first}
    assert [error["pointer"] for error in results[5]["problem"]["errors"]] == [
        "/volunteer_id", "/minuts", "/activity_id", "/started_at", "/ended_at",
    ] or len(results[5]["problem"]["errors"]) == 5  # fmt: skip
    assert results[7]["problem"]["code"] == "volunteer.unknown"
    again = client.post("/v1/hours:batch", json={"items": items}).json
    assert again is not None
    assert (again["entered"], again["existing"], again["refused"]) == (0, 4, 4)


@pytest.mark.parametrize("items", [[], None, "x", [1] * 1001])
def test_a_batch_of_none_or_too_many_is_refused(client: Client, items: object) -> None:
    answer = client.post("/v1/hours:batch", json={"items": items})
    assert answer.status_code == 422
    assert answer.json is not None
    assert answer.json["errors"][0]["pointer"] == "/items"


def test_a_day_filled_within_one_batch_takes_no_more(world: World, volunteer: UUID) -> None:
    items = [
        world.served(volunteer, "2026-03-05 00:00", "2026-03-05 12:00"),
        world.served(volunteer, "2026-03-05 12:00", "2026-03-05 23:30"),
        world.served(volunteer, "2026-03-05 23:30", "2026-03-06 00:30"),
        world.served(volunteer, "2026-03-05 23:30", "2026-03-06 00:00"),
    ]
    with world.service.runtime.db.transaction() as session:
        outcomes = log_hours(session, items, now=NOW)
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Entered, Entered, domain.DayLimitExceeded, Entered]


def test_a_batch_goes_to_the_database_twice_with_the_same_few_statements_whatever_its_size(world: World) -> None:
    people = world.add_volunteers(30)
    counts = []
    for size in (1, 30):
        with noted(world.service.runtime.db.engine) as statements, world.service.runtime.db.transaction() as session:
            day = f"2026-04-{size:02d}"
            items = [world.served(one, f"{day} 09:00", f"{day} 10:00") for one in people[:size]]
            assert all(isinstance(outcome, Entered) for outcome in log_hours(session, items, now=NOW))
        counts.append((len(statements.texts), statements.ways))
    # People, activities, spans and the time; then, with the commit, entries and outbox.
    assert counts == [(6, 2), (6, 2)]


def test_a_batch_of_a_thousand_is_entered_whole(world: World) -> None:
    people = world.add_volunteers(50)
    items = [
        world.served(one, f"2026-04-{day:02d} 09:00", f"2026-04-{day:02d} 11:00")
        for day in range(1, 21)
        for one in people
    ]
    started = time.perf_counter()
    with world.service.runtime.db.transaction() as session:
        outcomes = log_hours(session, items, now=NOW)
    seconds = time.perf_counter() - started
    print(f"log_hours: 1000 rows in {seconds * 1000:.0f} ms ({1000 / seconds:.0f} rows/s)")
    assert sum(isinstance(outcome, Entered) for outcome in outcomes) == 1000
    with world.service.runtime.db.transaction() as session:
        again = log_hours(session, items, now=NOW)
    assert sum(isinstance(outcome, Existing) for outcome in again) == 1000


def test_the_ledger_refuses_update_delete_and_truncate(client: Client, world: World, volunteer: UUID) -> None:
    log(client, world.body(volunteer, "2026-03-05 09:00", "2026-03-05 10:00"))
    for statement in (
        "UPDATE ledger_entries SET minutes = 1",
        "DELETE FROM ledger_entries",
        "TRUNCATE ledger_entries CASCADE",
    ):
        with (
            pytest.raises(IntegrityError, match="append-only"),
            world.service.runtime.db.as_owner() as connection,
        ):
            connection.execute(sa.text(statement))
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            world.service.runtime.db.transaction() as session,
        ):
            session.execute(sa.text(statement))


def test_the_database_itself_refuses_overlapping_spans(world: World, volunteer: UUID) -> None:
    insert = sa.text(
        "INSERT INTO service_spans SELECT gen_random_uuid(), :volunteer, :activity,"
        " tstzrange(now(), now() + interval '1 hour'), current_date, 60 FROM generate_series(1, 2)"
    )
    with (
        pytest.raises(IntegrityError, match="service_spans_no_overlap"),
        world.service.runtime.db.transaction() as session,
    ):
        session.execute(insert, {"volunteer": volunteer, "activity": world.activity_id})


def test_lists_of_entries_are_filtered_and_paged(client: Client, world: World, volunteer: UUID) -> None:
    for day in ("2026-02-28", "2026-03-01", "2026-03-31", "2026-04-01"):
        log(client, world.body(volunteer, f"{day} 00:00", f"{day} 01:00"))

    def days(query: str) -> list[str]:
        found = client.get(f"/v1/hours?{query}").json
        assert found is not None
        return [item["served_on"] for item in found["items"]]

    for own in (
        f"volunteer={volunteer}",
        f"team={world.team_code}",
        f"unit={world.unit_code}",
        f"activity={world.activity_id}",
    ):
        assert days(own) == ["2026-04-01", "2026-03-31", "2026-03-01", "2026-02-28"]
    assert days(f"unit={world.unit_code}&month=2026-03") == ["2026-03-31", "2026-03-01"]
    assert days(f"import={uuid4()}") == []
    first = client.get(f"/v1/hours?unit={world.unit_code}&limit=3").json
    assert first is not None
    assert days(f"unit={world.unit_code}&limit=3&after={first['after']}") == ["2026-02-28"]
    assert client.get("/v1/hours?volunteers=1").status_code == 400


def test_an_unknown_entry_is_not_found(client: Client) -> None:
    answer = client.get(f"/v1/hours/{uuid4()}")
    assert answer.json is not None
    assert (answer.status_code, answer.json["code"]) == (404, "entry.not_found")


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"minutes": 60},
        {"minutes": None},
        {"minutes": True},
        {"minutes": 60.0},
        {"minutes": "60"},
        {"minutes": 2**40},
        {"minutes": -(2**40)},
        {"minutes": 0},
        {"minutes": 1441},
        {"started_at": "2026-03-05T09:00:00"},
        {"started_at": "2026-03-05 09:00:00"},
        {"started_at": "2026-03-05"},
        {"started_at": "2026-03-05T09:00"},
        {"started_at": "2026-03-05t09:00:00z"},
        {"started_at": "2026-03-05T24:00:00Z"},
        {"started_at": "0001-01-01T00:00:00+08:00"},
        {"started_at": 5},
        {"volunteer_id": "33402C9234CC46BB9B7F866C0F9F660A"},
        {"volunteer_id": "{33402c92-34cc-46bb-9b7f-866c0f9f660a}"},
        {"volunteer_id": None},
        {"note": "x"},
    ],
)
def test_the_fast_way_in_takes_and_refuses_what_the_schema_does(changed: dict[str, object]) -> None:
    item = {
        "volunteer_id": str(uuid4()),
        "activity_id": str(uuid4()),
        "started_at": "2026-03-05T09:00:00+08:00",
        "ended_at": "2026-03-05T10:00:00+08:00",
    } | changed
    found = _load(item)
    errors = LogHours().validate(item)
    if isinstance(found, InvalidInput):
        assert errors
    else:
        assert not errors
        expected: Served = Schema.load(LogHours(), item)  # marshmallow's own way, past the fast one
        assert found.volunteer_id == expected.volunteer_id
        assert domain.as_instant(found.started_at) == expected.started_at
        assert domain.as_instant(found.ended_at) == expected.ended_at + timedelta(0)
        assert found.minutes == expected.minutes


def test_the_tables_in_the_code_are_those_of_the_migrations(service: Volunteers) -> None:
    found = fetch(
        service,
        "SELECT table_name, array_agg(column_name::text ORDER BY column_name) AS columns"
        " FROM information_schema.columns WHERE table_schema = 'volunteers' GROUP BY table_name",
    )
    columns = {row["table_name"]: row["columns"] for row in found}
    for table in metadata.tables.values():
        assert sorted(table.c.keys()) == columns[table.name]

"""A replay into an emptied service: everything counted again, nobody told again."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.awards.service import Awards
from services.notify.service import Notify
from services.volunteers.service import Volunteers
from tests.support.services import (
    client_of,
    deliver,
    delivery_of,
    empty_tables,
    fetch,
    make_service,
    recorded,
    retry_parked,
)
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.ladder import Delivery
from xinhuo.contracts import codec
from xinhuo.contracts.awards import StarEarned
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed

HOUR = 60
THRESHOLDS = (6000, 18000, 36000, 60000, 90000)


@pytest.fixture(scope="module")
def services(database: str) -> Iterator[tuple[Awards, Notify]]:
    made = make_service(Awards, database), make_service(Notify, database)
    yield made
    for service in made:
        service.runtime.db.close()


@pytest.fixture
def awards(services: tuple[Awards, Notify]) -> Awards:
    empty(services[0])
    return services[0]


@pytest.fixture
def notify(services: tuple[Awards, Notify]) -> Notify:
    empty(services[1])
    return services[1]


@pytest.fixture
def volunteers(database: str) -> Iterator[Volunteers]:
    made = make_service(Volunteers, database)
    empty_tables(made, ("statistics_cells", "volunteer_months"))
    yield made
    made.runtime.db.close()


def empty(service: Awards | Notify) -> None:
    """Leave of a service what a dropped and upgraded schema leaves: nothing, its own event log included."""
    empty_tables(service, ("stars", "tally_entries", "tallies") if isinstance(service, Awards) else ("messages",))


def logged(volunteer: UUID, minutes: int) -> HoursLogged:
    return HoursLogged(
        entry_id=new_id(), volunteer_id=volunteer, team_code="T-001", unit_code="U-001", activity_id=UUID(int=7),
        category="culture", served_on=date(2026, 3, 5), minutes=minutes,
    )  # fmt: skip


def reversal_of(entry: HoursLogged) -> HoursReversed:
    same = {name: getattr(entry, name) for name in entry.__struct_fields__}
    return HoursReversed(**same, reversal_id=new_id(), reason_code="entered_wrong")


def replayed(*deliveries: Delivery, earlier: timedelta = timedelta(0)) -> list[Delivery]:
    """Return what a replay sends; ``earlier`` than it was when first told."""
    made = []
    for delivery in deliveries:
        body = codec.encode(replace_time(delivery.envelope, earlier)) if earlier else delivery.body
        body = codec.as_replayed(body)
        made.append(Delivery(body, codec.decode(body)))
    return made


def replace_time(envelope: codec.Envelope, earlier: timedelta) -> codec.Envelope:
    fields = {name: getattr(envelope, name) for name in envelope.__struct_fields__}
    return codec.Envelope(**fields | {"time": envelope.time - earlier})


def outgoing(service: Awards) -> list[Delivery]:
    """Return the stars as the relay sends them to notify."""
    return [
        Delivery(body := codec.encode(envelope), codec.decode(body))
        for envelope in recorded(service)
        if isinstance(envelope.data, StarEarned)
    ]


def tell(notify: Notify, hours: list[Delivery], stars: list[Delivery]) -> None:
    deliver(notify, "acknowledge_hours", [each for each in hours if isinstance(each.envelope.data, HoursLogged)])
    deliver(notify, "acknowledge_star", stars)


def messages(notify: Notify) -> list[dict[str, Any]]:
    return fetch(notify, "SELECT volunteer_id, occasion, subject_id, occurrence, state FROM messages ORDER BY id")


def stars(awards: Awards) -> list[dict[str, Any]]:
    return fetch(
        awards,
        "SELECT award_id, volunteer_id, star, occurrence, minutes_total, withdrawn_by FROM stars ORDER BY award_id",
    )


def campaign() -> list[Delivery]:
    """Hours of five people, in an order with a star lost by a reversal and earned again."""
    people = [new_id() for _ in range(5)]
    events: list[HoursLogged | HoursReversed] = []
    for person in people:
        first = logged(person, 100 * HOUR)
        events += [first, reversal_of(first), logged(person, 100 * HOUR), logged(person, 200 * HOUR)]
    return [delivery_of(event) for event in events]


# --- Awards emptied -----------------------------------------------------------------------------------------


def test_a_replay_into_emptied_awards_earns_the_same_awards_and_acknowledges_none_a_second_time(
    awards: Awards, notify: Notify
) -> None:
    hours = campaign()
    for each in hours:
        deliver(awards, "add_to_tally", [each])
    tell(notify, hours, outgoing(awards))
    before, told = stars(awards), messages(notify)
    assert len(before) == 15  # of each: the first star twice, the second once
    assert len(told) == 15 + 15
    empty(awards)

    deliver(awards, "add_to_tally", replayed(*hours))

    assert stars(awards) == before
    again = outgoing(awards)
    assert len(again) == 15
    assert all(each.envelope.replayed for each in again)
    tell(notify, [], again)
    assert messages(notify) == told
    assert fetch(awards, "SELECT 1 FROM outbox WHERE public AND public_published_at IS NULL") == []


def test_a_star_that_only_the_replay_finds_in_another_order_is_entered_and_not_sent(
    awards: Awards, notify: Notify
) -> None:
    person = new_id()
    one, two = logged(person, 100 * HOUR), logged(person, 100 * HOUR)
    hours = [delivery_of(event) for event in (one, two, reversal_of(one))]
    deliver(awards, "add_to_tally", hours)
    tell(notify, [], outgoing(awards))
    empty(awards)

    for number in (0, 2, 1):  # in this order the star is lost on the way, and earned again
        deliver(awards, "add_to_tally", replayed(hours[number]))
    tell(notify, [], outgoing(awards))

    assert [(row["occurrence"], row["state"]) for row in messages(notify)] == [(1, "written"), (2, "restored")]


def test_what_happens_during_the_replay_is_told_as_always(awards: Awards, notify: Notify) -> None:
    person = new_id()
    old, now = delivery_of(logged(person, 99 * HOUR)), delivery_of(logged(person, 1 * HOUR))

    deliver(awards, "add_to_tally", [now])
    deliver(awards, "add_to_tally", replayed(old))
    tell(notify, [now], outgoing(awards))

    (earned,) = outgoing(awards)
    assert not earned.envelope.replayed
    assert [row["state"] for row in messages(notify)] == ["written", "written"]
    assert fetch(awards, "SELECT 1 FROM outbox WHERE public AND public_published_at IS NULL") != []


def test_a_replayed_star_keeps_the_day_on_which_it_was_earned(awards: Awards) -> None:
    hours = replayed(delivery_of(logged(new_id(), 100 * HOUR)), earlier=timedelta(days=40))

    deliver(awards, "add_to_tally", hours)

    (earned,) = outgoing(awards)
    (row,) = fetch(awards, "SELECT earned_at FROM stars")
    assert row["earned_at"] == hours[0].envelope.time
    assert isinstance(earned.envelope.data, StarEarned)
    assert abs(earned.envelope.data.earned_on - (datetime.now(UTC) - timedelta(days=40)).date()) <= timedelta(days=1)


# --- Notify emptied -----------------------------------------------------------------------------------------


def test_an_emptied_inbox_is_filled_with_read_messages_that_no_channel_takes(awards: Awards, notify: Notify) -> None:
    hours = campaign()
    deliver(awards, "add_to_tally", hours)
    tell(notify, hours, outgoing(awards))
    told = {tuple(row.values())[:4] for row in messages(notify)}
    person = hours[0].envelope.data.volunteer_id  # type: ignore[attr-defined]
    empty(notify)

    tell(notify, replayed(*hours), replayed(*outgoing(awards)))

    assert {tuple(row.values())[:4] for row in messages(notify)} == told
    assert {row["state"] for row in messages(notify)} == {"restored"}
    page = client_of(notify).get(f"/v1/volunteers/{person}/inbox").json
    assert page is not None
    assert (len(page["items"]), page["unread"]) == (6, 0)


# --- The mark ------------------------------------------------------------------------------------------------


def test_a_replay_of_what_was_handled_has_no_effect_and_is_no_conflict(awards: Awards, notify: Notify) -> None:
    hours = campaign()
    deliver(awards, "add_to_tally", hours)
    tell(notify, hours, outgoing(awards))
    before = stars(awards), messages(notify), len(recorded(awards))

    deliver(awards, "add_to_tally", replayed(*hours))
    tell(notify, replayed(*hours), replayed(*outgoing(awards)))

    assert (stars(awards), messages(notify), len(recorded(awards))) == before
    for service in (awards, notify):
        assert fetch(service, "SELECT 1 FROM dead_letters") == []


def test_the_first_delivery_after_its_replay_is_no_conflict_either(awards: Awards) -> None:
    hours = campaign()

    deliver(awards, "add_to_tally", replayed(*hours))
    deliver(awards, "add_to_tally", hours)

    assert fetch(awards, "SELECT 1 FROM dead_letters") == []
    assert len(stars(awards)) == 15


def test_an_event_parked_during_a_replay_is_still_a_replayed_one(awards: Awards) -> None:
    entry = logged(new_id(), 100 * HOUR)
    hours, taken = replayed(delivery_of(entry), delivery_of(reversal_of(entry)))
    deliver(awards, "add_to_tally", [taken])  # its entry is not there yet
    deliver(awards, "add_to_tally", [hours])

    retry_parked(awards)

    assert [envelope.replayed for envelope in recorded(awards)] == [True, True]
    assert fetch(awards, "SELECT minutes FROM tallies") == [{"minutes": 0}]


# --- 10,000 events in any order, three times ------------------------------------------------------------------


def test_ten_thousand_events_three_times_in_any_order_leave_every_total_exact(
    awards: Awards, notify: Notify, volunteers: Volunteers
) -> None:
    chance = random.Random(8)
    people = [new_id() for _ in range(60)]
    entries = [logged(chance.choice(people), chance.randint(1, 1440)) for _ in range(9000)]
    taken = chance.sample(entries, 1000)
    once = [delivery_of(event) for event in (*entries, *map(reversal_of, taken))]
    mixed = once * 3
    chance.shuffle(mixed)
    assert len(once) == 10_000

    known: set[UUID] = set()
    late: list[Delivery] = []
    for start in range(0, len(mixed), 2000):
        batch = mixed[start : start + 2000]
        known |= {each.envelope.data.entry_id for each in batch if isinstance(each.envelope.data, HoursLogged)}
        early = [each for each in batch if each.envelope.data.entry_id not in known]  # type: ignore[attr-defined]
        # Corrections before their originals; each is split off its batch and parked, so that a few must do.
        deliver(awards, "add_to_tally", early[:3])
        late += early[3:]
        timely = [each for each in batch if each.envelope.data.entry_id in known]  # type: ignore[attr-defined]
        deliver(awards, "add_to_tally", timely)
        deliver(volunteers, "keep_statistics", batch)
        tell(notify, batch, [])
    assert fetch(awards, "SELECT 1 FROM parked_events LIMIT 1")
    deliver(awards, "add_to_tally", late)
    while fetch(awards, "SELECT 1 FROM parked_events LIMIT 1"):
        retry_parked(awards)
    tell(notify, [], outgoing(awards) * 3)

    total = dict.fromkeys(people, 0)
    for entry in entries:
        total[entry.volunteer_id] += entry.minutes
    for entry in taken:
        total[entry.volunteer_id] -= entry.minutes
    assert {row["volunteer_id"]: row["minutes"] for row in fetch(awards, "SELECT * FROM tallies")} == total
    months = "SELECT volunteer_id, sum(minutes) AS minutes, sum(entries) AS entries FROM volunteer_months GROUP BY 1"
    counted = fetch(volunteers, months)
    assert {row["volunteer_id"]: row["minutes"] for row in counted} == total
    assert sum(row["entries"] for row in counted) == 8000
    assert fetch(volunteers, "SELECT minutes, entries FROM statistics_cells") == [
        {"minutes": sum(total.values()), "entries": 8000}
    ]
    held = {(row["volunteer_id"], row["star"]) for row in stars(awards) if row["withdrawn_by"] is None}
    assert held == {
        (person, star) for person in people for star, least in enumerate(THRESHOLDS, 1) if total[person] >= least
    }
    told = [(row["volunteer_id"], row["subject_id"], row["occurrence"]) for row in messages(notify)]
    assert len(told) == len(set(told)) == len(entries) + len(stars(awards))
    assert fetch(awards, "SELECT reason FROM dead_letters") == []

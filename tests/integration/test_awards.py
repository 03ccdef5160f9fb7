"""Awards on a real database: tallies and stars, whatever the order and number of deliveries."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.awards import models, thresholds
from services.awards.domain import Thresholds
from services.awards.service import Awards
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
from tests.support.statements import noted
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.ladder import Delivery
from xinhuo.contracts.awards import StarEarned, StarWithdrawn
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed

FACTS = {
    "team_code": "T-001",
    "unit_code": "U-001",
    "activity_id": UUID(int=7),
    "category": "culture",
    "served_on": date(2026, 3, 5),
}
HOUR = 60


@pytest.fixture(scope="module")
def service_of_module(database: str) -> Iterator[Awards]:
    service = make_service(Awards, database)
    yield service
    service.runtime.db.close()


@pytest.fixture
def awards(service_of_module: Awards) -> Awards:
    empty_tables(service_of_module, ("stars", "tally_entries", "tallies"))
    return service_of_module


@pytest.fixture
def volunteer() -> UUID:
    return new_id()


def logged(volunteer: UUID, minutes: int, entry: UUID | None = None) -> HoursLogged:
    return HoursLogged(entry_id=entry or new_id(), volunteer_id=volunteer, minutes=minutes, **FACTS)


def reversal_of(entry: HoursLogged, **changes: Any) -> HoursReversed:
    facts = {
        **FACTS,
        "reversal_id": new_id(),
        "entry_id": entry.entry_id,
        "volunteer_id": entry.volunteer_id,
        "minutes": entry.minutes,
        "reason_code": "entered_wrong",
        **changes,
    }
    return HoursReversed(**facts)


def add(awards: Awards, *events: HoursLogged | HoursReversed | Delivery) -> None:
    batch = [event if isinstance(event, Delivery) else delivery_of(event) for event in events]
    deliver(awards, "add_to_tally", batch)


def minutes_of(awards: Awards, volunteer: UUID) -> int:
    (row,) = fetch(awards, "SELECT minutes FROM tallies WHERE volunteer_id = :v", v=volunteer)
    return row["minutes"]


def stars_of(awards: Awards, volunteer: UUID) -> list[tuple[int, int, bool]]:
    """The stars of a volunteer as (star, occurrence, held)."""
    found = fetch(
        awards,
        "SELECT star, occurrence, withdrawn_at IS NULL AS held FROM stars WHERE volunteer_id = :v"
        " ORDER BY star, occurrence",
        v=volunteer,
    )
    return [(row["star"], row["occurrence"], row["held"]) for row in found]


def dead_reasons(awards: Awards) -> list[str]:
    return [row["reason"] for row in fetch(awards, "SELECT reason FROM dead_letters ORDER BY reason")]


def parked(awards: Awards) -> int:
    return fetch(awards, "SELECT count(*) AS n FROM parked_events")[0]["n"]


# --- Counting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes", "star"),
    [(1, 0), (5999, 0), (6000, 1), (17999, 1), (18000, 2), (35999, 2), (36000, 3),
     (59999, 3), (60000, 4), (89999, 4), (90000, 5), (900000, 5)],
)  # fmt: skip
def test_a_star_is_reached_at_its_threshold_and_not_a_minute_before(
    awards: Awards, volunteer: UUID, minutes: int, star: int
) -> None:
    add(awards, logged(volunteer, minutes))

    assert minutes_of(awards, volunteer) == minutes
    assert stars_of(awards, volunteer) == [(each, 1, True) for each in range(1, star + 1)]


def test_the_minute_that_completes_a_threshold_earns_the_star(awards: Awards, volunteer: UUID) -> None:
    add(awards, logged(volunteer, 5999))
    add(awards, completing := delivery_of(logged(volunteer, 1)))

    (earned,) = recorded(awards)
    assert isinstance(earned.data, StarEarned)
    assert (earned.data.star, earned.data.occurrence) == (1, 1)
    assert (earned.data.minutes_total, earned.data.threshold_minutes) == (6000, 6000)
    assert earned.data.volunteer_id == volunteer
    assert earned.data.rule == "stars@2012-01-01"
    assert earned.causationid == str(completing.envelope.id)


def test_two_stars_crossed_at_once_are_two_events(awards: Awards, volunteer: UUID) -> None:
    add(awards, logged(volunteer, 300 * HOUR))

    earned = [envelope.data for envelope in recorded(awards)]
    assert [(star.star, star.occurrence, star.threshold_minutes) for star in earned] == [
        (1, 1, 6000),
        (2, 1, 18000),
    ]
    assert len({star.award_id for star in earned}) == 2


def test_a_batch_counts_each_volunteer_apart(awards: Awards) -> None:
    people = [new_id() for _ in range(5)]
    add(awards, *(logged(person, 100 * n) for n in range(1, 4) for person in people))

    assert [minutes_of(awards, person) for person in people] == [600] * 5


@pytest.mark.parametrize("size", [50, 500])
def test_a_batch_of_any_size_goes_to_the_database_three_times_with_the_same_statements(
    awards: Awards, size: int
) -> None:
    # Every second volunteer earns, and loses, a star, so that every statement there is takes part.
    entries = [logged(new_id(), 6000 + n) for n in range(size // 2)]
    add(awards, *entries)
    batch = [delivery_of(event) for entry in entries for event in (reversal_of(entry), logged(new_id(), 6000))]
    with noted(awards.runtime.db.engine) as statements:
        add(awards, *batch)

    # The claim; five questions; and with the commit five tables.
    assert (len(statements.texts), statements.ways) == (12, 3), statements.texts


# --- Twice, late, out of order ----------------------------------------------------------------------------


def test_the_same_batch_again_changes_nothing(awards: Awards, volunteer: UUID) -> None:
    first, second = logged(volunteer, 6000), logged(volunteer, 12000)
    batch = [delivery_of(event) for event in (first, reversal_of(first), second)]
    add(awards, *batch)
    add(awards, *batch)
    add(awards, *batch, *batch)

    assert minutes_of(awards, volunteer) == 12000
    assert stars_of(awards, volunteer) == [(1, 1, False), (1, 2, True)]
    assert len(recorded(awards)) == 3


def test_an_entry_announced_under_two_event_ids_counts_once(awards: Awards, volunteer: UUID) -> None:
    entry = logged(volunteer, 6000)
    taken = reversal_of(entry)
    add(awards, entry, entry)
    add(awards, entry)
    assert minutes_of(awards, volunteer) == 6000

    add(awards, taken, taken)
    add(awards, taken)
    assert minutes_of(awards, volunteer) == 0
    assert stars_of(awards, volunteer) == [(1, 1, False)]
    assert dead_reasons(awards) == []


def test_a_reversal_before_its_original_is_parked_and_counts_when_the_original_came(
    awards: Awards, volunteer: UUID
) -> None:
    entry, other = logged(volunteer, 6000), logged(volunteer, 30)
    add(awards, reversal_of(entry), other)
    assert parked(awards) == 1
    assert minutes_of(awards, volunteer) == 30

    assert retry_parked(awards) == 1
    assert parked(awards) == 1, "the original is still missing"

    add(awards, entry)
    assert minutes_of(awards, volunteer) == 6030
    retry_parked(awards)

    assert parked(awards) == 0
    assert minutes_of(awards, volunteer) == 30
    assert stars_of(awards, volunteer) == [(1, 1, False)]
    assert dead_reasons(awards) == []


def test_a_reversal_whose_original_never_comes_ends_in_the_dead_letters(awards: Awards, volunteer: UUID) -> None:
    add(awards, reversal_of(logged(volunteer, 60)))
    while parked(awards):
        retry_parked(awards)

    assert dead_reasons(awards) == ["event.too_early"]


def test_a_reversal_that_stands_before_its_original_in_one_batch_waits_for_it(awards: Awards, volunteer: UUID) -> None:
    entry = logged(volunteer, 6000)
    add(awards, reversal_of(entry), logged(volunteer, 10), entry)

    assert parked(awards) == 0
    assert minutes_of(awards, volunteer) == 10
    assert stars_of(awards, volunteer) == [(1, 1, False)]


@pytest.mark.parametrize("seed", range(5))
def test_totals_do_not_depend_on_order_repetition_or_batches(awards: Awards, seed: int) -> None:
    chance = random.Random(seed)
    people = [new_id() for _ in range(4)]
    entries = [logged(chance.choice(people), chance.randint(1, 1440)) for _ in range(120)]
    taken = chance.sample(entries, 30)
    deliveries = [delivery_of(event) for event in (*entries, *map(reversal_of, taken))]
    mixed = deliveries + chance.sample(deliveries, 60)
    chance.shuffle(mixed)
    while mixed:
        size = chance.randint(1, 40)
        add(awards, *mixed[:size])
        del mixed[:size]
    while parked(awards):
        retry_parked(awards)

    for person in people:
        expected = sum(entry.minutes for entry in entries if entry.volunteer_id == person)
        expected -= sum(entry.minutes for entry in taken if entry.volunteer_id == person)
        assert minutes_of(awards, person) == expected
        held = {star for star, _, is_held in stars_of(awards, person) if is_held}
        assert held == {n for n, least in enumerate((6000, 18000, 36000, 60000, 90000), 1) if expected >= least}
    assert dead_reasons(awards) == []


def test_two_workers_with_the_same_volunteers_at_once_give_exact_tallies(awards: Awards) -> None:
    people = [new_id() for _ in range(20)]
    events = [delivery_of(logged(person, 60)) for _ in range(40) for person in people]
    chance = random.Random(1)
    shares = []
    for start in (0, 1):
        # Each worker has half of the events, and some of the other's as a redelivery would bring them.
        share = events[start::2] + chance.sample(events[1 - start :: 2], 100)
        chance.shuffle(share)
        shares.append([share[n : n + 50] for n in range(0, len(share), 50)])
    together = Barrier(2)

    def work(batches: list[list[Delivery]]) -> None:
        together.wait(timeout=30)
        for batch in batches:
            add(awards, *batch)

    with ThreadPoolExecutor(2) as workers:
        for done in [workers.submit(work, batches) for batches in shares]:
            done.result(timeout=60)

    assert [minutes_of(awards, person) for person in people] == [2400] * 20
    assert parked(awards) == 0
    assert dead_reasons(awards) == []


def test_two_workers_that_cross_one_threshold_earn_one_star(awards: Awards, volunteer: UUID) -> None:
    add(awards, logged(volunteer, 5990))
    together = Barrier(4)

    def work(_: int) -> None:
        batch = [delivery_of(logged(volunteer, 1)) for _ in range(20)]
        together.wait(timeout=30)
        add(awards, *batch)

    with ThreadPoolExecutor(4) as workers:
        assert list(workers.map(work, range(4))) == [None] * 4

    assert minutes_of(awards, volunteer) == 6070
    (earned,) = recorded(awards)
    assert earned.data.minutes_total == 6000


# --- Stars taken back and earned again --------------------------------------------------------------------


def test_a_reversal_below_the_threshold_withdraws_the_star_and_names_itself(awards: Awards, volunteer: UUID) -> None:
    base, last = logged(volunteer, 5999), logged(volunteer, 1)
    add(awards, base, last)
    taken = reversal_of(last)
    add(awards, cause := delivery_of(taken))

    earned, withdrawn = recorded(awards)
    assert isinstance(withdrawn.data, StarWithdrawn)
    assert withdrawn.data.reversal_id == taken.reversal_id
    assert withdrawn.data.award_id == earned.data.award_id
    assert (withdrawn.data.star, withdrawn.data.occurrence, withdrawn.data.minutes_total) == (1, 1, 5999)
    assert withdrawn.causationid == str(cause.envelope.id)
    (row,) = fetch(awards, "SELECT withdrawn_by FROM stars WHERE volunteer_id = :v", v=volunteer)
    assert row["withdrawn_by"] == taken.reversal_id


def test_a_reversal_that_stays_at_the_threshold_takes_nothing(awards: Awards, volunteer: UUID) -> None:
    small = logged(volunteer, 30)
    add(awards, logged(volunteer, 6000), small)
    add(awards, reversal_of(small))

    assert stars_of(awards, volunteer) == [(1, 1, True)]


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in three batches"])
def test_a_star_earned_again_is_its_next_occurrence(awards: Awards, volunteer: UUID, together: bool) -> None:
    first = logged(volunteer, 6000)
    steps = [first, reversal_of(first), logged(volunteer, 6001)]
    for batch in [steps] if together else [[step] for step in steps]:
        add(awards, *batch)

    assert stars_of(awards, volunteer) == [(1, 1, False), (1, 2, True)]
    told = [(type(envelope.data), envelope.data.occurrence) for envelope in recorded(awards)]
    assert told == [(StarEarned, 1), (StarWithdrawn, 1), (StarEarned, 2)]


def test_a_star_withdrawn_and_earned_again_in_a_later_batch_is_its_next_occurrence(
    awards: Awards, volunteer: UUID
) -> None:
    first = logged(volunteer, 6000)
    add(awards, first)
    add(awards, reversal_of(first), logged(volunteer, 6001))

    assert stars_of(awards, volunteer) == [(1, 1, False), (1, 2, True)]


# --- Events that cannot be right --------------------------------------------------------------------------


def test_a_negative_total_is_a_dead_letter_and_harms_no_other_event_of_its_batch(awards: Awards) -> None:
    people = [new_id() for _ in range(31)]
    entry = logged(people[0], 60)
    add(awards, entry)
    bad = reversal_of(entry, minutes=61)
    add(awards, *(logged(person, 100) for person in people[:16]), bad, *(logged(p, 100) for p in people[16:]))

    assert dead_reasons(awards) == ["event.negative_total"]
    assert parked(awards) == 0
    assert [minutes_of(awards, person) for person in people] == [160] + [100] * 30


def test_a_second_reversal_of_one_entry_is_a_dead_letter_though_the_total_would_allow_it(
    awards: Awards, volunteer: UUID
) -> None:
    entry = logged(volunteer, 60)
    add(awards, entry, logged(volunteer, 500), reversal_of(entry))
    add(awards, reversal_of(entry))

    assert dead_reasons(awards) == ["event.negative_total"]
    assert minutes_of(awards, volunteer) == 500


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"minutes": 59}, "event.reversal_mismatch"),
        ({"volunteer_id": UUID(int=1)}, "event.reversal_mismatch"),
        ({"minutes": 0}, "event.senseless_minutes"),
        ({"minutes": -60}, "event.senseless_minutes"),
    ],
)
def test_a_reversal_that_is_not_its_entry_taken_back_is_a_dead_letter(
    awards: Awards, volunteer: UUID, changes: dict[str, Any], reason: str
) -> None:
    entry = logged(volunteer, 60)
    add(awards, entry)
    add(awards, reversal_of(entry, **changes))

    assert dead_reasons(awards) == [reason]
    assert minutes_of(awards, volunteer) == 60


@pytest.mark.parametrize("minutes", [0, -1])
def test_an_entry_without_minutes_is_a_dead_letter(awards: Awards, volunteer: UUID, minutes: int) -> None:
    add(awards, logged(volunteer, minutes), logged(volunteer, 5))

    assert dead_reasons(awards) == ["event.senseless_minutes"]
    assert minutes_of(awards, volunteer) == 5


@pytest.mark.parametrize("together", [True, False])
def test_an_entry_that_contradicts_itself_is_a_dead_letter(awards: Awards, volunteer: UUID, together: bool) -> None:
    entry = logged(volunteer, 60)
    changed = logged(volunteer, 61, entry.entry_id)
    for batch in [[entry, changed]] if together else [[entry], [changed]]:
        add(awards, *batch)

    assert dead_reasons(awards) == ["event.entry_conflict"]
    assert minutes_of(awards, volunteer) == 60


# --- Answers ----------------------------------------------------------------------------------------------


def test_a_volunteer_sees_the_star_why_it_is_this_one_and_every_occurrence(awards: Awards, volunteer: UUID) -> None:
    first = logged(volunteer, 6000)
    taken = reversal_of(first)
    add(awards, first, taken, logged(volunteer, 6090))

    answer = client_of(awards).get(f"/v1/volunteers/{volunteer}/stars").json
    assert answer["star"] == 1
    assert answer["name"] == "一星级"
    assert answer["minutes"] == 6090
    assert answer["explanation"] == (
        "累计志愿服务时间101小时30分钟，达到一星级标准（100小时以上，含本数）；距二星级还差198小时30分钟。"
        f"依据：{answer['clause']}。"
    )
    assert "民函〔2012〕340号" in answer["clause"]
    lost, held = answer["occurrences"]
    assert (lost["occurrence"], lost["withdrawn_by"]) == (1, str(taken.reversal_id))
    assert lost["withdrawn_at"].endswith("Z")
    assert (held["occurrence"], held["minutes_total"], held["withdrawn_at"]) == (2, 6090, None)
    assert (held["rule"], held["clause"]) == ("stars@2012-01-01", answer["clause"])


def test_a_volunteer_of_whom_nothing_is_known_has_no_star(awards: Awards, volunteer: UUID) -> None:
    response = client_of(awards).get(f"/v1/volunteers/{volunteer}/stars")

    assert response.status_code == 200
    assert response.json["star"] == 0
    assert response.json["name"] is None
    assert response.json["minutes"] == 0
    assert response.json["occurrences"] == []
    assert "尚未达到星级标准" in response.json["explanation"]


def test_a_star_kept_under_an_older_table_is_explained_by_that_table(
    awards: Awards, volunteer: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(awards, logged(volunteer, 6000))
    (old,) = thresholds.versions()
    eve = date(2020, 1, 1)
    newer = replace(old, valid_from=eve, clause="某新办法", value=Thresholds((12000,), "某新办法"))
    changed = (replace(old, valid_until=eve - timedelta(days=1)), newer)
    monkeypatch.setattr(thresholds, "versions", lambda: changed)

    answer = client_of(awards).get(f"/v1/volunteers/{volunteer}/stars").json
    assert answer["star"] == 1
    assert answer["rule"] == "stars@2012-01-01"
    assert "达到一星级标准（100小时以上，含本数）" in answer["explanation"]

    add(awards, logged(volunteer, 6000))
    assert stars_of(awards, volunteer) == [(1, 1, True)]
    assert client_of(awards).get(f"/v1/volunteers/{volunteer}/stars").json["clause"] == "某新办法"


def test_earned_stars_are_listed_newest_first_page_by_page(awards: Awards) -> None:
    people = [new_id() for _ in range(5)]
    for person in people:
        add(awards, logged(person, 6000))
    client = client_of(awards)

    seen, after = [], None
    while True:
        page = client.get("/v1/stars", query_string={"limit": 2, **({"after": after} if after else {})}).json
        seen += [item["volunteer_id"] for item in page["items"]]
        after = page["after"]
        if after is None:
            break
    assert seen == [str(person) for person in reversed(people)]


def test_earned_stars_can_be_asked_for_by_star(awards: Awards, volunteer: UUID) -> None:
    add(awards, logged(volunteer, 18000), logged(new_id(), 6000))

    (item,) = client_of(awards).get("/v1/stars", query_string={"star": 2}).json["items"]
    assert (item["volunteer_id"], item["star"], item["name"]) == (str(volunteer), 2, "二星级")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [({"star": 6}, "/star"), ({"star": 0}, "/star"), ({"limit": 201}, "/limit"), ({"stars": 1}, "/stars"),
     ({"after": "nonsense"}, "/after")],
)  # fmt: skip
def test_a_query_that_cannot_be_meant_is_refused_by_name(awards: Awards, query: dict[str, Any], pointer: str) -> None:
    response = client_of(awards).get("/v1/stars", query_string=query)

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"] == pointer


def test_stars_are_counted_as_earned_and_as_held(awards: Awards, volunteer: UUID) -> None:
    first = logged(volunteer, 18000)
    add(awards, first, reversal_of(first), logged(volunteer, 6000), logged(new_id(), 6000))

    assert client_of(awards).get("/v1/stars/counts").json == {
        "earned": 4,
        "held": 2,
        "stars": [
            {"star": 1, "name": "一星级", "earned": 3, "held": 2},
            {"star": 2, "name": "二星级", "earned": 1, "held": 0},
        ],
    }


def test_the_thresholds_are_served_as_the_dated_rule_they_are(awards: Awards) -> None:
    today = client_of(awards).get("/v1/stars/thresholds").json
    on_a_day = client_of(awards).get("/v1/stars/thresholds", query_string={"on": "2020-03-05"}).json

    assert today == on_a_day
    assert [star["threshold_minutes"] for star in today["stars"]] == [6000, 18000, 36000, 60000, 90000]
    assert (today["rule"], today["valid_from"], today["valid_until"]) == (
        "stars@2012-01-01",
        "2012-01-01",
        None,
    )
    assert "以上" in today["clause"]


def test_a_day_before_any_rule_is_refused(awards: Awards) -> None:
    response = client_of(awards).get("/v1/stars/thresholds", query_string={"on": "2000-01-01"})

    assert response.status_code == 422
    assert response.json["code"] == "rule.none_in_force"


# --- Tables -----------------------------------------------------------------------------------------------


def test_the_tables_that_queries_name_are_those_that_the_migrations_make(awards: Awards) -> None:
    with awards.runtime.db.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_name": lambda name, kind, _: kind != "table" or name in models.metadata.tables},
        )
        differences = compare_metadata(context, models.metadata)
    assert [item for item in differences if item[0] not in {"remove_index", "remove_constraint"}] == []


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE tallies SET minutes = -1", "tally_not_negative"),
        ("UPDATE stars SET star = 6", "star_one_to_five"),
        ("UPDATE stars SET minutes_total = 5999", "earned_at_threshold"),
        ("UPDATE stars SET withdrawn_at = now()", "withdrawn_by_a_reversal"),
        ("UPDATE tally_entries SET minutes = 0", "entry_minutes_positive"),
    ],
)
def test_the_database_itself_refuses_what_cannot_be(
    awards: Awards, volunteer: UUID, statement: str, constraint: str
) -> None:
    add(awards, logged(volunteer, 6000))

    with pytest.raises(sa.exc.IntegrityError, match=constraint), awards.runtime.db.transaction() as session:
        session.execute(sa.text(statement))

"""Notify on a real database: one acknowledgement for each occasion, exact words, and the inbox."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from jinja2 import UndefinedError

from services.notify import models, texts
from services.notify.service import Notify
from tests.support.services import client_of, deliver, delivery_of, empty_tables, fetch, make_service
from tests.support.statements import noted
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.ladder import Delivery
from xinhuo.contracts.awards import StarEarned
from xinhuo.contracts.volunteers import HoursLogged


@pytest.fixture(scope="module")
def service_of_module(database: str) -> Iterator[Notify]:
    service = make_service(Notify, database)
    yield service
    service.runtime.db.close()


@pytest.fixture
def notify(service_of_module: Notify) -> Notify:
    empty_tables(service_of_module, ("messages",))
    return service_of_module


@pytest.fixture
def volunteer() -> UUID:
    return new_id()


def logged(volunteer: UUID, minutes: int = 150, served_on: date = date(2026, 3, 5)) -> HoursLogged:
    return HoursLogged(
        entry_id=new_id(),
        volunteer_id=volunteer,
        team_code="T-001",
        unit_code="U-001",
        activity_id=UUID(int=7),
        category="culture",
        served_on=served_on,
        minutes=minutes,
    )


def earned(volunteer: UUID, star: int = 1, occurrence: int = 1, total: int = 6000) -> StarEarned:
    return StarEarned(
        award_id=new_id(),
        volunteer_id=volunteer,
        star=star,
        occurrence=occurrence,
        minutes_total=total,
        threshold_minutes=(6000, 18000, 36000, 60000, 90000)[star - 1],
        rule="stars@2012-01-01",
        earned_on=date(2026, 3, 5),
    )


def thank(notify: Notify, *events: HoursLogged | Delivery) -> None:
    batch = [event if isinstance(event, Delivery) else delivery_of(event) for event in events]
    deliver(notify, "acknowledge_hours", batch)


def congratulate(notify: Notify, *events: StarEarned | Delivery) -> None:
    batch = [event if isinstance(event, Delivery) else delivery_of(event) for event in events]
    deliver(notify, "acknowledge_star", batch)


def written(notify: Notify) -> list[dict[str, Any]]:
    return fetch(notify, "SELECT * FROM messages ORDER BY id")


# --- Words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes", "served_on", "text"),
    [
        (
            150,
            date(2026, 3, 5),
            "感谢您参加志愿服务！您在2026年3月5日的2小时30分钟服务时间已记入您的志愿服务记录。",
        ),
        (
            45,
            date(2025, 12, 31),
            "感谢您参加志愿服务！您在2025年12月31日的45分钟服务时间已记入您的志愿服务记录。",
        ),
        (
            480,
            date(2026, 10, 1),
            "感谢您参加志愿服务！您在2026年10月1日的8小时服务时间已记入您的志愿服务记录。",
        ),
    ],
)
def test_hours_are_acknowledged_in_these_words(
    notify: Notify, volunteer: UUID, minutes: int, served_on: date, text: str
) -> None:
    thank(notify, entry := logged(volunteer, minutes, served_on))

    (message,) = written(notify)
    assert message["text"] == text
    assert message["title"] == "感谢您的志愿服务"
    assert message["template"] == "hours_logged@1"
    assert (message["volunteer_id"], message["occasion"]) == (volunteer, "hours_logged")
    assert (message["subject_id"], message["occurrence"]) == (entry.entry_id, 1)
    assert (message["state"], message["read_at"]) == ("written", None)


@pytest.mark.parametrize(
    ("star", "occurrence", "total", "text"),
    [
        (
            1,
            1,
            6000,
            "恭喜您！您的志愿服务时间累计100小时，达到一星级志愿者标准（100小时以上，含本数）。感谢您的付出！",
        ),
        (
            5,
            2,
            90030,
            "恭喜您！您的志愿服务时间累计1500小时30分钟，再次达到五星级志愿者标准（1500小时以上，含本数）。"
            "感谢您的付出！",
        ),
    ],
)
def test_a_star_is_acknowledged_in_these_words(
    notify: Notify, volunteer: UUID, star: int, occurrence: int, total: int, text: str
) -> None:
    congratulate(notify, award := earned(volunteer, star, occurrence, total))

    (message,) = written(notify)
    assert message["text"] == text
    assert message["title"] == "恭喜您达到新的星级"
    assert message["template"] == "star_earned@1"
    assert (message["occasion"], message["subject_id"]) == ("star_earned", award.award_id)
    assert message["occurrence"] == occurrence


def test_a_fact_that_a_template_misses_is_an_error_and_no_gap_in_the_text() -> None:
    with pytest.raises(UndefinedError, match="minutes"):
        texts.write("hours_logged", served_on=date(2026, 3, 5))


def test_a_template_without_version_and_title_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bare.j2").write_text("您好！", encoding="utf-8")
    monkeypatch.setattr(texts, "_FOLDER", tmp_path)

    with pytest.raises(texts.BadTemplate, match=r"bare\.j2"):
        texts.write("bare")


# --- Once -------------------------------------------------------------------------------------------------


def test_the_same_batches_again_write_nothing(notify: Notify, volunteer: UUID) -> None:
    hours = [delivery_of(logged(volunteer)) for _ in range(3)]
    stars = [delivery_of(earned(volunteer, star)) for star in (1, 2)]
    for _ in range(2):
        thank(notify, *hours, *hours)
        congratulate(notify, *stars, *stars)

    assert len(written(notify)) == 5


def test_a_fact_announced_under_two_event_ids_is_acknowledged_once(notify: Notify, volunteer: UUID) -> None:
    entry, award = logged(volunteer), earned(volunteer)
    thank(notify, entry, entry)
    thank(notify, entry)
    congratulate(notify, award, award)
    congratulate(notify, award)

    assert [message["occasion"] for message in written(notify)] == ["hours_logged", "star_earned"]


def test_a_star_earned_again_is_acknowledged_again(notify: Notify, volunteer: UUID) -> None:
    congratulate(notify, earned(volunteer, 1, 1))
    congratulate(notify, earned(volunteer, 1, 2))

    assert [message["occurrence"] for message in written(notify)] == [1, 2]
    assert "再次" in written(notify)[1]["text"]


def test_order_and_repetition_do_not_change_what_is_written(notify: Notify) -> None:
    people = [new_id() for _ in range(3)]
    chance = random.Random(1)
    entries = [logged(chance.choice(people), chance.randint(1, 600)) for _ in range(60)]
    awards = [earned(person, star, occurrence) for person in people for star in (1, 2) for occurrence in (2, 1)]
    hours = [delivery_of(event) for event in entries] * 2
    stars = [delivery_of(event) for event in awards] * 2
    chance.shuffle(hours)
    chance.shuffle(stars)
    for start in range(0, len(stars), 7):
        congratulate(notify, *stars[start : start + 7])
    for start in range(0, len(hours), 7):
        thank(notify, *hours[start : start + 7])

    told = {(message["volunteer_id"], message["subject_id"], message["occurrence"]) for message in written(notify)}
    assert told == {(entry.volunteer_id, entry.entry_id, 1) for entry in entries} | {
        (award.volunteer_id, award.award_id, award.occurrence) for award in awards
    }
    assert len(written(notify)) == len(entries) + len(awards)


def test_two_workers_with_the_same_facts_at_once_write_each_acknowledgement_once(notify: Notify) -> None:
    entries = [logged(new_id()) for _ in range(200)]
    together = Barrier(2)

    def work(seed: int) -> None:
        # Other event ids: the inbox lets all of them through, the table does not.
        batch = [delivery_of(entry) for entry in entries]
        random.Random(seed).shuffle(batch)
        together.wait(timeout=30)
        for start in range(0, 200, 50):
            thank(notify, *batch[start : start + 50])

    with ThreadPoolExecutor(2) as workers:
        assert list(workers.map(work, (1, 2))) == [None, None]

    assert len(written(notify)) == 200
    assert fetch(notify, "SELECT * FROM parked_events") == []


@pytest.mark.parametrize("size", [1, 50, 500])
def test_a_batch_of_any_size_goes_to_the_database_twice_with_two_statements(notify: Notify, size: int) -> None:
    batch = [delivery_of(logged(new_id())) for _ in range(size)]
    with noted(notify.runtime.db.engine) as statements:
        thank(notify, *batch)

    assert (len(statements.texts), statements.ways) == (2, 2), statements.texts


def test_an_event_that_no_text_can_be_written_for_harms_no_other_of_its_batch(notify: Notify, volunteer: UUID) -> None:
    thank(notify, logged(volunteer), logged(volunteer, minutes=-5), logged(volunteer))

    assert len(written(notify)) == 2
    assert len(fetch(notify, "SELECT * FROM parked_events")) == 1


# --- Inbox ------------------------------------------------------------------------------------------------


def test_the_inbox_shows_a_volunteers_own_messages_newest_first_page_by_page(notify: Notify, volunteer: UUID) -> None:
    thank(notify, logged(new_id()))
    for minutes in range(1, 6):
        thank(notify, logged(volunteer, minutes))
    client = client_of(notify)

    seen, after = [], None
    while True:
        query = {"limit": 2, **({"after": after} if after else {})}
        page = client.get(f"/v1/volunteers/{volunteer}/inbox", query_string=query).json
        assert page["unread"] == 5
        seen += [item["text"] for item in page["items"]]
        after = page["after"]
        if after is None:
            break
    assert [text.split("日的")[1].split("分钟")[0] for text in seen] == ["5", "4", "3", "2", "1"]


def test_the_inbox_of_an_unknown_volunteer_is_empty(notify: Notify, volunteer: UUID) -> None:
    assert client_of(notify).get(f"/v1/volunteers/{volunteer}/inbox").json == {
        "items": [],
        "after": None,
        "unread": 0,
    }


def test_a_message_is_read_once_and_stays_read(notify: Notify, volunteer: UUID) -> None:
    thank(notify, logged(volunteer), logged(volunteer))
    client = client_of(notify)
    inbox = f"/v1/volunteers/{volunteer}/inbox"
    message = client.get(inbox).json["items"][0]
    assert message["read_at"] is None

    first = client.post(f"/v1/messages/{message['id']}:read")
    again = client.post(f"/v1/messages/{message['id']}:read")

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json == again.json
    assert first.json["read_at"].endswith("Z")
    assert client.get(inbox).json["unread"] == 1
    unread = client.get(inbox, query_string={"unread": "true"}).json["items"]
    assert [item["id"] for item in unread] != [message["id"]]
    assert len(unread) == 1


def test_a_message_that_does_not_exist_cannot_be_read(notify: Notify) -> None:
    response = client_of(notify).post(f"/v1/messages/{new_id()}:read")

    assert response.status_code == 404
    assert response.json["code"] == "message.not_found"


@pytest.mark.parametrize(
    ("query", "pointer"), [({"limit": 0}, "/limit"), ({"unread": "maybe"}, "/unread"), ({"page": 2}, "/page")]
)
def test_a_query_that_cannot_be_meant_is_refused_by_name(
    notify: Notify, volunteer: UUID, query: dict[str, Any], pointer: str
) -> None:
    response = client_of(notify).get(f"/v1/volunteers/{volunteer}/inbox", query_string=query)

    assert response.status_code == 400
    assert response.json["errors"][0]["pointer"] == pointer


def test_acknowledgements_are_counted_by_occasion(notify: Notify, volunteer: UUID) -> None:
    client = client_of(notify)
    assert client.get("/v1/acknowledgements/count").json == {"total": 0, "by_occasion": {}}

    thank(notify, logged(volunteer), logged(volunteer))
    congratulate(notify, earned(volunteer))

    assert client.get("/v1/acknowledgements/count").json == {
        "total": 3,
        "by_occasion": {"hours_logged": 2, "star_earned": 1},
    }


# --- Tables -----------------------------------------------------------------------------------------------


def test_the_tables_that_queries_name_are_those_that_the_migrations_make(notify: Notify) -> None:
    def ours(name: str | None, kind: str, _: Any) -> bool:
        return kind != "table" or name in models.metadata.tables

    with notify.runtime.db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": ours, "compare_type": True})
        differences = compare_metadata(context, models.metadata)
    assert [item for item in differences if item[0] not in {"remove_index", "remove_constraint"}] == []


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE messages SET state = 'lost'", "known_state"),
        ("UPDATE messages SET occurrence = 0", "occurrence_from_one"),
    ],
)
def test_the_database_itself_refuses_what_cannot_be(
    notify: Notify, volunteer: UUID, statement: str, constraint: str
) -> None:
    thank(notify, logged(volunteer))

    with pytest.raises(sa.exc.IntegrityError, match=constraint), notify.runtime.db.transaction() as session:
        session.execute(sa.text(statement))

"""What a volunteer served before is found for a new entry by its time, however long the history of everybody is."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from services.volunteers.commands.hours import _SPANS
from services.volunteers.service import Volunteers
from tests.support.hours import local
from tests.support.services import make_service

PEOPLE, SPANS_EACH = 50, 40
_INSERT = sa.text(
    "INSERT INTO service_spans SELECT gen_random_uuid(), volunteer, gen_random_uuid(), tstzrange(starts, ends),"
    " CAST(starts AS date), 30 FROM unnest(CAST(:volunteers AS uuid[]), CAST(:starts AS timestamptz[]),"
    " CAST(:ends AS timestamptz[])) AS new (volunteer, starts, ends)"
)
#: What is meant, spelled plainly.
_OVERLAPPING = sa.text(
    "SELECT span.entry_id FROM unnest(CAST(:volunteers AS uuid[]), CAST(:lows AS timestamptz[]),"
    " CAST(:highs AS timestamptz[])) AS wanted (volunteer_id, low, high) JOIN service_spans AS span"
    " ON span.volunteer_id = wanted.volunteer_id AND span.span && tstzrange(wanted.low, wanted.high)"
)
Window = tuple[datetime, datetime]


@pytest.fixture
def connection(database: str) -> Iterator[sa.Connection]:
    service = make_service(Volunteers, database)
    with service.runtime.db.as_owner() as connection, connection.begin_nested() as nothing_of_it:
        yield connection
        nothing_of_it.rollback()
    service.runtime.db.close()


def enter(connection: sa.Connection, spans: list[tuple[UUID, datetime, datetime]]) -> None:
    columns = zip(*spans, strict=True)
    connection.execute(_INSERT, dict(zip(("volunteers", "starts", "ends"), map(list, columns), strict=True)))


def wanted(people: list[UUID], windows: list[Window]) -> dict[str, Any]:
    return {"volunteers": people, "lows": [low for low, _ in windows], "highs": [high for _, high in windows]}


def day_of(number: int) -> Window:
    midnight = local("2026-01-01 00:00") + timedelta(days=number)
    return midnight, midnight + timedelta(days=1)


def mornings(people: list[UUID], numbers: range) -> list[tuple[UUID, datetime, datetime]]:
    begins = [(one, day_of(number)[0] + timedelta(hours=8)) for number in numbers for one in people]
    return [(one, begin, begin + timedelta(minutes=30)) for one, begin in begins]


def rows_read(connection: sa.Connection, parameters: dict[str, Any]) -> float:
    explained = connection.execute(sa.text(f"EXPLAIN (ANALYZE, FORMAT JSON) {_SPANS.text}"), parameters).scalar_one()
    plans, read = [explained[0]["Plan"]], 0.0
    while plans:
        plan = plans.pop()
        plans += plan.get("Plans", [])
        if plan.get("Relation Name") == "service_spans":
            read += (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return read


@pytest.mark.parametrize("known_to_the_planner", [0, 1, SPANS_EACH])
def test_of_a_long_history_only_the_day_of_the_entry_and_the_span_before_are_read(
    connection: sa.Connection, known_to_the_planner: int
) -> None:
    people = [uuid4() for _ in range(PEOPLE)]
    if known_to_the_planner:
        enter(connection, mornings(people, range(known_to_the_planner)))
        connection.execute(sa.text("ANALYZE service_spans"))
    if known_to_the_planner < SPANS_EACH:
        enter(connection, mornings(people, range(known_to_the_planner, SPANS_EACH)))
    for day in (0, SPANS_EACH // 2, SPANS_EACH - 1, SPANS_EACH + 10):
        assert rows_read(connection, wanted(people, [day_of(day)] * PEOPLE)) <= 2 * PEOPLE


def test_what_is_found_is_what_overlaps(connection: sa.Connection) -> None:
    chance = random.Random(20260305)
    people = [uuid4() for _ in range(PEOPLE)]
    spans = []
    for one in people:
        begin = day_of(0)[0]
        for _ in range(chance.randrange(12)):
            begin += timedelta(minutes=chance.choice((0, 0, 30, 600, 5000)))
            end = begin + timedelta(minutes=chance.choice((30, 90, 1440, 4000)))
            spans.append((one, begin, end))
            begin = end
    enter(connection, spans)
    found = 0
    for _ in range(200):
        low = day_of(0)[0] + timedelta(minutes=30 * chance.randrange(-100, 1500))
        windows = [(low, low + timedelta(minutes=chance.choice((30, 1440, 5000)))) for _ in people]
        parameters = wanted(people, windows)
        overlapping = set(connection.execute(_OVERLAPPING, parameters).scalars())
        rows = connection.execute(_SPANS, parameters).all()
        assert len(rows) == len(overlapping)
        assert {row.entry_id for row in rows} == overlapping
        found += len(rows)
    assert found > 1000

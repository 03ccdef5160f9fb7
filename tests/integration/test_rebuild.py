"""Statistics counted anew beside those in force: nothing lost, nothing half, whatever dies and whoever writes."""

# ruff: noqa: S608  (every name put into a statement is one of this module)

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from services.volunteers.commands.hours import log_hours, reverse_entries
from services.volunteers.commands.rebuild import RebuildRunning, rebuild_statistics
from services.volunteers.models import Entered
from services.volunteers.service import Volunteers
from tests.support.hours import NOW, World
from tests.support.services import client_of, deliver, fetch, make_service, recorded
from tests.support.waiting import wait_for
from xinhuo.chassis.db import Database
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.ladder import Delivery
from xinhuo.contracts import codec
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed

MODELS = ("statistics_cells", "volunteer_months")
PHASES = ("lock", "snapshot", "count", "compare", "switch", "commit")


@pytest.fixture(scope="module")
def service(database: str) -> Iterator[Volunteers]:
    service = make_service(Volunteers, database)
    yield service
    service.runtime.db.close()


@pytest.fixture
def world(service: Volunteers) -> Iterator[World]:
    """A unit with hours logged, reversed and counted; what a test broke is put right for the next one."""
    made = World(service)
    log_some(service, made, 6)
    catch_up(service)
    yield made
    catch_up(service)
    with service.runtime.db.as_owner() as session:
        session.execute(sa.text("TRUNCATE statistics_cells, volunteer_months"))
    rebuild_statistics(service.runtime.db)


def log_some(service: Volunteers, world: World, count: int) -> None:
    """Log two hours on a day of four months for some people, and take every third entry back."""
    items = [
        world.served(one, f"2026-{month:02d}-05 09:00", f"2026-{month:02d}-05 11:00")
        for one in world.add_volunteers(count)
        for month in range(1, 5)
    ]
    with service.runtime.db.transaction() as session:
        outcomes = log_hours(session, items, now=NOW)
    entries = [outcome.entry.id for outcome in outcomes if isinstance(outcome, Entered)]
    with service.runtime.db.transaction() as session:
        reverse_entries(session, entries[::3], "wrong_time", NOW)


def uncounted(service: Volunteers) -> list[Delivery]:
    """Return the events of hours that the statistics have yet to count, as they come from the broker."""
    counted = {row["event_id"] for row in fetch(service, "SELECT event_id FROM inbox WHERE handler LIKE '%statistics'")}
    return [
        Delivery(codec.encode(envelope), envelope)
        for envelope in recorded(service)
        if isinstance(envelope.data, HoursLogged | HoursReversed) and envelope.id not in counted
    ]


def catch_up(service: Volunteers) -> None:
    deliver(service, "keep_statistics", uncounted(service))


def model(service: Volunteers) -> dict[str, list[dict[str, Any]]]:
    return {
        table: fetch(service, f"SELECT * FROM {table} WHERE minutes <> 0 OR entries <> 0 ORDER BY 1, 2, 3, 4, 5")
        for table in MODELS
    }


def truth(service: Volunteers) -> dict[str, list[dict[str, Any]]]:
    """The same from the ledger, which counts everything, events on the way included."""
    keys = "served_month AS month, unit_code, team_code, category"
    sums = "CAST(sum(minutes) AS bigint) AS minutes, sum(CASE kind WHEN 'entry' THEN 1 ELSE -1 END) AS entries"
    having = "HAVING sum(minutes) <> 0"
    return {
        "statistics_cells": fetch(
            service, f"SELECT {keys}, {sums} FROM ledger_entries GROUP BY 1, 2, 3, 4 {having} ORDER BY 1, 2, 3, 4, 5"
        ),
        "volunteer_months": fetch(
            service,
            f"SELECT volunteer_id, {keys}, {sums} FROM ledger_entries"
            f" GROUP BY 1, 2, 3, 4, 5 {having} ORDER BY 1, 2, 3, 4, 5",
        ),
    }


def execute(service: Volunteers, statement: str, **parameters: Any) -> None:
    with service.runtime.db.as_owner() as connection:
        connection.execute(sa.text(statement), parameters)


def spoil(service: Volunteers, world: World) -> None:
    """Make a cell and a person's month wrong, and lose another month of everybody."""
    execute(service, "UPDATE statistics_cells SET minutes = minutes + 7 WHERE unit_code = :u AND month = '2026-01-01'",
            u=world.unit_code)  # fmt: skip
    for table in MODELS:
        execute(service, f"DELETE FROM {table} WHERE unit_code = :u AND month = '2026-02-01'", u=world.unit_code)


# --- What it finds and does -------------------------------------------------------------------------------


def test_statistics_that_are_right_are_left_as_they_are(service: Volunteers, world: World) -> None:
    before = model(service)

    result = rebuild_statistics(service.runtime.db)

    assert before == truth(service) == model(service)
    assert (result.switched, result.differing, result.first) == (
        False,
        {"statistics_cells": 0, "volunteer_months": 0},
        [],
    )
    assert result.before == result.after
    assert (result.waiting, result.unlike_log) == (0, 0)


def test_whatever_is_wrong_is_named_and_put_right(service: Volunteers, world: World) -> None:
    spoil(service, world)

    result = rebuild_statistics(service.runtime.db)

    assert model(service) == truth(service)
    assert result.switched
    assert result.differing == {"statistics_cells": 2, "volunteer_months": 4}
    wrong, lost = result.first[:2]
    assert (wrong["table"], wrong["unit_code"], str(wrong["month"])) == (
        "statistics_cells",
        world.unit_code,
        "2026-01-01",
    )
    assert wrong["minutes_before"] == wrong["minutes_after"] + 7
    assert (lost["minutes_before"], str(lost["month"])) == (0, "2026-02-01")
    assert result.after.minutes == sum(row["minutes"] for row in truth(service)["statistics_cells"])
    assert not rebuild_statistics(service.runtime.db).switched


def test_an_emptied_model_is_filled(service: Volunteers, world: World) -> None:
    execute(service, "TRUNCATE statistics_cells, volunteer_months")

    result = rebuild_statistics(service.runtime.db)

    assert model(service) == truth(service)
    assert (result.before.minutes, result.before.cells) == (0, 0)


def test_a_dry_run_tells_the_same_and_changes_nothing(service: Volunteers, world: World) -> None:
    spoil(service, world)
    before = model(service)

    told = rebuild_statistics(service.runtime.db, dry_run=True)

    assert model(service) == before
    assert not told.switched
    done = rebuild_statistics(service.runtime.db)
    assert (told.first, told.before, told.after) == (done.first, done.before, done.after)


def test_what_the_handler_has_yet_to_count_is_left_to_it(service: Volunteers, world: World) -> None:
    log_some(service, world, 3)
    on_the_way = uncounted(service)
    spoil(service, world)

    result = rebuild_statistics(service.runtime.db)

    assert result.waiting == len(on_the_way) == 16
    assert model(service) != truth(service)
    deliver(service, "keep_statistics", on_the_way)
    assert model(service) == truth(service)


def test_what_was_dropped_at_the_desk_is_told_apart_from_what_is_on_its_way(service: Volunteers, world: World) -> None:
    log_some(service, world, 3)
    on_the_way = uncounted(service)
    dropped, waits = on_the_way[:2]
    for delivery, state in ((dropped, "dropped"), (waits, "dropped"), (waits, "waiting")):
        execute(
            service,
            "INSERT INTO dead_letters (id, event_id, handler, body, body_hash, reason, error, attempts, state)"
            " VALUES (:id, :event, 'volunteers.keep_statistics', :body, :hash, 'handler.failed', '', 1, :state)",
            id=new_id(), event=delivery.envelope.id, body=delivery.body, hash=delivery.offer[1], state=state,
        )  # fmt: skip
    try:
        result = rebuild_statistics(service.runtime.db, dry_run=True)
    finally:
        execute(service, "DELETE FROM dead_letters")

    assert (result.waiting, result.dropped) == (len(on_the_way), 1)
    deliver(service, "keep_statistics", on_the_way)


def test_what_ledger_and_log_do_not_tell_alike_is_named_and_the_ledger_believed(
    service: Volunteers, world: World
) -> None:
    chosen = "SELECT id FROM outbox WHERE type = 'volunteers.hours_logged.v1' ORDER BY seq DESC LIMIT 1"
    (lost,) = fetch(service, f"SELECT * FROM outbox WHERE id = ({chosen})")
    execute(service, "DELETE FROM outbox WHERE id = :id", id=lost["id"])
    try:
        result = rebuild_statistics(service.runtime.db)
    finally:
        put_back = ("id", "aggregatetype", "aggregateid", "type", "payload", "public")
        columns = ", ".join(put_back)
        execute(service, f"INSERT INTO outbox ({columns}) VALUES ({', '.join(':' + name for name in put_back)})",
                **{name: lost[name] for name in put_back})  # fmt: skip

    assert result.first_unlike_log == [lost["aggregateid"]]
    assert result.unlike_log == 1
    assert model(service) == truth(service)


# --- While others are at work -----------------------------------------------------------------------------


@contextmanager
def reading(service: Volunteers, world: World) -> Iterator[set[int]]:
    """Read the total of the unit over HTTP, again and again; yields all that were seen."""
    seen: set[int] = set()
    stop = threading.Event()
    client = client_of(service)

    def read() -> None:
        while not stop.is_set():
            page = client.get("/v1/statistics", query_string={"group_by": "unit", "unit": world.unit_code})
            assert page.json is not None
            seen.add(page.json["totals"]["minutes"])

    with ThreadPoolExecutor(1) as threads:
        reader = threads.submit(read)
        wait_for(lambda: seen, what="a first answer")
        try:
            yield seen
        finally:
            stop.set()
            reader.result(timeout=30)


def test_readers_see_the_old_model_or_the_new_one_and_never_a_half(service: Volunteers, world: World) -> None:
    right = sum(row["minutes"] for row in model(service)["statistics_cells"] if row["unit_code"] == world.unit_code)
    execute(service, "UPDATE statistics_cells SET minutes = 0 WHERE unit_code = :u", u=world.unit_code)

    with reading(service, world) as seen:
        rebuild_statistics(service.runtime.db)
        wait_for(lambda: right in seen, what="the new model")

    assert seen == {0, right}


def test_hours_go_on_being_counted_exactly_in_every_phase(service: Volunteers, world: World) -> None:
    spoil(service, world)
    log_some(service, world, 10)
    waiting = uncounted(service)
    random.Random(2).shuffle(waiting)
    shares = [waiting[number :: len(PHASES)] for number in range(len(PHASES))]
    stop = threading.Event()

    def write(part: list[Delivery]) -> None:
        for start in range(0, len(part), 5):
            deliver(service, "keep_statistics", part[start : start + 5] * 2)

    def between(phase: str) -> None:
        if phase in PHASES and phase != "commit":  # then the rows are locked, and this thread would wait for itself
            write(shares[PHASES.index(phase)])

    with ThreadPoolExecutor(2) as threads:
        beside = threads.submit(write, shares[-1])
        result = rebuild_statistics(service.runtime.db, on_phase=between)
        beside.result(timeout=60)
    stop.set()

    assert result.switched
    assert model(service) == truth(service)
    assert not rebuild_statistics(service.runtime.db).switched


def test_many_rebuilds_in_a_row_under_two_writers_keep_every_total_exact(service: Volunteers, world: World) -> None:
    log_some(service, world, 12)
    events = uncounted(service)
    random.Random(5).shuffle(events)

    def write(part: list[Delivery]) -> None:
        for start in range(0, len(part), 3):
            deliver(service, "keep_statistics", part[start : start + 3])

    with ThreadPoolExecutor(2) as threads:
        writers = [threads.submit(write, events[start::2]) for start in (0, 1)]
        rounds = 0
        while not all(writer.done() for writer in writers):
            spoil(service, world)
            rebuild_statistics(service.runtime.db)
            rounds += 1
        for writer in writers:
            writer.result(timeout=60)

    assert rounds >= 1
    assert model(service) == truth(service)


def test_a_second_rebuild_at_once_is_refused(service: Volunteers, world: World, database: str) -> None:
    other = make_service(Volunteers, database)
    refused: list[RebuildRunning] = []

    def again(phase: str) -> None:
        if phase == "count":
            with pytest.raises(RebuildRunning) as caught:
                rebuild_statistics(other.runtime.db)
            refused.append(caught.value)

    spoil(service, world)
    result = rebuild_statistics(service.runtime.db, on_phase=again)
    other.runtime.db.close()

    assert result.switched
    assert "正在重建" in refused[0].zh
    assert model(service) == truth(service)


# --- Killed -------------------------------------------------------------------------------------------------

_DIES = """
import os, signal, sys
from services.volunteers.commands.rebuild import rebuild_statistics
from xinhuo.chassis.db import Database

db = Database(sys.argv[1], "volunteers")
rebuild_statistics(db, on_phase=lambda phase: phase == sys.argv[2] and os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.parametrize("phase", PHASES)
def test_killed_in_any_phase_it_leaves_the_old_model_in_force_and_can_be_run_again(
    service: Volunteers, world: World, phase: str
) -> None:
    spoil(service, world)
    before = model(service)

    killed = subprocess.run([sys.executable, "-c", _DIES, service.runtime.db.url, phase], timeout=60, check=False)

    assert killed.returncode == -signal.SIGKILL
    assert model(service) == before
    done = wait_for(lambda: attempt(service.runtime.db), 30, "the server to notice that the first one is gone")
    assert done.switched
    assert model(service) == truth(service)
    # The killed one's session gives its lock back before it removes its tables.
    wait_for(lambda: temporary_tables(service) == [], 30, "no temporary table to be left")


def attempt(db: Database) -> Any:
    try:
        return rebuild_statistics(db)
    except RebuildRunning:
        return None


def temporary_tables(service: Volunteers) -> list[UUID]:
    return [row["relname"] for row in fetch(service, "SELECT relname FROM pg_class WHERE relpersistence = 't'")]

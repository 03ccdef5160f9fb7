"""Metrics say what happened: real values of real work, and nothing of what was taken back."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY, CollectorRegistry, Counter
from werkzeug.test import Client

from services.notify.service import Notify
from services.volunteers.service import Volunteers
from tests.support.hours import World
from tests.support.identity import let_in
from tests.support.services import deliver, delivery_of, make_service
from tests.support.waiting import wait_for
from xinhuo.chassis import counted, metrics, outbox
from xinhuo.chassis.db import Database, DatabaseUnavailable, Session
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.ladder import Delivery
from xinhuo.chassis.topology import routing_key
from xinhuo.chassis.web.app import HttpApp
from xinhuo.chassis.wire import Incoming
from xinhuo.chassis.worker import Worker
from xinhuo.contracts import codec
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed


@pytest.fixture(scope="module")
def volunteers(database: str) -> Iterator[Volunteers]:
    service = make_service(Volunteers, database)
    yield service
    service.runtime.db.close()


@pytest.fixture(scope="module")
def notify(database: str) -> Iterator[Notify]:
    service = make_service(Notify, database)
    yield service
    service.runtime.db.close()


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def grown(name: str, work: Callable[[], object], **labels: str) -> float:
    """Return by how much a counter grows while something is done."""
    before = value(name, **labels) or 0.0
    work()
    return (value(name, **labels) or 0.0) - before


def hours(minutes: int = 90) -> dict[str, Any]:
    return {
        "entry_id": new_id(), "volunteer_id": uuid4(), "team_code": "T-1", "unit_code": "U-1",
        "activity_id": uuid4(), "category": "culture", "served_on": date(2026, 3, 5), "minutes": minutes,
    }  # fmt: skip


# Counters of what a transaction does


@pytest.fixture
def counter() -> Counter:
    return Counter("apples", "Counted in a test.", ["kind"], registry=CollectorRegistry())


def counted_so_far(counter: Counter) -> float:
    (metric,) = counter.collect()
    return sum(sample.value for sample in metric.samples if sample.name.endswith("_total"))


def test_what_is_counted_shows_once_it_is_committed(volunteers: Volunteers, counter: Counter) -> None:
    with volunteers.runtime.db.transaction() as session:
        counted.count(session, counter, ("red",), 3)
        assert counted_so_far(counter) == 0
    assert counted_so_far(counter) == 3


def test_what_is_rolled_back_is_not_counted(volunteers: Volunteers, counter: Counter) -> None:
    with contextlib.suppress(ZeroDivisionError), volunteers.runtime.db.transaction() as session:
        counted.count(session, counter, ("red",), 3)
        raise ZeroDivisionError
    assert counted_so_far(counter) == 0


def test_of_savepoints_only_those_that_stay_are_counted(volunteers: Volunteers, counter: Counter) -> None:
    with volunteers.runtime.db.transaction() as session:
        with session.begin_nested():
            counted.count(session, counter, ("red",), 1)
        assert counted_so_far(counter) == 0
        with contextlib.suppress(ZeroDivisionError), session.begin_nested():
            counted.count(session, counter, ("red",), 10)
            raise ZeroDivisionError
        counted.count(session, counter, ("red",), 100)
    assert counted_so_far(counter) == 101


def test_a_rehearsal_counts_nothing(volunteers: Volunteers, counter: Counter) -> None:
    with volunteers.runtime.db.transaction() as session, outbox.rehearsal(session), session.begin_nested():
        counted.count(session, counter, ("red",), 5)
    assert counted_so_far(counter) == 0


# Of the campaign


def test_minutes_are_counted_as_they_go_into_the_statistics_and_once(volunteers: Volunteers) -> None:
    facts = [hours(90), hours(45)]
    logged = [delivery_of(HoursLogged(**one)) for one in facts]
    taken = {name: facts[1][name] for name in HoursReversed.__struct_fields__ if name in facts[1]}
    back = delivery_of(HoursReversed(**taken, reversal_id=new_id(), reason_code="duplicate"))
    work: list[Delivery] = [*logged, back]

    def twice() -> None:
        for _ in range(2):
            deliver(volunteers, "keep_statistics", work)

    before = value("xinhuo_service_minutes_total", kind="reversed") or 0.0
    assert grown("xinhuo_service_minutes_total", twice, kind="logged") == 135
    assert value("xinhuo_service_minutes_total", kind="reversed") == before + 45


def test_a_batch_that_fails_adds_no_minutes(volunteers: Volunteers, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = volunteers.keep_statistics

    def fails(session: Session, envelopes: Any) -> None:
        kept(session, envelopes)
        raise ZeroDivisionError

    monkeypatch.setattr(volunteers, "keep_statistics", fails)

    def work() -> None:
        deliver(volunteers, "keep_statistics", [delivery_of(HoursLogged(**hours()))])

    assert grown("xinhuo_service_minutes_total", work, kind="logged") == 0


def test_messages_are_counted_by_what_became_of_them(notify: Notify) -> None:
    new = delivery_of(HoursLogged(**hours()))
    old = Delivery(new.body, replace_envelope(delivery_of(HoursLogged(**hours())).envelope))

    def work() -> None:
        deliver(notify, "acknowledge_hours", [new, old])

    restored = value("xinhuo_messages_sent_total", channel="inbox", outcome="restored") or 0.0
    assert grown("xinhuo_messages_sent_total", work, channel="inbox", outcome="written") == 1
    assert value("xinhuo_messages_sent_total", channel="inbox", outcome="restored") == restored + 1


def replace_envelope(envelope: codec.Envelope) -> codec.Envelope:
    return msgspec.structs.replace(envelope, replayed=True)


def test_replayed_events_have_no_age(notify: Notify) -> None:
    events = [delivery_of(HoursLogged(**hours())) for _ in range(3)]
    events[0] = Delivery(events[0].body, replace_envelope(events[0].envelope))

    def work() -> None:
        deliver(notify, "acknowledge_hours", events)

    labels = {"service": "notify", "handler": "notify.acknowledge_hours"}
    assert grown("xinhuo_event_age_seconds_count", work, **labels) == 2


def test_figures_are_shown_by_the_leading_worker_only(volunteers: Volunteers) -> None:
    World(volunteers).add_volunteers(3)
    deliver(volunteers, "keep_statistics", [delivery_of(HoursLogged(**hours(75)))])
    with volunteers.runtime.db.transaction() as session:
        found = dict(session.execute(sa.text("SELECT state, count(*) FROM volunteers GROUP BY state")).all())  # type: ignore[arg-type]
        minutes = session.scalar(sa.text("SELECT sum(minutes) FROM statistics_cells"))
    worker = Worker(volunteers)

    worker._show_figures()
    assert all(value("xinhuo_volunteers_registered", state=state) is None for state in found)

    worker.leads = lambda: True
    worker._show_figures()
    assert found
    assert {state: value("xinhuo_volunteers_registered", state=state) for state in found} == found
    assert value("xinhuo_statistics_minutes", service="volunteers") == minutes >= 75

    worker.leads = lambda: False
    worker._show_figures()
    assert all(value("xinhuo_volunteers_registered", state=state) is None for state in found)


# Of the process


def test_connections_in_use_are_counted_when_somebody_asks(volunteers: Volunteers) -> None:
    db = volunteers.runtime.db
    metrics.show_pool("of-a-test", db.engine, 10)
    at_rest = value("xinhuo_db_pool_in_use", service="of-a-test")
    with db.engine.connect(), db.engine.connect():
        assert value("xinhuo_db_pool_in_use", service="of-a-test") == (at_rest or 0.0) + 2
    assert value("xinhuo_db_pool_in_use", service="of-a-test") == at_rest == 0.0


def test_whoever_waits_for_a_connection_in_vain_is_counted(database: str) -> None:
    db = Database(database, "volunteers", pool=1)
    db.engine.pool._timeout = 0.05  # type: ignore[attr-defined]

    def work() -> None:
        with db.engine.connect(), pytest.raises(DatabaseUnavailable), db.transaction() as session:
            session.execute(sa.text("SELECT 1"))

    assert grown("xinhuo_db_pool_timeouts_total", work, service="volunteers") == 1
    db.close()


def test_a_worker_at_a_batch_is_busy(volunteers: Volunteers, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float | None] = []

    def handle(_session: Session, _envelopes: Any) -> None:
        seen.append(value("xinhuo_workers_busy", service="volunteers", kind="handler"))

    worker = Worker(volunteers)
    event = delivery_of(HoursLogged(**hours()))
    message = Incoming(
        body=event.body, content_type=codec.CONTENT_TYPE, content_encoding=None, type=event.envelope.type,
        message_id=str(event.envelope.id), routing_key=routing_key(event.envelope.type), headers={},
    )  # fmt: skip
    monkeypatch.setitem(worker.handlers, "volunteers.keep_statistics", handle)
    assert worker.receive("keep_statistics", [message]) == [None]

    assert seen == [1]
    assert value("xinhuo_workers_busy", service="volunteers", kind="handler") == 0


def test_a_worker_at_a_request_is_busy_even_when_it_fails(
    volunteers: Volunteers, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float | None] = []

    def fails(_session: Session, **_inputs: Any) -> None:
        seen.append(value("xinhuo_workers_busy", service="volunteers", kind="http"))
        raise ZeroDivisionError

    monkeypatch.setattr(volunteers, "teams", fails)
    assert Client(HttpApp(volunteers, enter=let_in)).get("/v1/teams").status_code == 500

    assert seen == [1]
    assert value("xinhuo_workers_busy", service="volunteers", kind="http") == 0


def test_the_revision_of_the_tables_is_shown_as_it_changes(database: str) -> None:
    service = make_service(Notify, database)
    service.runtime = replace(service.runtime, expected_revision="9999")
    worker = Worker(service)
    try:
        worker._show_revision()
        (shown,) = revisions("notify")
        assert (shown["expected"], shown["works"]) == ("9999", "no")
        with service.runtime.db.as_owner() as owner:
            now = owner.execute(sa.text("UPDATE alembic_version SET version_num = '9999' RETURNING 1")).scalar()
            assert now == 1
        worker._show_revision()
        assert revisions("notify") == [{"service": "notify", "expected": "9999", "found": "9999", "works": "yes"}]
    finally:
        with service.runtime.db.as_owner() as owner:
            owner.execute(sa.text("UPDATE alembic_version SET version_num = :was"), {"was": shown["found"]})
        service.runtime.db.close()


def revisions(service: str) -> list[dict[str, str]]:
    return [
        sample.labels
        for metric in REGISTRY.collect() if metric.name == "xinhuo_schema_revision_info"
        for sample in metric.samples if sample.labels["service"] == service
    ]  # fmt: skip


def test_every_worker_knows_when_a_job_last_ended_well_whoever_did_it(volunteers: Volunteers) -> None:
    with volunteers.runtime.db.transaction() as session:
        session.execute(sa.text("DELETE FROM jobs WHERE name = 'make_partitions'"))
        session.execute(
            sa.text(
                "INSERT INTO jobs (name, period_start, finished_at) VALUES"
                " ('make_partitions', '2026-03-05 00:00Z', '2026-03-05 00:01Z'),"
                " ('make_partitions', '2026-03-06 00:00Z', NULL)"
            )
        )
    Worker(volunteers)._refresh_gauges()
    at = value("xinhuo_job_last_success_timestamp_seconds", service="volunteers", job="make_partitions")
    assert at == 1772668860  # of the period that ended, not of the one that is open


def test_housekeeping_shows_how_often_each_job_is_due(notify: Notify) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=Worker(notify).housekeep, args=(stop,), daemon=True)
    thread.start()
    wait_for(lambda: value("xinhuo_job_period_seconds", service="notify", job="make_partitions"), 10, "its period")
    stop.set()
    thread.join(20)
    assert value("xinhuo_job_period_seconds", service="notify", job="make_partitions") == 86400


# All of them


def test_every_metric_is_declared_with_its_meaning_in_both_languages() -> None:
    names = {metric.name for metric in metrics.declared()}
    registered = {name for name in REGISTRY._names_to_collectors if name.startswith("xinhuo_")}  # type: ignore[attr-defined]
    kept = {collector._name for collector in {REGISTRY._names_to_collectors[name] for name in registered}}  # type: ignore[attr-defined]

    assert len(names) > 25
    assert {name.removesuffix("_total") for name in names} == kept
    for metric in metrics.declared():
        assert metric.en.isascii(), metric
        assert metric.en.endswith("."), metric
        assert any("一" <= letter <= "鿿" for letter in metric.zh), metric

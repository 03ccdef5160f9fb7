"""Delivery, de-duplication, batches and jobs."""

import time
from collections import Counter

import pytest

from tests.conformance.house import PATIENCE, House, Running, word
from tests.conformance.service import EXCHANGE, KEY, LARGEST_BATCH, QUEUE
from tests.integration.traps.broker import Broker
from tests.support.waiting import wait_for


def test_events_recorded_by_a_request_have_their_effect_once(house: House, bench: Running) -> None:
    ok = word()
    assert bench.ask("POST", "/v1/events", {"word": ok, "count": 300}).status == 201
    house.wait_until_seen(ok, 300)
    house.wait_until_settled()
    assert house.seen(ok) == 300
    assert house.rows("SELECT count(DISTINCT event_id) FROM seen WHERE word = :w", w=ok)[0][0] == 300


def test_each_event_gets_the_next_position_when_it_is_published(house: House, bench: Running) -> None:
    kind = word("placed")
    house.wait_until_settled()
    house.record(*[f"{kind}-{number}" for number in range(20)])
    house.wait_until_settled()
    found = house.rows(
        "SELECT position FROM outbox WHERE convert_from(payload, 'UTF8') LIKE :like ORDER BY seq", like=f"%{kind}%"
    )
    positions = [row.position for row in found]
    assert positions == list(range(positions[0], positions[0] + 20))


def test_events_that_are_published_again_change_nothing(house: House, bench: Running) -> None:
    kind = word("twice")
    names = [f"{kind}-{number}" for number in range(60)]
    house.record(*names)
    wait_for(lambda: sum(house.seen(name) for name in names) == 60, PATIENCE, "every effect")
    house.wait_until_settled()
    before = duplicates(bench)
    for _ in range(2):
        assert house.send_again(kind) == 60
        house.wait_until_settled()
    wait_for(lambda: duplicates(bench) >= before + 120, PATIENCE, "the handler to have met all of them again")
    assert Counter(house.seen(name) for name in names) == {1: 60}


def duplicates(bench: Running) -> float:
    lines = bench.ask("GET", "/metrics").body.decode().splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("xinhuo_events_consumed_total{") and 'outcome="duplicate"' in line
    )


def test_the_same_id_with_another_body_is_a_dead_letter(house: House, bench: Running) -> None:
    first, other = word("first"), word("other")
    house.record(first)
    house.wait_until_seen(first)
    house.wait_until_published()
    house.rows(
        "UPDATE outbox SET published_at = NULL, position = NULL,"
        " payload = convert_to(replace(convert_from(payload, 'UTF8'), :first, :other), 'UTF8')"
        " WHERE convert_from(payload, 'UTF8') LIKE '%' || :first || '%'", first=first, other=other,
    )  # fmt: skip
    wait_for(lambda: house.dead(other), PATIENCE, "the dead letter")
    assert [tuple(row) for row in house.dead(other)] == [(QUEUE, "event.id_conflict")]
    assert house.seen(other) == 0


def test_many_events_are_handled_in_batches_of_the_marked_size_at_most(house: House, bench: Running) -> None:
    many = word("many")
    house.record(*[many] * 400)
    house.wait_until_seen(many, 400)
    sizes = [row.size for row in house.rows("SELECT size FROM batches WHERE word = :w ORDER BY number", w=many)]
    assert sum(sizes) == 400
    assert max(sizes) == LARGEST_BATCH


def test_an_event_alone_does_not_wait_for_others(house: House, bench: Running) -> None:
    house.wait_until_settled()
    ok = word()
    began = time.monotonic()
    house.record(ok)
    house.wait_until_seen(ok)
    assert time.monotonic() - began < 2


@pytest.mark.needs("prefetch ramp")
def test_after_each_connect_the_first_message_comes_alone(house: House, broker: Broker) -> None:
    house.rest()
    for number in range(40):
        broker.publish_event(f"ramp-{number}")
    with house.running("worker"):
        wait_for(lambda: house.seen("ramp-39"), PATIENCE, "every effect")
    sizes = [row.size for row in house.rows("SELECT size FROM batches WHERE word LIKE 'ramp-%' ORDER BY number")]
    assert sizes[:3] == [1, 2, 4]


def test_a_job_runs_once_a_period_and_one_that_fails_stops_nothing(house: House, bench: Running) -> None:
    house.rows("DELETE FROM ticks")
    wait_for(lambda: house.rows("SELECT count(*) FROM ticks")[0][0] >= 2, PATIENCE, "two periods")
    assert crowded_periods(house) == []
    bench.wait_until_said("job_failed")
    ok = word()
    house.record(ok)
    house.wait_until_seen(ok)


def crowded_periods(house: House) -> list[object]:
    """Return the periods in which the job ran more than once."""
    return house.rows(
        "SELECT date_bin('2 s', at, TIMESTAMPTZ '2000-01-01') AS period FROM ticks GROUP BY 1 HAVING count(*) > 1"
    )


@pytest.mark.needs("several processes")
def test_two_processes_share_the_events_and_the_jobs_and_only_one_relays(house: House) -> None:
    shared = word("slow")
    house.rest()
    house.rows("DELETE FROM ticks")
    with house.running("worker") as one:
        two = house.spawn("worker").wait_until_ready()
        house.record(*[shared] * 3, *[word() for _ in range(200)])
        house.wait_until_seen(shared, 3)
        house.wait_until_settled()
        wait_for(lambda: house.rows("SELECT count(*) FROM ticks")[0][0] >= 2, PATIENCE, "two periods")
        assert crowded_periods(house) == []
        active = [running for running in (one, two) if "relay_active" in running.output]
        assert len(active) == 1
        active[0].kill()
        standby = two if active[0] is one else one
        late = word("late")
        house.record(late)
        house.wait_until_seen(late)
        assert "relay_active" in standby.output
        standby.terminate()
        assert standby.wait() == 0
    assert house.rows("SELECT word FROM seen GROUP BY word, event_id HAVING count(*) > 1") == []


@pytest.mark.needs("unroutable events")
def test_an_event_that_no_queue_takes_stays_in_the_outbox_until_one_does(
    house: House, bench: Running, broker: Broker
) -> None:
    house.wait_until_settled()
    lost = word("lost")
    broker.channel.queue_unbind(QUEUE, EXCHANGE, KEY)
    house.record(lost)
    bench.wait_until_said("event_unroutable")
    assert house.rows("SELECT count(*) FROM outbox WHERE published_at IS NULL")[0][0] == 1
    broker.channel.queue_bind(QUEUE, EXCHANGE, KEY)
    house.wait_until_seen(lost)


@pytest.mark.needs("heartbeats")
def test_a_handler_that_takes_longer_than_the_broker_waits_for_heartbeats_keeps_its_connection(house: House) -> None:
    long = word("long")
    with house.running("worker", TEST_HEARTBEAT="2") as worker:
        house.record(long)
        worker.wait_until_said(f"began {long}")
        house.wait_until_seen(long)
        ok = word()
        house.record(ok)
        house.wait_until_seen(ok)
        assert worker.output.count(f"began {long}") == 1, "it did not come again"
        lost = [line for line in worker.output.splitlines() if "consumer_waits" in line and QUEUE in line]
        assert lost == [], "the connection was not lost"

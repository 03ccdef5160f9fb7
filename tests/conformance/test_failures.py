"""The failure ladder, dead letters and outages."""

import pytest

from tests.conformance.house import PATIENCE, House, Running, word
from tests.conformance.service import DEAD_QUEUE, EXCHANGE, KEY, QUEUE
from tests.integration.traps.broker import Broker
from tests.support.waiting import wait_for
from xinhuo.contracts.volunteers import HoursLogged

STEPS = (10, 60, 600)
#: After so many times more the broker calls a message dead.
ONE_TOO_OFTEN = 21


def test_one_event_that_fails_is_parked_and_the_others_of_its_batch_have_their_effect(
    house: House, bench: Running
) -> None:
    bad, good = word("raise"), word()
    house.record(*[good] * 10, bad, *[good] * 10)
    house.wait_until_seen(good, 20)
    (parked,) = wait_for(lambda: house.parked(bad), PATIENCE, "the parking")
    assert (parked.attempts, parked.reason) == (1, "handler.failed")
    assert 0 < parked.wait <= STEPS[0]
    assert house.seen(bad) == 0
    assert house.dead(bad) == []


def test_a_parked_event_is_tried_again_when_its_time_has_come(house: House, bench: Running) -> None:
    bad = word("raise")
    house.record(bad)
    wait_for(lambda: house.parked(bad), PATIENCE, "the parking")
    house.rows("INSERT INTO mended (word) VALUES (:w)", w=bad)
    house.make_due()
    house.wait_until_seen(bad)
    assert house.parked(bad) == []


def test_after_three_retries_it_is_a_dead_letter(house: House, bench: Running) -> None:
    bad = word("raise")
    house.record(bad)
    for attempt, seconds in enumerate(STEPS, 1):
        (parked,) = wait_for(
            lambda attempt=attempt: [row for row in house.parked(bad) if row.attempts == attempt],
            PATIENCE, f"attempt {attempt}",
        )  # fmt: skip
        assert seconds / 2 < parked.wait <= seconds
        house.make_due()
    wait_for(lambda: house.dead(bad), PATIENCE, "the dead letter")
    assert [tuple(row) for row in house.dead(bad)] == [(QUEUE, "handler.failed")]
    assert house.parked(bad) == []
    assert house.seen(bad) == 0


def test_an_event_that_can_never_be_right_is_a_dead_letter_at_once(house: House, bench: Running) -> None:
    bad, good = word("never"), word()
    house.record(bad, good)
    house.wait_until_seen(good)
    wait_for(lambda: house.dead(bad), PATIENCE, "the dead letter")
    assert [tuple(row) for row in house.dead(bad)] == [(QUEUE, "bench.never_right")]
    assert house.parked(bad) == []


@pytest.mark.parametrize(
    ("payload", "code"), [("no event", "event.undecodable"), ('{"id": 1}', "event.envelope_incomplete")]
)
def test_what_cannot_be_read_is_a_dead_letter_and_the_next_has_its_effect(
    house: House, bench: Running, payload: str, code: str
) -> None:
    house.wait_until_settled()
    mark, good = word("broken"), word()
    house.record(mark)
    house.wait_until_seen(mark)
    house.wait_until_published()
    before = len(dead_bodies(house, payload))
    house.rows(
        "UPDATE outbox SET payload = convert_to(:payload, 'UTF8'), published_at = NULL, position = NULL"
        " WHERE convert_from(payload, 'UTF8') LIKE '%' || :mark || '%'", payload=payload, mark=mark,
    )  # fmt: skip
    wait_for(lambda: len(dead_bodies(house, payload)) > before, PATIENCE, "the dead letter")
    house.record(good)
    house.wait_until_seen(good)
    assert [tuple(row) for row in dead_bodies(house, payload)] == [(QUEUE, code)]
    house.wait_until_published()  # else it may go out again beside events of the next test


def dead_bodies(house: House, payload: str) -> list[object]:
    return house.rows(
        "SELECT handler, reason FROM dead_letters WHERE body = convert_to(:payload, 'UTF8')", payload=payload
    )


@pytest.mark.needs("the broker's dead-letter queue")
def test_what_a_stranger_sends_is_a_dead_letter_by_way_of_the_brokers_queue(
    house: House, bench: Running, broker: Broker
) -> None:
    stranger = word("stranger").encode()
    broker.publish(EXCHANGE, KEY, stranger, content_type="text/plain", message_id="1", type=HoursLogged.topic)
    wait_for(lambda: house.dead(stranger.decode()), PATIENCE, "the dead letter")
    assert [tuple(row) for row in house.dead(stranger.decode())] == [(QUEUE, "event.undecodable")]
    wait_for(lambda: broker.ready(QUEUE) == broker.ready(DEAD_QUEUE) == 0, PATIENCE, "both queues to be empty")


@pytest.mark.needs("delivery limit")
def test_what_came_back_too_often_is_a_dead_letter_of_its_own_kind(house: House, broker: Broker) -> None:
    house.rest()
    tired = word("tired")
    broker.publish_event(tired)
    for _ in range(ONE_TOO_OFTEN):
        message = wait_for(lambda: broker.channel.basic_get(QUEUE), PATIENCE, "the message")
        broker.channel.basic_reject(message.delivery_tag, requeue=True)
    with house.running("worker"):
        wait_for(lambda: house.dead(tired), PATIENCE, "the dead letter")
    assert [tuple(row) for row in house.dead(tired)] == [(QUEUE, "event.delivery_limit")]
    assert house.seen(tired) == 0


def test_an_outage_of_the_database_is_no_failure_of_the_event(house: House, bench: Running) -> None:
    slow, good = word("slow"), word()
    house.record(slow, good)
    bench.wait_until_said(f"began {slow}")
    assert house.cut_connections() > 0
    house.wait_until_seen(slow)
    house.wait_until_seen(good)
    house.wait_until_settled()
    assert (house.seen(slow), house.seen(good)) == (1, 1)
    assert house.parked(slow) == house.dead(slow) == []


def test_connections_cut_again_and_again_under_load_lose_nothing_and_double_nothing(
    house: House, bench: Running
) -> None:
    kind = word("cut")
    for number in range(4):
        house.record(*[f"{kind}-{number}"] * 60)
        house.cut_connections()
    for number in range(4):
        house.wait_until_seen(f"{kind}-{number}", 60)
    assert house.rows("SELECT count(DISTINCT event_id) FROM seen WHERE word LIKE :w", w=f"{kind}%")[0][0] == 240
    assert house.parked(kind) == house.dead(kind) == []


@pytest.mark.needs("stall watchdog")
def test_a_handler_that_hangs_is_named_by_the_watchdog(house: House) -> None:
    hanging = word("compute")
    with house.running("worker", TEST_STALL="1") as worker:
        house.record(hanging)
        worker.wait_until_said("_stalled")
        line = next(line for line in worker.output.splitlines() if "_stalled" in line)
        assert "service.py" in line, "it says where"
        house.wait_until_seen(hanging)
        worker.terminate()
        assert worker.wait() == 0


def test_a_batch_with_a_broken_member_gives_the_others_their_effect(house: House, bench: Running) -> None:
    """As the relay sends them when much is to do: several events in one message."""
    kind = word("joined")
    names = [f"{kind}-{number}" for number in range(30)]
    house.record(*names)
    wait_for(lambda: sum(house.seen(name) for name in names) == 30, PATIENCE, "every effect")
    set_field(house, names[7], "time", "2999-01-01T00:00:00Z")
    set_field(house, names[7], "id", "01990000-0000-7000-8000-000000000001")  # else it is known already
    house.rows("DELETE FROM inbox")
    house.rows("DELETE FROM seen")
    house.send_again(kind)
    wait_for(lambda: sum(house.seen(name) for name in names) == 29, PATIENCE, "the others' effect")
    assert house.seen(names[7]) == 0
    wait_for(lambda: house.dead(names[7]), PATIENCE, "the dead letter")
    assert [tuple(row) for row in house.dead(names[7])] == [(QUEUE, "event.time_in_future")]


def set_field(house: House, name: str, field: str, value: str) -> None:
    """Change a field of the recorded event that says a name."""
    house.rows(
        "UPDATE outbox SET payload = convert_to(regexp_replace(convert_from(payload, 'UTF8'), :found, :wanted), 'UTF8')"
        " WHERE position(convert_to(:name, 'UTF8') in payload) > 0",
        found=f'"{field}":"[^"]*"', wanted=f'"{field}":"{value}"', name=f'"{name}"',
    )  # fmt: skip

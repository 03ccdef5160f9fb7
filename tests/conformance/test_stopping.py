"""Stopping in good order, and being killed."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conformance.house import PATIENCE, Answer, House, Running, word
from tests.conformance.service import QUEUE
from tests.integration.traps.broker import Broker
from tests.support.processes import LOOPBACK
from tests.support.waiting import wait_for

PROMPT = 5


@contextmanager
def asking(running: Running, path: str, *bodies: dict[str, object]) -> Iterator[list[Answer]]:
    """Send requests at the same time while the block runs; the answers are there after it."""
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda body=body: answers.append(running.ask("POST", path, body)), daemon=True)
        for body in bodies
    ]
    for thread in threads:
        thread.start()
    yield answers
    for thread in threads:
        thread.join(PATIENCE)


def test_an_idle_process_stops_at_once(house: House) -> None:
    with house.running() as running:
        asked = time.monotonic()
        running.terminate()
        assert running.wait() == 0
        assert time.monotonic() - asked < PROMPT


@pytest.mark.needs("one role")
@pytest.mark.parametrize("role", ["api", "worker"])
def test_each_role_alone_is_ready_and_stops_at_once(house: House, role: str) -> None:
    with house.running(role) as running:
        assert running.ask("GET", "/healthz").status == 200
        answer = running.ask("POST", "/v1/words", {"word": word()})
        assert answer.status == (201 if role == "api" else 404)
        asked = time.monotonic()
        running.terminate()
        assert running.wait() == 0
        assert time.monotonic() - asked < PROMPT


def test_what_a_handler_is_at_when_told_to_stop_is_finished(house: House) -> None:
    slow = word("slow")
    with house.running() as running:
        house.record(slow)
        running.wait_until_said(f"began {slow}")
        running.terminate()
        assert running.wait() == 0
    assert house.seen(slow) == 1


@pytest.mark.needs("acknowledgements")
def test_what_was_finished_is_acknowledged_and_what_was_not_begun_is_left(house: House, broker: Broker) -> None:
    house.rest()
    slow, ok = word("slow"), word()
    with house.running("worker") as running:
        broker.publish_event(slow)
        for _ in range(5):
            broker.publish_event(ok)
        running.wait_until_said(f"began {slow}")
        running.terminate()
        assert running.wait() == 0
    assert house.seen(slow) == 1
    assert broker.left(QUEUE) == 5 - house.seen(ok), "done and still in the queue, or neither"
    while message := broker.take(QUEUE):
        assert not message.delivery_info["redelivered"], "nothing that a handler got was given back"


def test_a_request_in_flight_is_answered_and_then_nobody_listens(house: House) -> None:
    slow = word("slow")
    with house.running() as running:
        with asking(running, "/v1/words", {"word": slow}) as answers:
            wait_for(lambda: in_progress(house, "pg_sleep"), PATIENCE, "the request to be worked on")
            running.terminate()
        assert [answer.status for answer in answers] == [201]
        assert running.wait() == 0
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((LOOPBACK, running.port), timeout=5)
    assert house.rows("SELECT count(*) FROM answers WHERE word = :w", w=slow)[0][0] == 1


def in_progress(house: House, text: str) -> int:
    found = house.rows_of_owner(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%' || :text || '%'"
        " AND datname = current_database() AND pid <> pg_backend_pid()", text=text,
    )  # fmt: skip
    return int(found[0][0])


def test_a_stop_that_takes_too_long_comes_to_an_end(house: House) -> None:
    long = word("long")
    with house.running(XINHUO_DRAIN_SECONDS="1") as running:
        with asking(running, "/v1/words", {"word": word("slow")}):
            wait_for(lambda: in_progress(house, "pg_sleep"), PATIENCE, "the request to be worked on")
            running.terminate()
        running.wait(15)
    with house.running():
        house.record(long)
        house.wait_until_seen(long)


def test_events_recorded_right_before_the_stop_have_their_effect_after_the_next_start(house: House) -> None:
    ok = word()
    with house.running() as running:
        assert running.ask("POST", "/v1/events", {"word": ok, "count": 300}).status == 201
        running.terminate()
        assert running.wait() == 0
    house.shared()
    house.wait_until_seen(ok, 300)


def test_killed_in_the_middle_it_loses_nothing_and_doubles_nothing(house: House) -> None:
    kind = word("killed")
    slow = word("slow")
    for number in range(3):
        with house.running() as running:
            assert running.ask("POST", "/v1/events", {"word": f"{kind}-{number}", "count": 100}).status == 201
            house.record(slow)
            running.wait_until_said(f"began {slow}")
            running.kill()
    house.shared()
    for number in range(3):
        house.wait_until_seen(f"{kind}-{number}", 100)
    house.wait_until_seen(slow, 3)
    assert house.rows("SELECT 1 FROM seen GROUP BY event_id HAVING count(*) > 1") == []


def test_a_taken_port_is_said_and_ends_the_process(house: House) -> None:
    first = house.shared()
    second = house.spawn(port=first.port)
    assert second.wait() != 0
    assert "taken" in second.output or "in use" in second.output
    assert {first.ask("GET", "/healthz").status for _ in range(5)} == {200}

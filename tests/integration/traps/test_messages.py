"""Rows 1, 2 and 4 of the traps: when a message is acknowledged, and what becomes of one that fails."""

import json

from tests.integration.traps.broker import Broker
from tests.integration.traps.running import running
from tests.integration.traps.services import fetch, seen
from tests.support.waiting import wait_for
from xinhuo.chassis.db import Database

COUNT, DEAD = "tally.count", "tally.dead"
CANARY = "canary-of-a-person"


def sell(broker: Broker, note: str = "sale") -> None:
    broker.publish("shop.events", "sold", json.dumps(note).encode())


def listen(broker: Broker, service: str) -> str:
    """Declare the queue that nameko makes for a service's handler, so that nothing is published too early."""
    queue = f"evt-shop-sold--{service}.note"
    broker.declare(queue, "shop.events", "sold")
    return queue


def test_01_plain_nameko_acknowledges_a_message_whose_handler_raised_and_it_is_gone(
    broker: Broker, amqp_uri: str
) -> None:
    queue = listen(broker, "raises")
    with running("plain", "Raises", AMQP_URI=amqp_uri) as plain:
        sell(broker)
        plain.wait_until_said("error handling worker")
        sell(broker, "the next")
        plain.wait_until_said("error handling worker", times=2)
        plain.terminate()
        plain.wait_until_ended()
    assert broker.left(queue) == 0


def test_01_plain_nameko_with_requeue_on_error_spins(broker: Broker, amqp_uri: str) -> None:
    listen(broker, "requeues")
    with running("plain", "Requeues", AMQP_URI=amqp_uri) as plain:
        sell(broker)
        plain.wait_until_said("handled 200", timeout=10)
        assert len(plain.said("handled 200")) >= 1


def test_01_remedy_a_message_whose_handler_raised_is_parked_and_the_others_have_their_effect(
    broker: Broker, tally: dict[str, str], tally_database: Database
) -> None:
    with running("ours", "worker", **tally) as ours:
        ours.wait_until_said("relay_active", times=2)
        broker.publish_event("ok", "raise", "ok", "never", "ok")
        wait_for(lambda: seen(tally_database) == {"ok": 3}, what="the good events to have their effect")
        wait_for(lambda: fetch(tally_database, "SELECT 1 FROM dead_letters"), what="the dead letter")
        parked = fetch(tally_database, "SELECT attempts, reason FROM parked_events")
        dead = fetch(tally_database, "SELECT reason, event_id IS NOT NULL AS known FROM dead_letters")
    assert [tuple(row) for row in parked] == [(1, "handler.failed")]
    assert [tuple(row) for row in dead] == [("tally.bad_category", True)]
    assert broker.left(COUNT) == 0


def test_02_plain_kombu_acknowledges_a_body_it_cannot_decode_and_logs_it(broker: Broker, amqp_uri: str) -> None:
    queue = listen(broker, "raises")
    with running("plain", "Raises", AMQP_URI=amqp_uri) as plain:
        broker.publish("shop.events", "sold", f'{{"{CANARY}'.encode())
        plain.wait_until_said("Can't decode message body")
        sell(broker)
        plain.wait_until_said("error handling worker")
        assert plain.said(CANARY), "the body is in the log"
        plain.terminate()
        plain.wait_until_ended()
    assert broker.left(queue) == 0, "and the message is gone"


def test_02_remedy_a_body_that_cannot_be_decoded_is_a_dead_letter_and_never_logged(
    broker: Broker, tally: dict[str, str], tally_database: Database
) -> None:
    bad = {
        f'{{"{CANARY}'.encode(): "application/cloudevents+json",
        f'{{"name": "{CANARY}"}}'.encode(): "application/json",
        b"\xff" + CANARY.encode(): "application/x-python-serialize",
    }
    with running("ours", "worker", **tally) as ours:
        for body, content_type in bad.items():
            broker.publish(
                "volunteers.events", "hours_logged.v1", body,
                content_type=content_type, type="volunteers.hours_logged.v1", message_id="m-1",
            )  # fmt: skip
        broker.publish_event("ok")
        ours.wait_until_said("message_dead_lettered", times=3)
        wait_for(lambda: seen(tally_database) == {"ok": 1}, what="the good event's effect")
        output = ours.output
    rows = fetch(tally_database, "SELECT handler, reason, body FROM dead_letters")
    assert {bytes(row.body) for row in rows} == set(bad)
    assert {(row.handler, row.reason) for row in rows} == {(COUNT, "event.undecodable")}
    assert CANARY not in output
    assert (broker.left(COUNT), broker.left(DEAD)) == (0, 0)


def test_04_plain_nameko_acknowledges_before_a_provider_commits_so_a_crash_between_them_loses_the_work(
    broker: Broker, amqp_uri: str
) -> None:
    queue = listen(broker, "committing")
    with running("plain", "Committing", AMQP_URI=amqp_uri, WORKERS="1") as plain:
        sell(broker, "first")
        sell(broker, "second")
        plain.wait_until_said("about to commit")
        # Prefetch is 1: the second leaves the queue when the broker has the acknowledgement of the first.
        wait_for(lambda: broker.ready(queue) == 0, what="the second message to leave the queue")
        assert len(plain.said("about to commit")) == 1, "and the first is still not committed"
        plain.kill()
    assert broker.left(queue) == 1, "only the second comes back"


def test_04_plain_nameko_ends_when_a_provider_fails_in_worker_setup(broker: Broker, amqp_uri: str) -> None:
    queue = listen(broker, "breaking")
    with running("plain", "Breaking", AMQP_URI=amqp_uri) as plain:
        sell(broker)
        code = plain.wait_until_ended()
        assert plain.said("no database")
    assert code != 0
    assert broker.left(queue) == 1, "the message is back, to end the next process too"


def test_04_remedy_work_that_fails_at_commit_is_parked(
    broker: Broker, tally: dict[str, str], tally_database: Database
) -> None:
    with running("ours", "worker", **tally):
        broker.publish_event("ok", "refused-late", "ok")
        wait_for(lambda: fetch(tally_database, "SELECT 1 FROM parked_events"), what="the parked event")
        wait_for(lambda: seen(tally_database) == {"ok": 2}, what="the good events' effect")
    assert broker.left(COUNT) == 0


def test_04_remedy_a_crash_before_the_commit_brings_the_message_back(
    broker: Broker, tally: dict[str, str], tally_database: Database
) -> None:
    with running("ours", "worker", **tally) as ours:
        broker.publish_event("slow")
        ours.wait_until_said("began")
        ours.kill()
    assert broker.left(COUNT) == 1, "the message is back"
    assert seen(tally_database) == {}
    with running("ours", "worker", **tally):
        wait_for(lambda: seen(tally_database) == {"slow": 1}, what="the effect in the next process")

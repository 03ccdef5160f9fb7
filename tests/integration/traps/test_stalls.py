"""Rows 5 and 10 of the traps: what stops all green threads of a process, and what becomes of its connections."""

import json
import os
import subprocess
import sys

from tests.integration.traps.broker import Broker
from tests.integration.traps.running import ROOT, running
from tests.integration.traps.services import seen
from tests.support.waiting import wait_for
from xinhuo.chassis.db import Database

COUNT = "tally.count"


def three_queries(url: str, **environment: str) -> tuple[int, float]:
    """Return how many of three queries of half a second ran at once, and how long all took."""
    with running("hub", DATABASE_URL=url, **environment) as hub:
        assert hub.wait_until_ended() == 0, hub.output
        at_once, seconds = hub.lines[-1].split()
        return int(at_once), float(seconds)


def test_05_psycopg_blocks_the_hub_so_that_three_queries_take_the_time_of_three(empty_database: str) -> None:
    assert "PSYCOPG_WAIT_FUNC" not in os.environ
    at_once, seconds = three_queries(empty_database)
    assert at_once == 1
    assert seconds >= 1.5


def test_05_remedy_with_the_wait_function_of_our_launcher_they_run_together(empty_database: str) -> None:
    at_once, _ = three_queries(empty_database, PSYCOPG_WAIT_FUNC="wait_selector")
    assert at_once >= 2


def test_05_remedy_our_launcher_puts_its_own_wait_function_in_place_and_refuses_to_run_with_another() -> None:
    check = "from xinhuo.cli import process; process._check_wait_function()"
    for program, code in ((check, 1), (check.replace(";", "; process.prepare();"), 0)):
        ran = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "PSYCOPG_WAIT_FUNC": "wait_c"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == code, ran.stderr
        assert ("the process was not prepared" in ran.stderr) == bool(code)


def test_10_plain_nameko_loses_its_connection_while_a_handler_computes_and_its_container_dies_of_it(
    broker: Broker, amqp_uri: str
) -> None:
    queue = "evt-shop-sold--computes.note"
    broker.declare(queue, "shop.events", "sold")
    with running("plain", "Computes", AMQP_URI=amqp_uri, HEARTBEAT="1") as plain:
        broker.publish("shop.events", "sold", json.dumps("sale").encode())
        plain.wait_until_said("computed", timeout=15)
        assert plain.wait_until_ended(timeout=15) != 0
        assert plain.said("ConnectionResetError") or plain.said("BrokenPipeError")
    assert broker.left(queue) == 1, "the message is back, to end the next process too"


def test_10_remedy_after_a_handler_that_computed_the_worker_goes_on_and_the_event_counts_once(
    broker: Broker, tally: dict[str, str], tally_database: Database
) -> None:
    with running("ours", "worker", **tally, HEARTBEAT="1", STALL="1") as ours:
        broker.publish_event("compute", "ok")
        alarm = ours.wait_until_said("green_threads_stalled")
        assert "services.py" in alarm, "the watchdog names what the process is busy with"
        assert not ours.said("consumer_waits"), "and does so before anything is lost"
        ours.wait_until_said("consumer_waits", timeout=15)
        broker.publish_event("ok")
        wait_for(lambda: seen(tally_database) == {"compute": 1, "ok": 2}, 15, "every effect, once")
        assert len(ours.said("computing")) == 1, "the inbox knows the message that came again"
        ours.terminate()
        assert ours.wait_until_ended() == 0
    assert broker.left(COUNT) == 0

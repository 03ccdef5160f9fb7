"""Rows 3 and 12 of the traps: ending a process in good order, and starting one at all."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.integration.traps.broker import Broker
from tests.integration.traps.running import ROOT, running
from tests.integration.traps.services import fetch, seen
from tests.support.processes import LOOPBACK, free_port, listens
from tests.support.waiting import wait_for
from xinhuo.chassis.db import Database

COUNT = "tally.count"


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=10) as answer:
        body: bytes = answer.read()
        return body


NO_PKG_RESOURCES = "import sys; sys.modules['pkg_resources'] = None; "


def test_03_plain_nameko_finishes_its_handlers_after_sigterm_but_their_acknowledgements_never_leave(
    broker: Broker, amqp_uri: str, tmp_path: Path
) -> None:
    queue, go = "evt-shop-sold--slow.note", tmp_path / "go"
    broker.declare(queue, "shop.events", "sold")
    with running("plain", "Slow", AMQP_URI=amqp_uri, GO=str(go)) as plain:
        for number in range(5):
            broker.publish("shop.events", "sold", json.dumps(number).encode())
        plain.wait_until_said("began", times=5)
        plain.terminate()
        # Its connection, the only way to acknowledge, ends within a second with the handlers still at work.
        wait_for(lambda: broker.ready(queue) == 5, what="the broker to take the messages back")
        go.touch()
        plain.wait_until_said("finished", times=5)
        plain.wait_until_ended()
    assert broker.left(queue) == 5, "all that was done comes again"


def test_03_remedy_a_batch_in_flight_at_sigterm_is_finished_and_acknowledged(
    broker: Broker, tally: dict[str, str], tally_database: Database
) -> None:
    with running("ours", "worker", **tally) as ours:
        for category in ("slow", *["ok"] * 5):
            broker.publish_event(category)
        ours.wait_until_said("began")
        ours.terminate()
        assert ours.wait_until_ended() == 0
        assert ours.said("ended")
    done = seen(tally_database)
    assert done["slow"] == 1
    assert broker.left(COUNT) == 6 - sum(done.values()), "done and still in the queue, or neither"
    while message := broker.take(COUNT):
        assert not message.delivery_info["redelivered"], "nothing that a handler got was given back"


def test_03_an_idle_plain_service_with_http_only_does_not_stop_on_sigterm_in_most_runs(amqp_uri: str) -> None:
    def stays() -> bool:
        port = free_port()
        with running("plain", "Left", AMQP_URI=amqp_uri, PORT=str(port)) as plain:
            wait_for(lambda: listens(port), what="the service to listen")
            assert get(port, "/left") == b"left"
            plain.terminate()
            try:
                plain.process.wait(2)
            except subprocess.TimeoutExpired:
                return True
            return False

    # In about half of the runs something happens to wake its loop: each try that stops takes little, the first that
    # stays is enough.
    assert any(stays() for _ in range(40))


def test_03_remedy_an_idle_service_with_http_only_stops_at_once_on_sigterm(tally: dict[str, str]) -> None:
    port = free_port()
    with running("ours", "api", **tally, PORT=str(port)) as ours:
        wait_for(lambda: listens(port), what="the service to listen")
        assert get(port, "/healthz") == b'{"ok":true}'
        asked = time.monotonic()
        ours.terminate()
        assert ours.wait_until_ended(timeout=10) == 0
        assert time.monotonic() - asked < 5


def test_03_remedy_an_idle_worker_stops_at_once_on_sigterm(tally: dict[str, str]) -> None:
    with running("ours", "worker", **tally) as ours:
        ours.wait_until_said("relay_active", times=2)
        asked = time.monotonic()
        ours.terminate()
        assert ours.wait_until_ended(timeout=10) == 0
        assert time.monotonic() - asked < 5


def test_03_remedy_events_recorded_before_sigterm_survive_it(
    broker: Broker, tally: dict[str, str], tally_database: Database
) -> None:
    port = free_port()
    with running("ours", "all", **tally, PORT=str(port)) as ours:
        wait_for(lambda: listens(port), what="the service to listen")
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{port}/v1/events",
            json.dumps({"category": "ok", "count": 300}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            assert answer.status == 201
        ours.terminate()
        assert ours.wait_until_ended() == 0
    with running("ours", "worker", **tally):
        wait_for(lambda: seen(tally_database).get("ok") == 300, what="every event to have its effect")
    assert len(fetch(tally_database, "SELECT 1 FROM outbox WHERE published_at IS NULL")) == 0


def test_12_the_command_nameko_needs_pkg_resources_which_setuptools_82_has_no_more() -> None:
    """Still so in the last release of nameko: its entry point imports pkg_resources, whatever is installed here."""
    program = NO_PKG_RESOURCES + "import nameko.cli.main"
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "pkg_resources" in ran.stderr


def test_12_remedy_our_launcher_starts_without_pkg_resources() -> None:
    program = NO_PKG_RESOURCES + (
        "import runpy; sys.argv = ['x', '--help']; runpy.run_module('xinhuo.cli.process', run_name='__main__')"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"--role", ran.stdout)
    adapter = NO_PKG_RESOURCES + "import eventlet; eventlet.monkey_patch(); import xinhuo.chassis.adapters.nameko"
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", adapter], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr

"""At SIGTERM an api process says that it is not ready, takes what still comes, sends its clients away, then ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.fleet import Fleet
from tests.support.postgres import create_database, drop_database
from tests.support.waiting import wait_for

API = ("notices", "api")


@pytest.fixture
def fleet(postgres_url: str, empty_broker: str, tmp_path: Path) -> Iterator[Fleet]:
    url = create_database(postgres_url)
    made = Fleet(tmp_path, {"DATABASE_URL": url, "AMQP_URI": empty_broker, "XINHUO_LEAVE_SECONDS": "4"})
    made.prepare()
    yield made
    made.end()
    drop_database(url)


@pytest.mark.parametrize("adapter", ["nameko", "threads"])
def test_an_api_process_needs_no_broker_and_leaves_before_it_stops(fleet: Fleet, adapter: str) -> None:
    del fleet.settings["AMQP_URI"]
    fleet.begin(adapter, API)
    address = fleet.url("notices")
    with requests.Session() as client, requests.Session() as watcher:
        for session in (client, watcher):  # connections that are kept
            answer = session.get(address + "/healthz", timeout=5)
            assert answer.headers.get("Connection", "keep-alive") == "keep-alive"

        process = fleet.running.pop(API)
        process.terminate()

        wait_for(lambda: watcher.get(address + "/readyz", timeout=5).status_code == 503, 5, "it to say that it goes")
        shown = requests.get(address + "/readyz", timeout=5).json()["checks"]
        assert "stopping" in shown.pop("stopping")
        assert set(shown.values()) == {"ok"}
        answer = client.get(address + "/healthz", timeout=5)
        assert answer.status_code == 200, "what comes meanwhile is answered"
        assert answer.headers["Connection"] == "close", "and whoever asked is sent elsewhere"
        assert process.poll() is None
    assert process.wait(40) == 0
    with pytest.raises(requests.ConnectionError):
        requests.get(address + "/healthz", timeout=5)


def test_a_worker_without_a_broker_is_refused_with_what_is_missing(fleet: Fleet, tmp_path: Path) -> None:
    del fleet.settings["AMQP_URI"]
    with pytest.raises(AssertionError, match="AMQP_URI is needed to serve as worker"):
        fleet.begin("nameko", ("notices", "worker"))
    assert fleet.running.pop(("notices", "worker")).wait(10) == 2

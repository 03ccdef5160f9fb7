"""Loaded installations, one for each broker, shared by the whole suite: loading the sample takes a while."""

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kombu import Connection

from tests.support.campaign import Campaign, make_campaign
from tests.support.installation import Ended, Installation
from tests.support.postgres import create_database, drop_database
from tests.support.servers import AMQP_URI, Servers
from xinhuo.cli.build import full_topology

BROKERS = ("embedded", "rabbitmq")


@dataclass
class Loaded:
    """An installation with the sample in it, and what its first two starts printed."""

    installation: Installation
    first: Ended
    second: Ended


@pytest.fixture(scope="session")
def install(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Installation]]:
    """Makes an installation with nothing in it yet, on the broker that is named."""
    undo: list[Callable[[], object]] = []

    def make(broker: str) -> Installation:
        folder = tmp_path_factory.mktemp(f"installation-{broker}")
        settings: dict[str, str] = {}
        if broker == "rabbitmq":
            url = create_database(servers.postgres())
            undo.append(lambda: drop_database(url))
            settings = {"DATABASE_URL": url, "AMQP_URI": _vhost(servers, undo)}
        installation = Installation(broker, folder, settings)
        undo.append(installation.end)
        return installation

    yield make
    for step in reversed(undo):
        step()


def _vhost(servers: Servers, undo: list[Callable[[], object]]) -> str:
    node = servers.rabbit()
    if node is None:
        uri = os.environ[AMQP_URI]
        _empty_queues(uri)
        return uri
    name = f"e2e-{secrets.token_hex(6)}"
    undo.append(lambda: node.delete_vhost(name))
    return node.add_vhost(name)


def _empty_queues(uri: str) -> None:
    """Drop what other tests left in the queues of a virtual host that all of them share."""
    with Connection(uri) as connection:
        for queue in full_topology().queues:
            with connection.channel() as channel:
                try:
                    channel.queue_purge(queue.name)
                except connection.channel_errors:
                    continue  # it was never declared


@pytest.fixture(scope="session")
def load(install: Callable[[str], Installation]) -> Callable[[str], Loaded]:
    """Loads the sample at the first call for a broker, starts once more, and returns the same ever after."""
    done: dict[str, Loaded] = {}

    def on(broker: str) -> Loaded:
        if broker not in done:
            installation = install(broker)
            first = installation.once()
            # On RabbitMQ a start takes its time: the second one goes on serving.
            second = installation.once() if broker == "embedded" else installation.shown()
            done[broker] = Loaded(installation, first, second)
        return done[broker]

    return on


@pytest.fixture(params=BROKERS)
def loaded(request: pytest.FixtureRequest, load: Callable[[str], Loaded]) -> Loaded:
    """The loaded installation of each broker; it may be serving or not."""
    found = load(request.param)
    assert found.first.code == 0, found.first.stderr
    return found


@pytest.fixture
def serving(loaded: Loaded, servers: Servers) -> Iterator[Installation]:
    """The same while it serves; the next test finds it serving too."""
    yield loaded.installation.serve()
    if loaded.installation.broker == "rabbitmq" and servers.rabbit() is None:
        # Other tests use the same virtual host, and its queues.
        loaded.installation.end()


@pytest.fixture
def campaign(serving: Installation) -> Campaign:
    """A campaign of its own for each test, on each broker."""
    return make_campaign(serving)


@pytest.fixture
def path_of_data(tmp_path: Path) -> Path:
    """A data folder that is not there yet."""
    return tmp_path / "data"

"""A broker and a database with the small service's queues and tables, clean for each test."""

from collections.abc import Iterator

import pytest

from tests.integration.traps import services
from tests.integration.traps.broker import Broker
from tests.integration.traps.services import Tally
from xinhuo.chassis import topology
from xinhuo.chassis.adapters import amqp_topology
from xinhuo.chassis.db import Database


@pytest.fixture
def broker(amqp_uri: str) -> Iterator[Broker]:
    """A client of the module's virtual host."""
    client = Broker(amqp_uri)
    yield client
    client.close()


@pytest.fixture(scope="module")
def tally_database(empty_database: str) -> Iterator[Database]:
    """The small service's tables."""
    db = services.migrated(empty_database)
    yield db
    db.close()


@pytest.fixture(scope="module")
def tally_topology(amqp_uri: str) -> topology.Topology:
    """The small service's exchanges and queues, and the exchange of the service it listens to."""
    derived = topology.of([Tally])
    declared = topology.Topology((*derived.exchanges, "volunteers.events"), derived.queues)
    amqp_topology.declare(amqp_uri, declared)
    return declared


@pytest.fixture
def tally(
    amqp_uri: str,
    empty_database: str,
    broker: Broker,
    tally_topology: topology.Topology,
    tally_database: Database,
) -> Iterator[dict[str, str]]:
    """The environment in which the small service runs; no message and no row of an earlier test is left."""
    yield {"AMQP_URI": amqp_uri, "DATABASE_URL": empty_database, "XINHUO_RATE_OF_STRANGERS": "0"}
    for queue in tally_topology.queues:
        broker.empty(queue.name)
    services.clear(tally_database)

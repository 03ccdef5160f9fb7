"""A house for each module and adapter; tests say by a mark what an adapter must be able to do for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.house import House, Running, database_of
from tests.conformance.service import VERSIONS, Bench
from tests.conformance.table import ADAPTERS, NOT_IN_ONE_PROCESS
from tests.integration.traps.broker import Broker
from tests.support.postgres import create_database, drop_database
from tests.support.servers import Servers
from xinhuo.chassis import migrations, topology
from xinhuo.chassis.adapters import amqp_topology
from xinhuo.chassis.key_file import create_key_file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip by name what an adapter cannot do."""
    for item in items:
        call = getattr(item, "callspec", None)
        if call is None or call.params.get("house") != "inprocess":
            continue
        for mark in item.iter_markers("needs"):
            (what,) = mark.args
            item.add_marker(pytest.mark.skip(reason=f"{what}: {NOT_IN_ONE_PROCESS[what]}"))


@pytest.fixture(scope="module", params=ADAPTERS)
def house(
    request: pytest.FixtureRequest, postgres_url: str, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """The small service on one adapter, with nothing running yet."""
    adapter = str(request.param)
    # Both are fresh for each adapter: the next one must not find what the last one left.
    uri = "" if adapter == "inprocess" else request.getfixturevalue("amqp_uri")
    url = create_database(postgres_url)
    db = database_of(url)
    migrations.upgrade(db, VERSIONS)
    folder: Path = tmp_path_factory.mktemp(f"house-{adapter}")
    create_key_file(folder / "master.key")
    if uri:
        amqp_topology.declare(uri, topology.of([Bench]))
        _empty(uri)
    made = House(adapter, url, uri, folder, db)
    yield made
    made.close()
    drop_database(url)


@pytest.fixture
def bench(house: House) -> Running:
    """The running process, api and worker in one, that the tests of a module share."""
    return house.shared()


@pytest.fixture
def broker(house: House) -> Iterator[Broker]:
    """A client of the broker, for what cannot be seen otherwise."""
    client = Broker(house.amqp_uri)
    yield client
    client.close()


def _empty(uri: str) -> None:
    client = Broker(uri)
    for queue in topology.of([Bench]).queues:
        client.empty(queue.name)
    client.close()

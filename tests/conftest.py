"""Fixtures for every suite: servers for the session, a database and a virtual host for each module."""

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.support.postgres import create_database, drop_database, migrated_template
from tests.support.servers import AMQP_URI, RabbitNode, Servers


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The servers of this run, each started when it is first asked for unless `tests.run` did so."""
    started = Servers()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def postgres_url(servers: Servers) -> str:
    """The URL of a PostgreSQL server, as a user who may create databases."""
    return servers.postgres()


@pytest.fixture(scope="session")
def rabbit_node(servers: Servers) -> RabbitNode:
    """The private RabbitMQ node shared by this run; for tests that need rabbitmqctl."""
    node = servers.rabbit()
    if node is None:
        pytest.skip(f"{AMQP_URI} gives a broker without rabbitmqctl")
    return node


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[str]:
    """The URL of a fresh database with every service's tables, dropped after the module."""
    url = create_database(postgres_url, migrated_template(postgres_url))
    yield url
    drop_database(url)


@pytest.fixture(scope="module")
def empty_database(postgres_url: str) -> Iterator[str]:
    """The URL of a fresh database with nothing in it, dropped after the module."""
    url = create_database(postgres_url)
    yield url
    drop_database(url)


@pytest.fixture(scope="module")
def amqp_uri(servers: Servers) -> Iterator[str]:
    """The URI of a fresh virtual host, removed after the module; or the URI that the environment gives."""
    node = servers.rabbit()
    if node is None:
        yield os.environ[AMQP_URI]
        return
    yield from fresh_vhost(node)


@pytest.fixture
def empty_broker(rabbit_node: RabbitNode) -> Iterator[str]:
    """The URI of a virtual host of this test's own."""
    yield from fresh_vhost(rabbit_node)


def fresh_vhost(node: RabbitNode) -> Iterator[str]:
    """Yield the URI of a new virtual host; remove it after."""
    name = f"t-{secrets.token_hex(6)}"
    yield node.add_vhost(name)
    node.delete_vhost(name)

"""Servers that the tests of this suite may kill, one pair for all of them."""

from collections.abc import Iterator

import pytest

from tests.faults.servers import own_servers
from xinhuo.cli.prove.servers import Servers


@pytest.fixture(scope="session")
def own() -> Iterator[Servers]:
    """A RabbitMQ and a PostgreSQL that are not shared with any other suite."""
    with own_servers() as servers:
        yield servers

"""One service with a world of its own for each module."""

from collections.abc import Iterator

import pytest
from werkzeug.test import Client

from services.volunteers.service import Volunteers
from tests.support.hours import World
from tests.support.services import client_of, make_service


@pytest.fixture(scope="module")
def service(database: str) -> Iterator[Volunteers]:
    service = make_service(Volunteers, database)
    yield service
    service.runtime.db.close()


@pytest.fixture
def client(service: Volunteers) -> Client:
    return client_of(service)


@pytest.fixture
def world(service: Volunteers) -> World:
    return World(service)

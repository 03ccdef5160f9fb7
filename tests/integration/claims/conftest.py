"""One service for each module, a school of its own for each test."""

from collections.abc import Iterator

import pytest

from services.volunteers.service import Volunteers
from tests.support.services import make_service

from .scene import Scene


@pytest.fixture(scope="module")
def service(database: str) -> Iterator[Volunteers]:
    service = make_service(Volunteers, database)
    yield service
    service.runtime.db.close()


@pytest.fixture
def scene(service: Volunteers) -> Scene:
    return Scene(service)

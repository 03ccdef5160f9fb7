"""A database with the small service's tables, empty for each test."""

from collections.abc import Iterator

import pytest

from tests.integration.chassis import services
from tests.integration.chassis.services import Desk
from xinhuo.chassis import migrations
from xinhuo.chassis.db import Database


@pytest.fixture(scope="module")
def desk_url(empty_database: str) -> str:
    """The URL of a database with the small service's tables."""
    db = services.database(empty_database)
    migrations.upgrade(db, services.VERSIONS)
    db.close()
    return empty_database


@pytest.fixture
def desk(desk_url: str) -> Iterator[Desk]:
    """The small service; whatever it wrote is gone after the test."""
    made = services.make_desk(desk_url)
    yield made
    services.clear(made.runtime.db)
    made.runtime.db.close()


@pytest.fixture
def db(desk: Desk) -> Database:
    """The small service's database."""
    return desk.runtime.db


@pytest.fixture
def other_db(desk_url: str) -> Iterator[Database]:
    """The same database as another process sees it, with connections of its own."""
    made = services.database(desk_url)
    yield made
    made.close()

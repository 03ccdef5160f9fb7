"""One portal for each module, empty for each test."""

from collections.abc import Iterator

import pytest

from services.portal import passwords
from services.portal.service import Portal
from tests.support import portal as house
from tests.support.portal import Person, signed_in


@pytest.fixture(scope="module")
def running(database: str) -> Iterator[Portal]:
    service = house.make_portal(database)
    yield service
    service.runtime.db.close()


@pytest.fixture
def portal(running: Portal, monkeypatch: pytest.MonkeyPatch) -> Portal:
    monkeypatch.setattr(passwords, "hasher", house.QUICK)
    house.empty(running)
    return running


@pytest.fixture
def admin(portal: Portal) -> Person:
    return signed_in(portal, "admin.gao", "bureau_admin")

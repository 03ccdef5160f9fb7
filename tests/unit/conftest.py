"""Fixtures of the unit tests."""

from collections.abc import Iterator

import pytest

from tests.support.stub import Stub, stubbed


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A server that answers what the test planned."""
    with stubbed() as server:
        yield server

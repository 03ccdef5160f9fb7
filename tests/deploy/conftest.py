"""Fixtures of what is deployed."""

import pytest

from tests.support.image import Image, NoContainers


@pytest.fixture(scope="session")
def image() -> Image:
    """The image, built when it is not there already; a machine that runs no containers skips, saying why."""
    try:
        return Image().build()
    except NoContainers as reason:
        pytest.skip(str(reason))

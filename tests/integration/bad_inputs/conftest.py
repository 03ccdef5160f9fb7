"""One scene for each module, and a log in which nobody's data may stand."""

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from tests.integration.bad_inputs.scene import Scene, open_scene
from xinhuo.chassis import logs


@pytest.fixture(scope="module")
def scene(database: str) -> Iterator[Scene]:
    """All services on one database."""
    opened = open_scene(database)
    yield opened
    opened.close()


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Everything that is logged in a test, by us and by the libraries, at the lowest level."""
    stream = io.StringIO()
    root, ours = logging.getLogger(), logging.getLogger("xinhuo")
    handlers, levels, kept = root.handlers[:], (root.level, ours.level), structlog.get_config()
    logs.configure("debug", stream=stream)
    root.setLevel(logging.DEBUG)
    yield stream
    structlog.configure(**kept)
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])

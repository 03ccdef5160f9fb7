"""Processes whose clock is wrong, by Debian's faketime."""

import os
import shutil
from pathlib import Path

import pytest

from tests.support import apt

_LIBRARY = "usr/lib/*/faketime/libfaketime.so.1"


def library() -> Path:
    """Return faketime's library, installed if need be and possible; else skips the test."""
    found = next(Path("/").glob(_LIBRARY), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        apt.install("libfaketime")
        found = next(Path("/").glob(_LIBRARY), None)
    if found is None:
        pytest.skip("libfaketime is missing: apt-get install libfaketime")
    return found


def with_clock(command: list[str], offset: str) -> list[str]:
    """Return the command of the same process with its wall clock so far away, such as ``+3d`` or ``-1h``."""
    return ["env", *_settings(), f"FAKETIME={offset}", *command]


def with_clock_of(command: list[str], file: Path) -> list[str]:
    """Return the command of the same process with its wall clock as far away as the file says at each moment."""
    return ["env", *_settings(), f"FAKETIME_TIMESTAMP_FILE={file}", "FAKETIME_NO_CACHE=1", *command]


def _settings() -> list[str]:
    # Nobody sets a monotonic clock.
    return [f"LD_PRELOAD={library()}", "FAKETIME_DONT_FAKE_MONOTONIC=1"]

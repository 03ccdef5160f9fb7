"""How long the disk takes to keep a page while something else is measured: on a shared one that is its noise."""

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PAUSE_SECONDS = 0.1
_PAGE = bytes(8192)


@contextmanager
def watched(folder: Path) -> Iterator[list[float]]:
    """Write a page of 8 KiB to a folder's disk ten times a second; the list gets the milliseconds of each."""
    took: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            while not stop.wait(_PAUSE_SECONDS):
                began = time.perf_counter()
                os.pwrite(file.fileno(), _PAGE, 0)
                os.fsync(file.fileno())
                took.append((time.perf_counter() - began) * 1000)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield took
    finally:
        stop.set()
        watcher.join()


def told(took: list[float]) -> dict[str, float]:
    """Return the median, the 99th of a hundred and the longest, in milliseconds."""
    p99 = statistics.quantiles(took, n=100)[98] if len(took) > 1 else took[0]
    return {
        "fsync_p50_ms": round(statistics.median(took), 1),
        "fsync_p99_ms": round(p99, 1),
        "fsync_longest_ms": round(max(took), 1),
    }

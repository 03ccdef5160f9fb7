"""Who has much to do at the moment, so that what can wait lets them go first."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: For so long after a large piece of work the next one is expected.
LINGER_SECONDS = 0.5


class Pressure:
    """Whether somebody is, or was a moment ago, at a large piece of work."""

    def __init__(self) -> None:
        self._until = -math.inf

    @contextmanager
    def of(self, *, large: bool) -> Iterator[None]:
        """Be under pressure for the length of the block and a little longer, if the work is large."""
        if not large:
            yield
            return
        self._until = math.inf
        try:
            yield
        finally:
            self._until = time.monotonic() + LINGER_SECONDS

    def is_on(self) -> bool:
        """Tell whether there is pressure."""
        return time.monotonic() < self._until

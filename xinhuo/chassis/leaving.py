"""How a process goes: first it says that it will, then it does."""

import math
import threading
import time


class Leaving(threading.Event):
    """The flag that a process is to stop, seen as set only some seconds after it was.

    Meanwhile ``begun`` is true: the process is not ready any more, and takes what still comes. Who sets it twice is
    in a hurry. It takes no lock, so that a signal's handler may set it in the thread that looks at it.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._ends = math.inf

    def set(self) -> None:
        """Begin to leave; the second time, leave at once."""
        self._ends = time.monotonic() + (0.0 if self.begun() else self._seconds)

    def begun(self) -> bool:
        """Tell whether leaving has begun."""
        return self._ends < math.inf

    def is_set(self) -> bool:
        """Tell whether it is time to stop."""
        return time.monotonic() >= self._ends

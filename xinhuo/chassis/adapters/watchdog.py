"""Says when the green threads of a process stand still: one that computes stops all others, heartbeats too."""

import json
import os
import sys
import time
import traceback

from eventlet import patcher

_threading = patcher.original("threading")
_time = patcher.original("time")
_STANDARD_ERROR = 2


class StallWatchdog:
    """A real thread that expects a beat from the green ones; the message names what they are busy with.

    It writes past the logging of the process, whose locks are green and must not be waited for out here.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()
        self._stopped = False
        self._watched = _threading.get_ident()

    def start(self) -> None:
        """Watch the thread that calls this."""
        self.beat()
        _threading.Thread(target=self._watch, name="stall watchdog", daemon=True).start()

    def beat(self) -> None:
        """Say that the green threads have their turns."""
        self._last = time.monotonic()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped = True

    def _watch(self) -> None:
        said_for = 0.0
        while not self._stopped:
            _time.sleep(self._seconds / 4)
            last = self._last
            if time.monotonic() - last > self._seconds and said_for != last:
                said_for = last
                self._say(time.monotonic() - last)

    def _say(self, seconds: float) -> None:
        frame = sys._current_frames().get(self._watched)
        stack = traceback.extract_stack(frame)[-12:] if frame else []
        line = {
            "event": "green_threads_stalled",
            "level": "error",
            "seconds": round(seconds, 1),
            "stack": " < ".join(
                f"{item.filename.rpartition('/')[2]}:{item.lineno} {item.name}" for item in reversed(stack)
            ),
            "remedy": "move work that computes for long into a process of its own",
        }
        os.write(_STANDARD_ERROR, json.dumps(line).encode() + b"\n")

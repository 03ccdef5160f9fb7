"""Says when something stands still: green threads that one of them keeps from their turns, or a handler that hangs."""

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_STANDARD_ERROR = 2


@dataclass
class _Watched:
    thread: int
    name: str
    last: float
    said_for: float = 0.0


class StallWatchdog:
    """A real thread that looks after others: each must give a sign of life, or end, within some seconds.

    The message names what the silent one is busy with. It goes past the logging of the process, whose locks the
    silent one may hold. ``real(name)`` imports a module as it was before anybody patched it.
    """

    def __init__(
        self, seconds: float, *, event: str, remedy: str, real: Callable[[str], Any] = importlib.import_module
    ) -> None:
        self._seconds, self._event, self._remedy = seconds, event, remedy
        self._threading, self._time = real("threading"), real("time")
        self._watched: dict[int, _Watched] = {}
        self._next = 0
        self._stopped = False

    def start(self) -> None:
        """Begin to look after what is, and will be, watched."""
        self._threading.Thread(target=self._watch, name="stall watchdog", daemon=True).start()

    def begin(self, name: str = "") -> int:
        """Watch the calling thread from now on, until ``end``; return the number by which it gives its signs."""
        self._next += 1  # two threads that get the same number would only be watched as one
        number = self._next
        self._watched[number] = _Watched(self._threading.get_ident(), name, time.monotonic())
        return number

    def beat(self, number: int) -> None:
        """Give a sign of life."""
        self._watched[number].last = time.monotonic()

    def end(self, number: int) -> None:
        """Watch it no longer."""
        self._watched.pop(number, None)

    def stop(self) -> None:
        """Watch nothing any longer."""
        self._stopped = True

    def _watch(self) -> None:
        while not self._stopped:
            self._time.sleep(self._seconds / 4)
            for watched in list(self._watched.values()):
                last = watched.last
                if time.monotonic() - last > self._seconds and watched.said_for != last:
                    watched.said_for = last
                    self._say(watched, time.monotonic() - last)

    def _say(self, watched: _Watched, seconds: float) -> None:
        frame = sys._current_frames().get(watched.thread)
        stack = traceback.extract_stack(frame)[-12:] if frame else []
        line = {
            "event": self._event,
            "level": "error",
            "what": watched.name,
            "seconds": round(seconds, 1),
            "stack": " < ".join(
                f"{item.filename.rpartition('/')[2]}:{item.lineno} {item.name}" for item in reversed(stack)
            ),
            "remedy": self._remedy,
        }
        os.write(_STANDARD_ERROR, json.dumps(line).encode() + b"\n")

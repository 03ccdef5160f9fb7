"""Named points where a proof lets a process die; in service they do nothing and cost one comparison.

A point is armed by the launcher of a process, and only when ``XINHUO_PROVE`` is ``1``: nobody sets that by
accident. ``XINHUO_FAULT_POINT=after_publish_before_mark:3`` kills the process when it gets there the third time.
"""

import os
import signal
from collections.abc import Mapping

#: Where a process can be told to die, and what is true at that moment.
POINTS = {
    "before_commit": "a batch of events has had its effect, in a transaction that is not committed",
    "after_commit_before_ack": "the effect is committed, the broker has not been told",
    "after_publish_before_mark": "the broker has confirmed events that the outbox still calls unpublished",
    "mid_import": "a part of an import is entered, in a transaction that is not committed",
    "after_commit_before_answer": "a request is done and its client has no answer",
}

_armed = ""
_left = 0


def arm(environment: Mapping[str, str]) -> None:
    """Arm the point that the environment names; raises ValueError for one that does not exist."""
    global _armed, _left
    wanted = environment.get("XINHUO_FAULT_POINT", "")
    if environment.get("XINHUO_PROVE") != "1" or not wanted:
        return
    name, _, times = wanted.partition(":")
    if name not in POINTS:
        raise ValueError(f"XINHUO_FAULT_POINT must be one of {', '.join(POINTS)}, not {name!r}")
    _armed, _left = name, int(times or 1)


def reach(name: str) -> None:
    """Say that the process is at a point; it does not survive this when the point is armed and it is time."""
    if name != _armed:
        return
    global _left
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)

"""The CPU time of the servers and services under measurement."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def seconds_of_descendants() -> float:
    """Return the CPU seconds used so far by everything that this process has started and that still runs.

    With it what its own children used that have ended, so that no connection of PostgreSQL is forgotten. A load
    generator that has ended is not in it.
    """
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The program's name, in brackets, may hold blanks; what follows begins with state and parent.
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile, and is in its parent's account
            continue
        pid = int(path.parent.name)
        children.setdefault(int(fields[1]), []).append(pid)
        used[pid] = sum(int(field) for field in fields[11:15]) / _TICKS
    total, waiting = 0.0, list(children.get(os.getpid(), []))
    while waiting:
        pid = waiting.pop()
        total += used[pid]
        waiting += children.get(pid, [])
    return total

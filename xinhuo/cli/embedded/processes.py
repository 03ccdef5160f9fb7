"""Finds and ends PostgreSQL processes of a folder that nobody supervises any more."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from xinhuo.cli.embedded import errors

#: Each signal and the seconds its effect is waited for. SIGINT is PostgreSQL's fast shutdown with a
#: checkpoint, SIGQUIT its immediate one, after which the next start recovers; neither loses a commit.
SHUTDOWN_STEPS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
POLL_SECONDS = 0.02


def in_folder(folder: Path) -> list[int]:
    """Return the pids of PostgreSQL programs whose working folder is this one.

    A pid in a file proves nothing: the file may be half written, the pid may be someone else's by now. The
    server and all its children work inside the data folder, and so does initdb; the kernel tells us.
    """
    try:
        wanted = folder.stat()
    except FileNotFoundError:
        return []
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            program = os.path.basename(os.readlink(f"/proc/{entry.name}/exe")).removesuffix(" (deleted)")
            if program not in ("postgres", "initdb"):
                continue
            works_in = os.stat(f"/proc/{entry.name}/cwd")
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue  # Gone meanwhile, or another account's, which then cannot be working in our folder.
        if (works_in.st_dev, works_in.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(int(entry.name))
    return found


def end_all(folder: Path, waiting: Callable[[], None]) -> None:
    """End every PostgreSQL process of the folder, gently first; `waiting` is called again and again."""
    for signum, patience in SHUTDOWN_STEPS:
        for pid in _heads(in_folder(folder)) if signum == signal.SIGINT else in_folder(folder):
            _send(pid, signum)
        deadline = time.monotonic() + patience
        while in_folder(folder):
            if time.monotonic() > deadline:
                break
            waiting()
            time.sleep(POLL_SECONDS)
        else:
            return
    raise errors.leftover_server(folder, in_folder(folder))


def kill_all(folder: Path, waiting: Callable[[], None]) -> None:
    """Kill every PostgreSQL process of a folder whose contents are of no value."""
    deadline = time.monotonic() + SHUTDOWN_STEPS[-1][1]
    while pids := in_folder(folder):
        if time.monotonic() > deadline:
            raise errors.leftover_server(folder, pids)
        for pid in pids:
            _send(pid, signal.SIGKILL)
        waiting()
        time.sleep(POLL_SECONDS)


def _heads(pids: list[int]) -> list[int]:
    """Leave out the children: the postmaster ends them itself, and needs them to end well."""
    return [pid for pid in pids if _parent(pid) not in pids]


def _parent(pid: int) -> int:
    try:
        # The program's name, in brackets, may hold blanks; what follows the last bracket is state and parent.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _send(pid: int, signum: signal.Signals) -> None:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return

"""Small helpers for the servers that tests start: free ports, ending by pid, dropping root's rights."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

LOOPBACK = "127.0.0.1"
# Names the adapter on which services run that a test starts; without it they run on the default one.
ADAPTER = "XINHUO_TEST_ADAPTER"

# Every process started for tests carries this variable with its run's folder, so that it can be found again.
MARK = "XINHUO_TESTS_FOLDER"
FOLDER_PREFIX = "xinhuo-tests-"
OWNER = "owner.pid"


class ServersUnavailable(RuntimeError):
    """A server that the tests need is neither given nor installable; the text says what to do."""


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Tell whether something accepts connections at this port of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to one process that may have ended already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def end(process: subprocess.Popen[bytes], number: signal.Signals, patience: float) -> None:
    """Ask a child to end, and kill it when it has not done so after `patience` seconds."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def unprivileged() -> dict[str, object]:
    """Return the arguments of Popen that make a child of root run as an ordinary user."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise ServersUnavailable("root needs a user `postgres` or `nobody` to run PostgreSQL as")


def sweep() -> None:
    """End the servers, and remove the folders, of earlier runs that were killed before they could do so."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        try:
            owner = int((folder / OWNER).read_text())
        except (OSError, ValueError):
            continue  # another user's, or being made this moment
        if Path(f"/proc/{owner}").exists():
            continue
        mark = f"{MARK}={folder}".encode()
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in environment.read_bytes().split(b"\0"):
                    send(int(environment.parent.name), signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def tail(path: Path, lines: int = 20) -> str:
    """Return the last lines of a log, for error messages."""
    if not path.exists():
        return f"({path} was never written)"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

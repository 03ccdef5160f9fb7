"""The processes under test: started, killed, frozen, and started again as an orchestrator would."""

import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

READY_SECONDS = 60.0
RESTART_SECONDS = 0.5
STOP_SECONDS = 45.0


@dataclass
class Member:
    """One process: what it is, how it is started, and what became of it."""

    name: str
    command: list[str]
    port: int | None
    process: "subprocess.Popen[bytes] | None" = None
    #: What is done to it: its end is then no surprise.
    hit: str = ""
    armed: str = ""
    frozen: bool = False
    extra: dict[str, str] = field(default_factory=dict)


class Fleet:
    """Keeps its members running until told to stop."""

    def __init__(self, members: Sequence[Member], environment: Mapping[str, str], folder: Path) -> None:
        self.members = list(members)
        self._environment, self._folder = dict(environment), folder
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.RLock()
        self._watcher = threading.Thread(target=self._watch, name="fleet", daemon=True)
        self.fired: list[str] = []
        self.surprises: list[str] = []
        self.slow_stops: list[str] = []
        self._started = threading.Event()

    def start(self) -> None:
        """Start all members and wait until they are ready; raises RuntimeError naming the one that is not."""
        self._watcher.start()
        self._started.wait()
        self.wait_ready()

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until every member says that it is ready."""
        deadline = time.monotonic() + seconds
        for member in self.members:
            while not self._is_ready(member):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{member.name} is not ready after {seconds:.0f} s:\n{self.log_of(member)}")
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop all members; one that does not end is killed and noted."""
        self._stopping.set()
        with self._lock:
            for member in self.members:
                self._signal(member, signal.SIGCONT)
                self._signal(member, signal.SIGTERM)
            for member in self.members:
                if member.process is not None:
                    try:
                        member.process.wait(STOP_SECONDS)
                    except subprocess.TimeoutExpired:
                        self.slow_stops.append(member.name)
                        member.process.kill()
                        member.process.wait()
        self._ended.set()
        self._watcher.join(10)

    def log_of(self, member: Member, lines: int = 15) -> str:
        """Return the end of a member's log."""
        path = self._folder / f"{member.name}.log"
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    # --- What can be done to them -------------------------------------------------------------------------

    def kill(self, members: Sequence[Member]) -> None:
        """Kill -9, all at the same moment."""
        with self._lock:
            for member in members:
                member.hit = "killed"
                self._signal(member, signal.SIGKILL)

    def terminate(self, member: Member) -> None:
        """Ask one to stop; it is started again when it has."""
        with self._lock:
            member.hit = "terminated"
            self._signal(member, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        process = member.process
        while process is not None and process.poll() is None:
            if time.monotonic() > deadline:
                self.slow_stops.append(member.name)
                process.kill()
                return
            time.sleep(0.05)

    def freeze(self, member: Member, seconds: float) -> None:
        """Stop one in its tracks for a while."""
        self._signal(member, signal.SIGSTOP)
        time.sleep(seconds)
        self._signal(member, signal.SIGCONT)

    def arm(self, members: Sequence[Member], point: str, *, at: int) -> None:
        """Kill members and start them again so that they die when they get to a named point."""
        with self._lock:
            for member in members:
                member.extra = {"XINHUO_FAULT_POINT": f"{point}:{at}"}
        self.kill(members)

    def disarm(self) -> None:
        """Kill those that still wait for their named point, so that nobody dies of it later."""
        with self._lock:
            waiting = [member for member in self.members if member.armed or member.extra]
            for member in waiting:
                member.extra = {}
        self.kill([member for member in waiting if member.armed])

    def matching(self, text: str) -> list[Member]:
        """Return the members whose names contain a text."""
        return [member for member in self.members if text in member.name]

    # --- The watcher --------------------------------------------------------------------------------------

    def _watch(self) -> None:
        # A child is tied to the thread that starts it, so this one starts them all and lives longest.
        with self._lock:
            for member in self.members:
                self._spawn(member)
        self._started.set()
        while not self._stopping.wait(0.05):
            with self._lock:
                for member in self.members:
                    if member.process is not None and member.process.poll() is not None:
                        self._note_end(member)
            for member in self.members:
                if member.process is None and not self._stopping.wait(RESTART_SECONDS):
                    with self._lock:
                        if not self._stopping.is_set():
                            self._spawn(member)
        self._ended.wait()

    def _note_end(self, member: Member) -> None:
        assert member.process is not None  # noqa: S101  (for the type checker)
        code = member.process.returncode
        if member.armed and not member.hit and code == -signal.SIGKILL:
            self.fired.append(member.armed)
        elif not member.hit:
            self.surprises.append(f"{member.name} ended with {code}")
        member.process, member.hit, member.armed = None, "", ""

    def _spawn(self, member: Member) -> None:
        member.armed = member.extra.get("XINHUO_FAULT_POINT", "")
        environment = {**self._environment, **member.extra}
        member.extra = {}
        with (self._folder / f"{member.name}.log").open("ab") as output:
            member.process = subprocess.Popen(  # noqa: S603  (commands of our own)
                member.command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    def _signal(self, member: Member, number: signal.Signals) -> None:
        process = member.process
        if process is not None and process.poll() is None:
            process.send_signal(number)

    def _is_ready(self, member: Member) -> bool:
        process = member.process
        if process is None or process.poll() is not None:
            return False
        if member.port is None:
            return True
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{member.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError:
            return False
        except (urllib.error.URLError, OSError):
            return False


def environment_for(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without settings of Xinhuo, but for the adapter, and with the given ones."""
    ours = ("AMQP_URI", "DATABASE_URL")
    stays = ("XINHUO_TEST", "XINHUO_ADAPTER")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.endswith(ours) and (not name.startswith("XINHUO_") or name.startswith(stays))
    }
    return {**kept, **settings}


#: Makes the command of a service's process: service, role, port.
CommandOf = Callable[[str, str, int], list[str]]

"""The processes of ``xinhuo up`` on RabbitMQ: one for each service, kept running.

Each is api and worker in one (``--role all``): four processes are up in half the time of eight, and a trial has no
load that would need them apart. ``xinhuo serve`` runs them apart.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from xinhuo.chassis import logs
from xinhuo.chassis.config import SERVICES, Settings

log = logs.get("children")
#: After it has left and drained, a process may take so long to send its last traces and to end.
_ENDING_SECONDS = 10.0
_READY_SECONDS = 60.0


class ChildFailed(Exception):
    """A process of a service ended, or hung, while it was starting; the text ends with the end of its log."""


class Children:
    """Starts the processes, starts one again that ends by itself, and stops them all."""

    def __init__(self, settings: Settings, environment: dict[str, str], keys: Mapping[str, str]) -> None:
        """``keys`` are those with which services ask others."""
        self._settings, self._environment, self._keys = settings, environment, keys
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self._stopping, self._ended = threading.Event(), threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="children", daemon=True)

    def start(self) -> None:
        """Start all processes and the thread that watches them."""
        for name in SERVICES:
            self._spawn(name)

    def wait_ready(self) -> None:
        """Wait until every process says it is ready; raises ChildFailed."""
        deadline = time.monotonic() + _READY_SECONDS
        for name, process in self._processes.items():
            while not self._is_ready(name):
                if process.poll() is not None:
                    raise self._failed(name, f"已退出 / ended with {process.returncode}")
                if time.monotonic() > deadline:
                    raise self._failed(name, f"{_READY_SECONDS:.0f} 秒内未就绪 / not ready in time")
                self._stopping.wait(0.1)
        self._watcher.start()

    def stop(self) -> None:
        """Let all finish what they are at, then end."""
        self._stopping.set()
        with self._lock:
            processes = list(self._processes.values())
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(self._settings.leave_seconds + self._settings.drain_seconds + _ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._ended.set()
        if self._watcher.is_alive():
            self._watcher.join()

    def _log_path(self, name: str) -> Path:
        return self._settings.data.absolute() / "logs" / f"{name}.log"

    def _failed(self, name: str, what: str) -> ChildFailed:
        path = self._log_path(name)
        last = "\n".join(path.read_text(encoding="utf-8").splitlines()[-5:])
        return ChildFailed(f"{name} {what}（{path}）:\n{last}")

    def _spawn(self, name: str) -> None:
        path = self._log_path(name)
        path.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "xinhuo.cli.process", name, "--role", "all"]
        command += ["--port", str(self._settings.port_of(name)), "--parent", str(os.getpid())]
        own = {"XINHUO_SERVICE_KEY": self._keys[name]} if name in self._keys else {}
        with path.open("ab") as output:
            self._processes[name] = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
                command, env=self._environment | own, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    def _is_ready(self, name: str) -> bool:
        address = f"http://{self._settings.host}:{self._settings.port_of(name)}/readyz"
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(address, timeout=2) as answer,
        ):
            return bool(answer.status == 200)
        return False

    def _watch(self) -> None:
        while not self._stopping.wait(1.0):
            with self._lock:
                self._start_ended_again()
        # The kernel kills a child when the thread that started it ends: not while it finishes its work.
        self._ended.wait()

    def _start_ended_again(self) -> None:
        for name, process in list(self._processes.items()):
            if process.poll() is not None and not self._stopping.is_set():
                log.error("child_ended", service=name, code=process.returncode)
                self._spawn(name)

"""Start a program of `programs/`, read what it says line by line, and end it whatever happens."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import end
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[3]


class Program:
    """A running program with the lines it has written so far."""

    def __init__(self, module: str, *arguments: str, **environment: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-W", "ignore", "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """Everything written so far."""
        return "\n".join(self.lines)

    def said(self, text: str) -> list[str]:
        """Return the lines that contain a text."""
        return [line for line in list(self.lines) if text in line]

    def wait_until_said(self, text: str, *, times: int = 1, timeout: float = 20) -> str:
        """Return the last line with a text, when it was written so many times."""

        def enough() -> list[str]:
            found = self.said(text)
            if len(found) < times and self.process.poll() is not None:
                self._reader.join(5)
                found = self.said(text)
                assert len(found) >= times, f"ended with {self.process.returncode}:\n{self.output}"
            return found if len(found) >= times else []

        try:
            return wait_for(enough, timeout, f"{times} lines with {text!r}")[-1]
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.output[-6000:]}") from None

    def wait_until_ended(self, timeout: float = 20) -> int:
        """Return the exit code, when there is one and everything it wrote was read."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s:\n{self.output[-6000:]}") from None
        self._reader.join(5)
        return code

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill at once, as a power cut would, and wait for the end."""
        self.process.kill()
        self.wait_until_ended()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip("\n"))


@contextmanager
def running(module: str, *arguments: str, **environment: str) -> Iterator[Program]:
    """Run `programs/<module>.py` for the length of a block; its stdout and stderr are read together."""
    program = Program(f"{__package__}.programs.{module}", *arguments, **environment)
    try:
        yield program
    finally:
        end(program.process, signal.SIGKILL, 10)
        if program.process.stdout is not None:
            program._reader.join(5)
            program.process.stdout.close()

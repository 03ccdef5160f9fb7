"""A process of its own for files of strangers: limited memory and time, no inherited secrets, bytes in and out.

The child gets an almost empty environment, so that neither addresses nor passwords are within its reach.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from xinhuo.chassis.errors import RuleError, Unavailable

from ..domain import workbooks as errors
from .results import FileProblem

MEMORY = 1536 * 1024 * 1024
READ_SECONDS = 60
MARK_SECONDS = 120
#: A process reads at most so many workbooks at once; others wait, for at most so many seconds.
_AT_ONCE = threading.BoundedSemaphore(2)
_WAIT_SECONDS = 30
_OUT_OF_MEMORY = 3
_REFUSED = 4
_ROOT = Path(__file__).resolve().parents[3]
_MODULES = {"reader": READ_SECONDS, "marker": MARK_SECONDS}


class WorkbooksBusy(Unavailable):
    """Too many workbooks are being read at the moment."""

    code = "import.busy"
    title = "正在处理的文件过多"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "正在处理的文件较多，请稍后重试。", "Too many workbooks are being read right now; try again shortly."
        )


def encode(value: Any) -> bytes:
    """Return the JSON of a result."""
    return msgspec.json.encode(value)


# --- In the child ---------------------------------------------------------------------------------------


def main(work: Callable[[bytes], bytes]) -> None:
    """Run the work on standard input under limits, and write its result or the reason of its refusal.

    What goes wrong unexpectedly is told by class and line only: messages may quote the file.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MARK_SECONDS, MARK_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        result = work(sys.stdin.buffer.read())
    except RuleError as error:
        sys.stdout.buffer.write(encode(_problem_of(error)))
        sys.stdout.flush()
        os._exit(_REFUSED)
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
    except BaseException as error:  # a panic of the Rust reader is no Exception
        sys.stderr.write(_place_of(error))
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.buffer.write(result)


def _problem_of(error: RuleError) -> FileProblem:
    return FileProblem(type(error).__name__, error.zh, error.en, error.extra)


def _place_of(error: BaseException) -> str:
    trace = error.__traceback__
    line = ""
    while trace is not None:
        line = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__} at {line}"


# --- In the parent --------------------------------------------------------------------------------------


def run(program: str, data: bytes, *arguments: str) -> bytes:
    """Run ``reader`` or ``marker`` on a file and return what it writes.

    Raises what the program refused the file for; WorkbookTooComplex when it ran out of time or memory;
    WorkbookUnreadable when it failed on the file; WorkbooksBusy when too many files are being read.
    """
    with _slot():
        try:
            done = subprocess.run(  # noqa: S603  (our own module, no shell, no input in the arguments)
                [sys.executable, "-m", f"{__package__}.{program}", *arguments],
                input=data,
                capture_output=True,
                check=False,
                timeout=_MODULES[program],
                cwd=_ROOT,
                env=_environment(),
            )
        except subprocess.TimeoutExpired:
            raise errors.WorkbookTooComplex from None
    if done.returncode == 0:
        return done.stdout
    if done.returncode == _REFUSED:
        raise _error_of(msgspec.json.decode(done.stdout, type=FileProblem))
    if done.returncode == _OUT_OF_MEMORY or done.returncode < 0 or b"memory allocation" in done.stderr:
        raise errors.WorkbookTooComplex
    place = done.stderr[-200:].decode("ascii", "replace")
    from xinhuo.chassis import logs  # only here: the child has no use for it and would start later

    logs.get("workbooks").error("workbook_program_failed", program=program, status=done.returncode, place=place)
    raise errors.WorkbookUnreadable


def _error_of(problem: FileProblem) -> RuleError:
    """Make the error anew; the child can name errors of ``domain.workbooks`` only."""
    kind = getattr(errors, problem.error, None)
    if not (isinstance(kind, type) and issubclass(kind, RuleError)):
        return errors.WorkbookUnreadable()
    error = kind.__new__(kind)
    RuleError.__init__(error, problem.zh, problem.en, extra=problem.extra)
    return error


@contextlib.contextmanager
def _slot() -> Iterator[None]:
    if not _AT_ONCE.acquire(timeout=_WAIT_SECONDS):
        raise WorkbooksBusy
    try:
        yield
    finally:
        _AT_ONCE.release()


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    return {**kept, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "OPENPYXL_DEFUSEDXML": "True"}

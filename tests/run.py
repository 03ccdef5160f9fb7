"""Runs all suites with servers of their own: `make test ARGS="..."`.

Starts one RabbitMQ node and one PostgreSQL for the whole run and ends them whatever happens. Exit code 0 when
everything passed, 1 when something failed, 3 when a server is neither given nor installable.
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from tests.support.processes import ADAPTER
from tests.support.servers import (
    AMQP_URI,
    DATABASE_URL,
    RABBIT_NODE,
    Debian15Postgres,
    Servers,
    ServersUnavailable,
    WheelPostgres,
)

ROOT = Path(__file__).resolve().parents[1]
NO_TESTS_COLLECTED = 5
TOOK_TOO_LONG = 124


@dataclass
class Stage:
    """One call of pytest: some suites, on one Python and one PostgreSQL."""

    name: str
    suites: tuple[str, ...]
    servers: bool = False
    leave_out: tuple[str, ...] = ()
    python: str = sys.executable
    postgres: type[WheelPostgres] | type[Debian15Postgres] = WheelPostgres
    quick: bool = True
    only: str = ""
    """Of the tests, those whose names match, as for `-k`."""
    workers: int = 3
    """How many tests run at once; more than two cores, as many wait for servers most of the time."""
    nightly: bool = False
    """Runs only when it is named: it takes hours."""
    variables: tuple[tuple[str, str], ...] = ()
    """More of the environment."""
    without_nameko: bool = False
    """In an environment that has neither nameko nor eventlet, with services on threads."""
    limit: float = 1200
    """Seconds after which the stage is ended and has failed: one that hangs must not use up the time of the rest."""
    note: str = ""
    """What to say about it in the end."""
    not_here: str = ""
    """Why the stage cannot run on this machine; empty when it can."""


@dataclass
class Outcome:
    """What came of a stage."""

    stage: Stage
    code: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0


def stages() -> Iterator[Stage]:
    """Yield the stages in their order."""
    yield Stage("unit", ("unit",))
    yield Stage("contract", ("contract",))
    yield Stage("integration", ("integration", "fuzz"), servers=True)
    # Each adapter once: threads in the environment that it is for.
    yield Stage("conformance", ("conformance",), servers=True, only="not threads")
    yield Stage("e2e", ("e2e",), servers=True)
    # What is deployed: images, manifests, monitoring, backup. It installs what it needs from Debian's packages.
    yield Stage("deploy", ("deploy",), servers=True, quick=False)
    # Proofs have servers of their own, and would disturb each other.
    yield Stage("faults", ("faults",), servers=True, leave_out=("faults/nightly",), workers=0)
    # What runs without a broker runs on threads in the stages above, too, and imports neither of the two there;
    # what is left out shows the same on either adapter.
    on_threads = Stage(
        "threads-all",
        ("conformance", "e2e"),
        servers=True,
        only="not embedded and not inprocess",
        leave_out=("e2e/test_cli.py", "e2e/test_documentation.py", "e2e/test_hours_command.py", "e2e/test_run.py"),
        without_nameko=True,
        nightly=True,
    )
    yield on_threads
    # The longest of it by night only: what they show of an adapter, conformance shows in small.
    longest = ("e2e/test_kill.py", "e2e/test_replay.py", "e2e/test_dead_letters.py", "e2e/test_subscribing.py")
    yield replace(on_threads, name="threads", leave_out=(*on_threads.leave_out, *longest), quick=False, nightly=False)
    # Another Python and another PostgreSQL together: which of the two a failure comes from is soon found.
    newer = python_3_13()
    older = Debian15Postgres.installed()
    other_versions = Stage(
        "other-versions",
        ("unit", "contract", "integration", "e2e/test_slice.py"),
        servers=True,
        # Shown on the versions that we ship for, and of the broker, of processes or of answers rather than of Python
        # and PostgreSQL: what our own servers refuse, who may do what, what the stack does to whom.
        leave_out=(
            "contract/test_supply_chain.py",
            *(
                f"integration/{path}"
                for path in (
                    "audit/test_written.py", "bad_inputs", "broker_users", "chassis/test_amqp.py",
                    "rights/test_attacks.py", "rights/test_rights.py", "test_doctor.py", "test_embedded_postgres.py",
                    "test_servers.py", "traps",
                )
            ),
        ),
        python=newer or sys.executable,
        postgres=Debian15Postgres if older else WheelPostgres,
        quick=False,
        note=", ".join(
            f"{what}: {'used' if there else 'skipped, it is not installed'}"
            for what, there in (("Python 3.13", newer), ("Debian's PostgreSQL 15", older))
        ),
        not_here="" if newer or older else "neither Python 3.13 nor Debian's PostgreSQL 15 is installed",
    )  # fmt: skip
    yield other_versions
    yield replace(other_versions, name="other-versions-all", leave_out=(), nightly=True, limit=3600)
    yield Stage(
        "nightly",
        ("faults/nightly", "faults/test_model.py", "fuzz", "deploy/test_restore_drill.py"),
        servers=True,
        workers=0,
        nightly=True,
        limit=6 * 3600,
        variables=(("XINHUO_TEST_MODEL", "500x50"), ("XINHUO_TEST_FUZZ", "5000"), ("XINHUO_TEST_DRILL", "500")),
    )


def python_3_13() -> str | None:
    """Return a Python 3.13 that runs, from the PATH or from pyenv's folder of versions."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = ["python3.13", *map(str, sorted(pyenv.glob("versions/3.13*/bin/python3.13")))]
    for candidate in candidates:
        # A version manager leaves names on the PATH that do not run.
        if shutil.which(candidate) and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return candidate
    return None


def main() -> int:
    """Run the wanted stages and print what came of them."""
    options, for_pytest = arguments()
    signal.signal(signal.SIGTERM, _terminated)
    # A shell lets what runs in its background ignore this one, and so would every program under test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chosen = [stage for stage in stages() if _wanted(stage, options)]
    servers = Servers()
    outcomes: list[Outcome] = []
    try:
        for number, stage in enumerate(chosen):
            if not stage.workers:  # it waits most of its time; the environments of later stages are made meanwhile
                threading.Thread(target=_prepare, args=(chosen[number + 1 :],), daemon=True).start()
            outcomes.append(run(stage, servers, options, for_pytest))
    except ServersUnavailable as missing:
        print(missing, file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    finally:
        servers.stop()
    return report(outcomes, options.seed)


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """Read the command line; what is not ours goes to pytest."""
    parser = argparse.ArgumentParser(prog="make test ARGS=...", description=__doc__)
    names = [stage.name for stage in stages()]
    parser.add_argument("--quick", action="store_true", help="this Python and the wheel's PostgreSQL only")
    parser.add_argument("--stage", action="append", choices=names, help="only this stage; may be repeated")
    parser.add_argument("-k", metavar="EXPRESSION", help="only tests whose names match, as in pytest")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="of the random order")
    return parser.parse_known_args()


def _wanted(stage: Stage, options: argparse.Namespace) -> bool:
    if options.stage:
        return stage.name in options.stage
    return not stage.nightly and (stage.quick or not options.quick)


def run(stage: Stage, servers: Servers, options: argparse.Namespace, for_pytest: list[str]) -> Outcome:
    """Run one stage and count its tests."""
    outcome = Outcome(stage)
    if stage.not_here:
        print(f"\n=== {stage.name}: skipped, {stage.not_here} ===", flush=True)
        return outcome
    print(f"\n=== {stage.name}: {', '.join(stage.suites)} (seed {options.seed}) ===", flush=True)
    started = time.monotonic()
    python = _interpreter_of(stage)
    with tempfile.TemporaryDirectory(prefix="xinhuo-report-") as folder:
        results = Path(folder) / "results.xml"
        command = [python, "-m", "pytest", "-q", f"--junitxml={results}", f"--randomly-seed={options.seed}"]
        command += [
            "-n",
            str(stage.workers),
            "--dist",
            "loadfile",
            *(f"--ignore=tests/{path}" for path in stage.leave_out),
        ]
        if chosen := " and ".join(f"({names})" for names in (options.k, stage.only) if names):
            command += ["-k", chosen]
        # Without a path pytest would run everything.
        suites = [f"tests/{suite}" for suite in stage.suites if _has_tests(ROOT / "tests" / suite)]
        command += [*for_pytest, *suites]
        if suites:
            settings = environment(stage, servers)
            outcome.code = _run_for_so_long(command, settings, stage.limit)
        else:
            outcome.code = NO_TESTS_COLLECTED
        if results.exists():
            count(results, outcome)
    if outcome.code == NO_TESTS_COLLECTED and options.k:
        outcome.code = 0
    outcome.seconds = time.monotonic() - started
    return outcome


def _run_for_so_long(command: list[str], settings: dict[str, str], limit: float) -> int:
    """Run pytest; end it and all that it started when the time is over, and return its exit code."""
    process = subprocess.Popen(command, cwd=ROOT, env=settings, start_new_session=True)
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        print(f"\n=== not done after {limit:.0f} s: ended ===", flush=True)
        return TOOK_TOO_LONG
    finally:
        if process.poll() is None:
            _end_group(process)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Let the tests end what they started; then end what is left."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _has_tests(path: Path) -> bool:
    return path.is_file() or any(path.glob("**/test_*.py"))


def _interpreter_of(stage: Stage) -> str:
    """Return the Python of a stage, in an environment made for it if need be."""
    if stage.without_nameko:
        subprocess.run(["tools/install.sh", "threads-dev", ".venv-threads", sys.executable], cwd=ROOT, check=True)
        python = str(ROOT / ".venv-threads" / "bin" / "python")
        program = "import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ['nameko', 'eventlet'])))"
        if subprocess.run([python, "-c", program], cwd=ROOT).returncode != 0:
            raise RuntimeError("nameko or eventlet is installed in .venv-threads; remove the folder and run again")
        return python
    return stage.python if stage.python == sys.executable else _environment_for(stage.python)


def _prepare(stages: list[Stage]) -> None:
    for stage in stages:
        # What goes wrong here goes wrong again, and is said, when it is the stage's turn.
        with contextlib.suppress(subprocess.CalledProcessError, RuntimeError):
            if not stage.not_here:
                _interpreter_of(stage)


def _environment_for(python: str) -> str:
    """Install the locked requirements for another Python and return that environment's interpreter."""
    subprocess.run(["tools/install.sh", "dev", ".venv-3.13", python], cwd=ROOT, check=True)
    return str(ROOT / ".venv-3.13" / "bin" / "python")


def environment(stage: Stage, servers: Servers) -> dict[str, str]:
    """Return the environment of a stage: this one's without settings of Xinhuo, and with the servers."""
    settings = re.compile(r"(XINHUO_(?!TEST)|AMQP_URI$|(.*_)?DATABASE_URL$)")
    inherited = {k: v for k, v in os.environ.items() if k.startswith("XINHUO_TEST_") or not settings.match(k)}
    if stage.without_nameko:
        inherited |= {ADAPTER: "threads", "XINHUO_ADAPTER": "threads"}
    inherited |= dict(stage.variables)
    if not stage.servers:
        return inherited
    node = servers.rabbit(wait=False)
    inherited[DATABASE_URL] = servers.postgres(stage.postgres)
    if node is not None:
        node.wait_until_ready()
        inherited[RABBIT_NODE] = str(node.folder)
    else:
        inherited[AMQP_URI] = os.environ[AMQP_URI]
    return inherited


def count(results: Path, outcome: Outcome) -> None:
    """Read pytest's own report."""
    for suite in ElementTree.parse(results).getroot().iter("testsuite"):  # noqa: S314 - written by our pytest
        tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        outcome.failed += failed
        outcome.skipped += skipped
        outcome.passed += tests - failed - skipped


def report(outcomes: list[Outcome], seed: int) -> int:
    """Print the table of stages and the closing line, and return the exit code."""
    print(f"\n{'stage':<16}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}   (seed {seed})")
    for outcome in outcomes:
        note = f"   skipped: {outcome.stage.not_here}" if outcome.stage.not_here else f"   {outcome.stage.note}"
        if outcome.code == NO_TESTS_COLLECTED:
            note = "   FAILED: no tests found"
        elif outcome.code:
            note = f"   FAILED: exit code {outcome.code}"
        print(
            f"{outcome.stage.name:<16}{outcome.passed:>8}{outcome.failed:>8}{outcome.skipped:>9}"
            f"{outcome.seconds:>9.1f}{note.rstrip()}"
        )
    bad = [outcome for outcome in outcomes if outcome.code]
    # A stage that broke before its tests ran counts as one failure, so that the closing line tells the truth.
    failed = sum(outcome.failed for outcome in outcomes) + sum(not outcome.failed for outcome in bad)
    passed = sum(outcome.passed for outcome in outcomes)
    skipped = sum(outcome.skipped for outcome in outcomes)
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if bad else 0


def _terminated(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

"""Killed with -9 at any moment and started again, `xinhuo up` loses nothing and counts nothing twice.

The moments come from a seed, which is printed; XINHUO_TEST_KILL_SEED gives it again.
"""

import os
import random
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.e2e.conftest import Loaded
from tests.support.installation import SERVICES, Installation, descendants
from tests.support.processes import tail

#: For how long a moment may be waited for, and how often is looked.
PATIENCE = 90.0
LOOK_EVERY = 0.03


@dataclass(frozen=True)
class Moment:
    """Something that can be seen to have happened, and for how long, at most, the kill is held back then."""

    what: str
    came: Callable[[Installation], bool]
    hold: float


def folder_has(pattern: str) -> Callable[[Installation], bool]:
    return lambda installation: any(installation.data.glob(pattern))


def counts(statement: str, at_least: int) -> Callable[[Installation], bool]:
    def came(installation: Installation) -> bool:
        try:
            return int(installation.scalar(statement)) >= at_least
        except (psycopg.OperationalError, psycopg.errors.UndefinedTable, OSError, IndexError):
            return False  # no database yet, or none again yet

    return came


def registering(chance: random.Random, low: int, high: int) -> Moment:
    number = chance.randint(low, high)
    return Moment(f"{number} volunteers", counts("SELECT count(*) FROM volunteers.volunteers", number), 0.1)


CHECKED = Moment("the workbook is checked", counts("SELECT count(*) FROM volunteers.imports", 1), 0.2)
ENTERING = Moment(
    "the import is confirmed", counts("SELECT count(*) FROM volunteers.imports WHERE state <> 'checked'", 1), 0.6
)
SETTLING = Moment("acknowledgements are written", counts("SELECT count(*) FROM notify.messages", 1), 0.4)


def embedded_moments(chance: random.Random) -> list[Moment]:
    return [
        Moment("initdb works", folder_has(".initdb-*"), 0.6),
        Moment("the data folder is made", folder_has("postgres"), 1.0),
        Moment("units are registered", counts("SELECT count(*) FROM notices.units", 1), 0.2),
        registering(chance, 1, 200),
        registering(chance, 201, 399),
        CHECKED,
        ENTERING,
        SETTLING,
    ]


def rabbitmq_moments(chance: random.Random) -> list[Moment]:
    return [registering(chance, 100, 399), ENTERING]


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("XINHUO_TEST_KILL_SEED") or random.SystemRandom().randrange(2**32))
    print(f"XINHUO_TEST_KILL_SEED={seed}")
    return random.Random(seed)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("broker", "moments_of"),
    [("embedded", embedded_moments), ("rabbitmq", rabbitmq_moments)],
    ids=["embedded", "rabbitmq"],
)
def test_killed_again_and_again_it_comes_to_the_figures_of_a_run_without_a_kill(
    broker: str,
    moments_of: Callable[[random.Random], list[Moment]],
    chance: random.Random,
    install: Callable[[str], Installation],
    load: Callable[[str], Loaded],
) -> None:
    unkilled = load("embedded").first.figures
    victim = install(broker)
    alone = chance.choice([True, False])
    for moment in moments_of(chance):
        process = victim.spawn("--json")
        wait_for_moment(moment, victim, process)
        if broker == "rabbitmq":
            kill_a_child(victim, process, chance)
        hold(process, chance.uniform(0, moment.hold))
        print(f"kill: {moment.what}; {'alone' if alone else 'with its children'}")
        victim.kill(with_children=not alone)
        alone = not alone

    assert {**victim.shown().figures, "seconds": 0} == {**unkilled, "seconds": 0}
    assert list(victim.data.glob(".initdb-*")) == []
    assert victim.troubles() == {"parked_events": 0, "dead_letters": 0, "outbox": 0}
    effects = sum(victim.scalar(f"SELECT count(*) FROM {service}.inbox") for service in SERVICES)  # noqa: S608
    assert effects == expected_effects(victim)
    victim.assert_stops_well(signal.SIGTERM)


def wait_for_moment(moment: Moment, victim: Installation, process: "subprocess.Popen[bytes]") -> None:
    looks = int(PATIENCE / LOOK_EVERY)
    for _ in range(looks):
        if moment.came(victim):
            return
        hold(process, LOOK_EVERY)
        assert process.returncode is None, f"ended with {process.returncode}:\n{tail(victim.output, 40)}"
    pytest.fail(f"waited in vain for the moment when {moment.what}:\n{tail(victim.output, 40)}")


def hold(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Let some time pass in the life of a process."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def kill_a_child(victim: Installation, process: "subprocess.Popen[bytes]", chance: random.Random) -> None:
    """Kill one process of one service, which is then started again without anybody's help."""
    services = [pid for pid in descendants(process.pid) if b"xinhuo.cli.process" in command_line(pid)]
    assert services, tail(victim.output)
    pid = chance.choice(sorted(services))
    print(f"kill: {command_line(pid).decode()}")
    os.kill(pid, signal.SIGKILL)


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return b""


def expected_effects(victim: Installation) -> int:
    """Count the recorded events, each as often as there are handlers for it."""
    from xinhuo.chassis.markers import Subscription, marked
    from xinhuo.cli.build import service_classes

    wanted = [
        (event.publisher, event.topic)
        for service in service_classes()
        for mark in marked(service, Subscription).values()
        for event in mark.events
    ]
    return sum(
        victim.scalar(f"SELECT count(*) FROM {publisher}.outbox WHERE type = %s", topic)  # noqa: S608
        for publisher, topic in wanted
    )

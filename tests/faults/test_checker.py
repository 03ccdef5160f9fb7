"""The checker is worth nothing unless it finds what is wrong: three defects are planted, and one run has none."""

import sys
from pathlib import Path

import pytest

from xinhuo.cli.prove import run
from xinhuo.cli.prove.faults import Fault
from xinhuo.cli.prove.servers import Servers

SECONDS = 12.0
#: A luck whose first draw is the wanted point; found once per name below.
POINT_LUCK = range(200)


def planted(defect: str) -> run.CommandOf:
    def command(service: str, role: str, port: int) -> list[str]:
        return [sys.executable, "-m", "tests.faults.planted", defect, service, "--role", role, "--port", str(port)]

    return command


def at_point(point: str, *times: float) -> list[Fault]:
    """Faults that kill a process at one named point."""
    import random

    from xinhuo.chassis.faultpoints import POINTS

    luck = next(n for n in POINT_LUCK if random.Random(n).choice(sorted(POINTS)) == point)
    return [Fault(at, "point", luck) for at in times]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("defect", "planned", "broken", "figure"),
    [
        ("ack_before_commit", at_point("before_commit", 2, 5, 8), "I5", "lost"),
        ("no_inbox", [Fault(4, "duplicates", 1), Fault(8, "duplicates", 2)], "I2", "twice"),
        ("publish_after_commit", at_point("after_commit_before_answer", 2, 5, 8), "I5", "lost"),
    ],
    ids=["ack_before_commit", "no_inbox", "publish_after_commit"],
)
def test_a_planted_defect_is_found(
    defect: str, planned: list[Fault], broken: str, figure: str, own: Servers, tmp_path: Path
) -> None:
    options = run.Options(
        SECONDS, 1, with_plain=False, folder=tmp_path, planned=planned, command_of=planted(defect), patience=20,
        until_planned=True,
    )  # fmt: skip

    found = run.prove(own, options)

    assert not found["ok"]
    assert found[figure] > 0, found
    assert not found["invariants"][broken]["ok"], found


@pytest.mark.timeout(240)
def test_the_same_faults_without_a_defect_break_nothing(own: Servers, tmp_path: Path) -> None:
    planned = [
        *at_point("before_commit", 2),
        Fault(4, "duplicates", 1),
        *at_point("after_commit_before_answer", 6),
        Fault(8, "poison", 3),
    ]
    options = run.Options(SECONDS, 1, with_plain=False, folder=tmp_path, planned=planned)

    found = run.prove(own, options)

    assert found["ok"], found
    assert found["poison"] == found["dead_letters"] > 0
    assert found["written"] > 50

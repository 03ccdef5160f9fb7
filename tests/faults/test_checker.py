"""The checker is worth nothing unless it finds what is wrong: three defects are planted."""

import sys
from pathlib import Path

import pytest

from tests.faults.points import at_point
from xinhuo.cli.prove import run
from xinhuo.cli.prove.faults import Fault
from xinhuo.cli.prove.servers import Servers

SECONDS = 12.0


def planted(defect: str) -> run.CommandOf:
    def command(service: str, role: str, port: int) -> list[str]:
        return [sys.executable, "-m", "tests.faults.planted", defect, service, "--role", role, "--port", str(port)]

    return command


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
        SECONDS, 1, with_plain=False, folder=tmp_path, planned=planned, command_of=planted(defect), patience=8,
        until_planned=True,
    )  # fmt: skip

    found = run.prove(own, options)

    assert not found["ok"]
    assert found[figure] > 0, found
    assert not found["invariants"][broken]["ok"], found

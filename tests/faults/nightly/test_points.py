"""Killed at each named point, again and again, under load."""

from pathlib import Path

import pytest

from tests.faults.judging import assert_proved
from tests.faults.points import at_point
from xinhuo.chassis.faultpoints import POINTS
from xinhuo.cli.prove import run
from xinhuo.cli.prove.faults import Fault
from xinhuo.cli.prove.servers import Servers


@pytest.mark.timeout(400)
@pytest.mark.parametrize("point", sorted(POINTS))
def test_killed_at_a_named_point(point: str, own: Servers, tmp_path: Path) -> None:
    planned = at_point(point, 3, 8, 13, 18)
    options = run.Options(25, 1, with_plain=False, folder=tmp_path, planned=planned, until_planned=True)

    found = run.prove(own, options)

    assert_proved(found)
    assert any(fired.startswith(point) for fired in found["points"]), found["points"]


@pytest.mark.timeout(400)
def test_duplicates_and_poison_together(own: Servers, tmp_path: Path) -> None:
    planned = [Fault(3.0 + number, ("duplicates", "poison")[number % 2], number) for number in range(10)]
    options = run.Options(15, 1, with_plain=False, folder=tmp_path, planned=planned, until_planned=True)

    found = run.prove(own, options)

    assert_proved(found)
    assert found["poison"] > 0
    assert found["repeated"] > 0

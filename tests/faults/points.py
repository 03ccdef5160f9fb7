"""Plans that kill processes at one named point."""

import itertools
import random

from xinhuo.chassis.faultpoints import POINTS
from xinhuo.cli.prove.faults import Fault


def at_point(point: str, *times: float) -> list[Fault]:
    """Return faults that kill a process at the named point, at these seconds."""
    luck = next(number for number in itertools.count() if random.Random(number).choice(sorted(POINTS)) == point)
    return [Fault(at, "point", luck) for at in times]

"""Ten seeds of the full length; the first one beside plain nameko."""

from pathlib import Path

import pytest

from tests.faults.judging import assert_proved
from xinhuo.cli.prove import run
from xinhuo.cli.prove.servers import Servers

SECONDS = 90.0


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(1, 11))
def test_ninety_seconds_of_faults(seed: int, own: Servers, tmp_path: Path) -> None:
    again = f'make prove ARGS="--seconds {SECONDS:.0f} --seed {seed}"'

    found = run.prove(own, run.Options(SECONDS, seed, with_plain=seed == 1, folder=tmp_path, again=again))

    assert_proved(found)
    assert sum(found["faults"].values()) >= 8
    assert len(found["faults"]) >= 4

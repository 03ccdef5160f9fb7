"""The proof itself, short: one seed that is always the same, and one that nobody chose."""

from pathlib import Path

import pytest

from tests.faults.judging import assert_proved
from xinhuo.cli.prove import run
from xinhuo.cli.prove.servers import Servers

SECONDS = 30.0


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [20200305, None], ids=["fixed", "random"])
def test_nothing_is_lost_or_counted_twice(seed: int | None, own: Servers, tmp_path: Path) -> None:
    chosen = run.new_seed() if seed is None else seed
    again = f'make prove ARGS="--seconds {SECONDS:.0f} --seed {chosen}"'

    found = run.prove(own, run.Options(SECONDS, chosen, with_plain=False, folder=tmp_path, again=again))

    assert_proved(found)
    assert len(found["faults"]) >= 4

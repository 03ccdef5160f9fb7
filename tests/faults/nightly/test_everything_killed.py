"""A power cut, ten times over, while twenty thousand rows are imported: services, broker and database at once."""

import random
import time
from pathlib import Path

import pytest

from tests.faults.judging import assert_proved
from tests.faults.servers import own_servers
from xinhuo.cli.prove import run
from xinhuo.cli.prove.faults import Fault, Hands, Injector
from xinhuo.cli.prove.fleet import Fleet

ROWS, CUTS = 20_000, 10


@pytest.mark.timeout(900)
def test_ten_power_cuts_amid_an_import_of_twenty_thousand_rows(tmp_path: Path) -> None:
    """The cuts come at moments from just after the confirmation to the settling of the last events."""
    with own_servers() as servers:
        fleets: list[Fleet] = []

        def power_cut(chance: random.Random) -> None:
            (fleet,) = fleets
            fleet.kill(fleet.members)
            for cut in ("broker_dies", "postgres_dies"):
                servers.actions[cut](chance)
            for back in ("postgres_returns", "broker_returns"):
                servers.actions[back](chance)
            fleet.wait_ready(120)
            time.sleep(chance.uniform(0.5, 8.0))

        def remember(hands: Hands) -> Injector:
            fleets.append(hands.fleet)
            return Injector(hands)

        luck = random.Random(10)
        planned = [Fault(3.0 + number / 10, "power_cut", luck.randrange(2**31)) for number in range(CUTS)]
        options = run.Options(
            600, 10, rate=4, with_plain=False, folder=tmp_path, planned=planned, import_rows=ROWS, people=400,
            patience=300, until_planned=True, injector=remember, actions={"power_cut": power_cut},
        )  # fmt: skip

        found = run.prove(servers, options)

        assert found["faults"] == {"power_cut": CUTS}
        assert found["written"] >= ROWS
        assert_proved(found)

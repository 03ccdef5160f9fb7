"""A power cut, ten times over, while twenty thousand rows are imported: services, broker and database at once."""

import random
import time
from pathlib import Path

import psycopg
import pytest

from tests.faults.hands import noted_in
from tests.faults.judging import assert_proved
from tests.faults.servers import own_servers
from tests.support.waiting import wait_for
from xinhuo.cli.prove import run
from xinhuo.cli.prove.faults import Fault, Hands

ROWS, CUTS = 20_000, 10


def is_entering(database_url: str) -> bool:
    """Tell whether a worker is at the import, or through with it; each cut makes it begin anew."""
    try:
        with psycopg.connect(database_url, connect_timeout=5) as connection:
            row = connection.execute(
                "SELECT state = 'done' OR (state = 'confirmed' AND done > 0) FROM volunteers.imports"
                " JOIN volunteers.import_progress ON import_id = id"
            ).fetchone()
    except psycopg.OperationalError:
        return False
    return bool(row and row[0])


@pytest.mark.timeout(1800)
def test_ten_power_cuts_amid_an_import_of_twenty_thousand_rows(tmp_path: Path) -> None:
    """The cuts come while a worker enters the rows and while their events settle."""
    with own_servers() as servers:
        given: list[Hands] = []

        def power_cut(chance: random.Random) -> None:
            (hands,) = given
            assert hands.stirring is not None
            wait_for(lambda: is_entering(hands.stirring.database_url), 240, "the import to be entered")
            time.sleep(chance.uniform(0.0, 3.0))
            fleet = hands.fleet
            fleet.kill(fleet.members)
            for cut in ("broker_dies", "postgres_dies"):
                servers.actions[cut](chance)
            for back in ("postgres_returns", "broker_returns"):
                servers.actions[back](chance)
            fleet.wait_ready(120)

        luck = random.Random(10)
        planned = [Fault(3.0 + number / 10, "power_cut", luck.randrange(2**31)) for number in range(CUTS)]
        options = run.Options(
            600, 10, rate=4, with_plain=False, folder=tmp_path, planned=planned, import_rows=ROWS, people=400,
            patience=300, until_planned=True, injector=noted_in(given), actions={"power_cut": power_cut},
        )  # fmt: skip

        found = run.prove(servers, options)

        assert found["faults"] == {"power_cut": CUTS}
        assert found["written"] >= ROWS
        assert_proved(found)

"""Clocks that are wrong: days ahead, an hour behind, and one that jumps while its process runs."""

import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import psycopg
import pytest

from tests.faults.hands import noted_in
from tests.faults.judging import assert_proved
from tests.support.clocks import with_clock, with_clock_of
from xinhuo.cli.prove import run
from xinhuo.cli.prove.faults import Fault, Hands
from xinhuo.cli.prove.servers import Servers
from xinhuo.cli.prove.system import real_command

JUMPS = ("-2h", "+1d", "-3d", "+0")


def clock_of(command: list[str]) -> datetime:
    """Return what time a process started in this way believes it is."""
    program = [sys.executable, "-c", "import time; print(time.time())"]
    done = subprocess.run([*command[: command.index(sys.executable)], *program], capture_output=True, check=True)
    return datetime.fromtimestamp(float(done.stdout), UTC)


@pytest.mark.timeout(600)
def test_wrong_clocks_lose_nothing_and_date_nothing(own: Servers, tmp_path: Path) -> None:
    jumping = tmp_path / "clock"
    jumping.write_text("+0")
    volunteers_workers = count()

    def command_of(service: str, role: str, port: int) -> list[str]:
        command = real_command(service, role, port)
        if (service, role) == ("volunteers", "api"):
            return with_clock(command, "+3d")
        if (service, role) == ("awards", "worker"):
            return with_clock(command, "-1h")
        if (service, role) == ("volunteers", "worker") and next(volunteers_workers) == 0:
            return with_clock_of(command, jumping)
        return command

    days_ahead = clock_of(command_of("volunteers", "api", 1)) - datetime.now(UTC)
    assert timedelta(days=2, hours=23) < days_ahead < timedelta(days=3, hours=1)
    given: list[Hands] = []
    ahead: list[int] = []

    def jump(chance: random.Random) -> None:
        jumping.write_text(JUMPS[len(ahead) % len(JUMPS)])
        time.sleep(4)
        given[0].fleet.kill([chance.choice(given[0].fleet.matching("worker"))])
        assert given[0].stirring is not None
        with psycopg.connect(given[0].stirring.database_url) as connection:
            # Ids hold the time in their first 48 bits.
            [(found,)] = connection.execute(
                "SELECT count(*) FROM volunteers.outbox, left(replace(id::text, '-', ''), 12) AS dated"
                " WHERE abs(('x' || dated)::bit(48)::bigint / 1000.0 - extract(epoch FROM recorded_at)) > 60"
            )
        ahead.append(found)

    options = run.Options(
        600, 11, rate=20, with_plain=False, folder=tmp_path, until_planned=True, people=300, injector=noted_in(given),
        planned=[Fault(4.0 + number, "clock_jump", number) for number in range(len(JUMPS))],
        actions={"clock_jump": jump}, command_of=command_of,
    )  # fmt: skip

    found = run.prove(own, options)

    assert_proved(found)
    assert ahead == [0] * len(JUMPS), "events were dated by a wrong clock"

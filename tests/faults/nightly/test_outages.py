"""Long outages one by one, each under load: what is kept, how the API fares meanwhile, how fast it is over."""

import contextlib
import random
import re
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.hands import noted_in
from tests.faults.judging import assert_proved
from tests.faults.servers import of, own_pair
from tests.support.servers import RabbitNode
from xinhuo.cli.prove import history, run
from xinhuo.cli.prove.faults import Fault, Hands
from xinhuo.cli.prove.servers import Servers

Act = Callable[[Hands, Servers, random.Random], None]


class Outage:
    """Runs a proof whose one kind of fault is the given one, and notes its figures."""

    def __init__(self, folder: Path, note: Callable[..., None]) -> None:
        self.folder, self.note = folder, note

    def prove(
        self, act: Act, *, times: int = 1, seconds: float = 600, postgres_folder: Path | None = None, **more: Any
    ) -> dict[str, Any]:
        """Run it and check every invariant."""
        with own_pair(postgres_folder) as (node, postgres):
            servers = of(node, postgres)
            hands: list[Hands] = []

            planned = [Fault(4.0 + number, "outage", number) for number in range(times)]
            options = run.Options(
                seconds,
                7,
                with_plain=False,
                folder=self.folder,
                planned=planned,
                until_planned=True,
                people=300,
                injector=noted_in(hands),
                actions={"outage": lambda chance: act(hands[0], servers, chance)},
                **more,
            )
            found = run.prove(servers, options)
            self.note(
                written=found["written"], lost=found["lost"], twice=found["twice"], unknown=found["unknown"],
                p95_ms=round(self.p95() * 1000), answered=f"{self.answered():.1%}",
                recovery_s=found["recovery_seconds"], redelivered=redelivered(node),
            )  # fmt: skip
        assert_proved(found)
        return found

    def answered(self) -> float:
        """Return the share of the calls that were answered well."""
        calls = self._calls()
        return sum(call.outcome == "ok" for call in calls) / len(calls)

    def p95(self) -> float:
        """Return the time, in seconds, in which 95 of 100 calls were answered well."""
        times = [call.answer["at"] - call.details["at"] for call in self._calls() if call.outcome == "ok"]
        return statistics.quantiles(times, n=20)[-1]

    def refusals(self) -> list[dict[str, Any]]:
        """Return the answers that were errors."""
        return history.read(self.folder / "history.jsonl").refusals

    def _calls(self) -> list[history.Call]:
        return [call for call in history.read(self.folder / "history.jsonl").calls if call.kind != "import"]


@pytest.fixture
def outage(tmp_path: Path, note: Callable[..., None]) -> Outage:
    return Outage(tmp_path, note)


def redelivered(node: RabbitNode) -> str:
    """Return the share of the messages that the broker gave out again, since its last start."""
    told = node.ctl("eval", "rabbit_global_counters:overview().")
    sums = {
        name: sum(map(int, re.findall(rf"{name} => (\d+)", told)))
        for name in ("messages_delivered_total", "messages_redelivered_total")
    }
    return f"{sums['messages_redelivered_total'] / max(1, sums['messages_delivered_total']):.2%}"


@pytest.mark.timeout(600)
def test_thirty_kills_of_consumers(outage: Outage) -> None:
    def kill(hands: Hands, _servers: Servers, chance: random.Random) -> None:
        hands.fleet.kill([chance.choice(hands.fleet.matching("worker"))])
        time.sleep(chance.uniform(0.5, 3.0))

    found = outage.prove(kill, times=30)

    assert outage.answered() > 0.99  # the API does not need the workers
    assert found["recovery_seconds"] < 60


@pytest.mark.timeout(900)
def test_every_service_is_stopped_and_started_ten_times(outage: Outage) -> None:
    """Nothing that stops in good order is cut off: no request gets a 5xx, and few messages come twice."""

    drains: list[float] = []

    def roll(hands: Hands, _servers: Servers, _chance: random.Random) -> None:
        for member in hands.fleet.members:
            began = time.monotonic()
            hands.fleet.terminate(member)
            drains.append(time.monotonic() - began)
        hands.fleet.wait_ready()

    found = outage.prove(roll, times=10)

    refusals = outage.refusals()
    assert [line for line in refusals if line["status"] >= 500] == []
    assert not [note for note in found["notes"] if "slow" in note]
    outage.note(drain_p95_s=round(statistics.quantiles(drains, n=20)[-1], 1), slowest_s=round(max(drains), 1))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("begin", "end", "seconds"),
    [("broker_stops", "broker_goes_on", 30), ("broker_fills_up", "broker_has_room", 60)],
    ids=["frozen", "full"],
)
def test_the_broker_takes_nothing(begin: str, end: str, seconds: float, outage: Outage) -> None:
    def away(_hands: Hands, servers: Servers, chance: random.Random) -> None:
        servers.actions[begin](chance)
        time.sleep(seconds)
        servers.actions[end](chance)

    outage.prove(away)

    assert outage.answered() > 0.99  # the API does not need the broker


@pytest.mark.timeout(600)
def test_the_database_is_away_for_twenty_seconds(outage: Outage) -> None:
    def crash(_hands: Hands, servers: Servers, _chance: random.Random) -> None:
        servers.actions["postgres_dies"](random.Random(0))
        time.sleep(20)
        servers.actions["postgres_returns"](random.Random(0))

    outage.prove(crash)

    refusals = outage.refusals()
    assert {line["status"] for line in refusals} == {503}


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 400 MB in memory, where PostgreSQL's own user may go."""
    folder = Path(tempfile.mkdtemp(prefix="xinhuo-disk-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip("only root can mount a small disk")
    folder.chmod(0o755)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
    folder.rmdir()


@pytest.mark.timeout(600)
def test_the_disk_of_the_database_is_full(small_disk: Path, outage: Outage) -> None:
    """PostgreSQL takes nothing, or ends, until there is room; clients are told to come again."""

    def fill(_hands: Hands, servers: Servers, chance: random.Random) -> None:
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        time.sleep(20)
        filler.unlink()
        servers.actions["postgres_revives"](chance)

    outage.prove(fill, postgres_folder=small_disk / "postgres")

    assert {line["status"] for line in outage.refusals()} == {503}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("ways", [("to_server", "to_client"), ("to_server",), ("to_client",)], ids="-".join)
@pytest.mark.parametrize("server", ["broker", "database"])
def test_a_cut_cable(server: str, ways: tuple[str, ...], outage: Outage) -> None:
    def cut(hands: Hands, _servers: Servers, _chance: random.Random) -> None:
        proxy = getattr(hands, server)
        proxy.swallow(ways)
        time.sleep(25)
        proxy.clear()

    outage.prove(cut)

    assert server == "database" or outage.answered() > 0.99


@pytest.mark.timeout(600)
def test_a_slow_line_that_breaks_again_and_again(outage: Outage) -> None:
    def worsen(hands: Hands, _servers: Servers, chance: random.Random) -> None:
        for proxy in (hands.broker, hands.database):
            proxy.delay(0.2)
        for _ in range(6):
            time.sleep(chance.uniform(1, 4))
            chance.choice([hands.broker, hands.database]).reset()
        for proxy in (hands.broker, hands.database):
            proxy.clear()

    outage.prove(worsen)

    assert outage.answered() > 0.5


@pytest.mark.timeout(600)
def test_a_worker_stands_still_for_a_minute(outage: Outage) -> None:
    """Another takes over the lock of its relay, and both go on as if nothing had been."""

    def stall(hands: Hands, _servers: Servers, _chance: random.Random) -> None:
        for name in ("volunteers-worker-1", "awards-worker"):
            (member,) = hands.fleet.matching(name)
            assert member.process is not None
            member.process.send_signal(signal.SIGSTOP)
        time.sleep(60)
        for name in ("volunteers-worker-1", "awards-worker"):
            (member,) = hands.fleet.matching(name)
            assert member.process is not None
            member.process.send_signal(signal.SIGCONT)

    outage.prove(stall)

    assert outage.answered() > 0.95


@pytest.mark.timeout(600)
def test_two_hundred_bad_messages_among_ten_thousand_repeated_ones(outage: Outage) -> None:
    """Head of line: what is good does not wait for what is bad, and the dead letters are the bad ones."""

    def stir(hands: Hands, _servers: Servers, chance: random.Random) -> None:
        assert hands.stirring is not None
        while hands.stirring.repeated < 10_000:
            hands.stirring.repeat(chance)
            hands.stirring.poison(chance, 10)
        hands.stirring.poison(chance, 200)

    found = outage.prove(stir)

    assert found["poison"] >= 200
    assert found["repeated"] >= 10_000

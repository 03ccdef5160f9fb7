"""Long outages one by one, each under load: what is kept, how the API fares meanwhile, how fast it is over."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.judging import assert_proved
from tests.faults.servers import own_servers
from xinhuo.cli.prove import history, run
from xinhuo.cli.prove.faults import Fault, Hands, Injector
from xinhuo.cli.prove.servers import Servers

Act = Callable[[Hands, Servers, random.Random], None]


def prove_with(act: Act, folder: Path, *, times: int = 1, seconds: float = 600, **more: Any) -> dict[str, Any]:
    """Run a proof whose one kind of fault is the given one."""
    with own_servers() as servers:
        hands: list[Hands] = []

        def remember(given: Hands) -> Injector:
            hands.append(given)
            return Injector(given)

        planned = [Fault(4.0 + number, "outage", number) for number in range(times)]
        options = run.Options(
            seconds,
            7,
            with_plain=False,
            folder=folder,
            planned=planned,
            until_planned=True,
            people=300,
            injector=remember,
            actions={"outage": lambda chance: act(hands[0], servers, chance)},
            **more,
        )
        found = run.prove(servers, options)
    assert_proved(found)
    return found


def answered(folder: Path) -> float:
    """Return the share of the calls that were answered well."""
    calls = history.read(folder / "history.jsonl").calls
    return sum(call.outcome == "ok" for call in calls) / len(calls)


@pytest.mark.timeout(600)
def test_thirty_kills_of_consumers(tmp_path: Path) -> None:
    def kill(hands: Hands, _servers: Servers, chance: random.Random) -> None:
        hands.fleet.kill([chance.choice(hands.fleet.matching("worker"))])
        time.sleep(chance.uniform(0.5, 3.0))

    found = prove_with(kill, tmp_path, times=30)

    assert answered(tmp_path) > 0.99  # the API does not need the workers
    assert found["recovery_seconds"] < 60


@pytest.mark.timeout(900)
def test_every_service_is_stopped_and_started_ten_times(tmp_path: Path) -> None:
    """Nothing that stops in good order is cut off: no request gets a 5xx, and few messages come twice."""

    def roll(hands: Hands, _servers: Servers, _chance: random.Random) -> None:
        for member in hands.fleet.members:
            hands.fleet.terminate(member)
        hands.fleet.wait_ready()

    found = prove_with(roll, tmp_path, times=10)

    refusals = history.read(tmp_path / "history.jsonl").refusals
    assert [line for line in refusals if line["status"] >= 500] == []
    assert not [note for note in found["notes"] if "slow" in note]


@pytest.mark.timeout(600)
def test_the_broker_is_frozen_for_thirty_seconds(tmp_path: Path) -> None:
    def freeze(_hands: Hands, servers: Servers, _chance: random.Random) -> None:
        servers.actions["broker_stops"](random.Random(0))
        time.sleep(30)
        servers.actions["broker_goes_on"](random.Random(0))

    prove_with(freeze, tmp_path)

    assert answered(tmp_path) > 0.99


@pytest.mark.timeout(600)
def test_the_broker_takes_nothing_for_a_minute(tmp_path: Path) -> None:
    def alarm(_hands: Hands, servers: Servers, _chance: random.Random) -> None:
        servers.actions["broker_fills_up"](random.Random(0))
        time.sleep(60)
        servers.actions["broker_has_room"](random.Random(0))

    prove_with(alarm, tmp_path)

    assert answered(tmp_path) > 0.99


@pytest.mark.timeout(600)
def test_the_database_is_away_for_twenty_seconds(tmp_path: Path) -> None:
    def crash(_hands: Hands, servers: Servers, _chance: random.Random) -> None:
        servers.actions["postgres_dies"](random.Random(0))
        time.sleep(20)
        servers.actions["postgres_returns"](random.Random(0))

    prove_with(crash, tmp_path)

    refusals = history.read(tmp_path / "history.jsonl").refusals
    assert {line["status"] for line in refusals} == {503}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("ways", [("to_server", "to_client"), ("to_server",), ("to_client",)], ids="-".join)
@pytest.mark.parametrize("server", ["broker", "database"])
def test_a_cut_cable(server: str, ways: tuple[str, ...], tmp_path: Path) -> None:
    def cut(hands: Hands, _servers: Servers, _chance: random.Random) -> None:
        proxy = getattr(hands, server)
        proxy.swallow(ways)
        time.sleep(25)
        proxy.clear()

    prove_with(cut, tmp_path)

    assert server == "database" or answered(tmp_path) > 0.99


@pytest.mark.timeout(600)
def test_a_slow_line_that_breaks_again_and_again(tmp_path: Path) -> None:
    def worsen(hands: Hands, _servers: Servers, chance: random.Random) -> None:
        for proxy in (hands.broker, hands.database):
            proxy.delay(0.2)
        for _ in range(6):
            time.sleep(chance.uniform(1, 4))
            chance.choice([hands.broker, hands.database]).reset()
        for proxy in (hands.broker, hands.database):
            proxy.clear()

    prove_with(worsen, tmp_path)

    assert answered(tmp_path) > 0.5


@pytest.mark.timeout(600)
def test_a_worker_stands_still_for_a_minute(tmp_path: Path) -> None:
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

    prove_with(stall, tmp_path)

    assert answered(tmp_path) > 0.95


@pytest.mark.timeout(600)
def test_two_hundred_bad_messages_among_ten_thousand_repeated_ones(tmp_path: Path) -> None:
    """Head of line: what is good does not wait for what is bad, and the dead letters are the bad ones."""

    def stir(hands: Hands, _servers: Servers, chance: random.Random) -> None:
        assert hands.stirring is not None
        while hands.stirring.repeated < 10_000:
            hands.stirring.repeat(chance)
            hands.stirring.poison(chance, 10)
        hands.stirring.poison(chance, 200)

    found = prove_with(stir, tmp_path)

    assert found["poison"] >= 200
    assert found["repeated"] >= 10_000

"""Three brokers in a cluster: each in turn is killed, frozen, or cut off from the other two, and nothing is lost.

A proxy stands in for the balancer before a cluster: when a broker is gone, new connections go to the next one.
"""

import random
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.hands import noted_in
from tests.faults.judging import assert_proved
from tests.support.processes import LOOPBACK
from tests.support.servers import Epmd, RabbitNode, Servers, WheelPostgres
from tests.support.waiting import wait_for
from xinhuo.cli.prove import run
from xinhuo.cli.prove import servers as prove_servers
from xinhuo.cli.prove.faults import Fault, Hands

NODES = 3
AWAY_SECONDS, BACK_SECONDS = 12.0, 6.0


@pytest.fixture
def nodes() -> Iterator[tuple[list[RabbitNode], str]]:
    """Three brokers in one cluster, and the URL of a PostgreSQL."""
    with ExitStack() as stack:
        started = Servers()
        stack.callback(started.stop)
        epmd = Epmd()
        shared = {"epmd": epmd, "cookie": secrets.token_hex(16), "password": secrets.token_hex(16)}
        epmd.start()
        stack.callback(epmd.stop)
        members = [RabbitNode(started.folder() / f"rabbit-{n}", **shared) for n in range(NODES)]
        for node in members:
            stack.callback(node.discard)
            node.start()
        for node in members[1:]:
            node.ctl("stop_app")
            node.ctl("join_cluster", members[0].name)
            node.ctl("start_app")
        postgres = WheelPostgres(started.folder() / "postgres")
        stack.callback(postgres.stop)
        yield members, postgres.start()


Lose = Callable[[RabbitNode, list[RabbitNode]], None]


def kill(node: RabbitNode, _others: list[RabbitNode]) -> None:
    node.kill()


def restart(node: RabbitNode, _others: list[RabbitNode]) -> None:
    node.start()


def freeze(node: RabbitNode, _others: list[RabbitNode]) -> None:
    node.freeze()


def thaw(node: RabbitNode, _others: list[RabbitNode]) -> None:
    node.thaw()
    node.wait_until_ready()


def cut_off(node: RabbitNode, others: list[RabbitNode]) -> None:
    """Cut the lines between a broker and the others, and only these: alone, it must take nothing."""
    node.ctl("eval", f"[erlang:disconnect_node(N) || N <- [{_with_cookie(others, 'wrong')}]].")
    wait_for(lambda: not serves(node), 60, "the minority to send its clients away")


def join(node: RabbitNode, others: list[RabbitNode]) -> None:
    node.ctl("eval", f"[net_adm:ping(N) || N <- [{_with_cookie(others, node.cookie)}]].")
    node.wait_until_ready()


def _with_cookie(others: list[RabbitNode], cookie: str) -> str:
    """Return Erlang that makes a node use a cookie with the others, and names them; two that differ do not talk."""
    return ", ".join(f"begin erlang:set_cookie('{one.name}', '{cookie}'), '{one.name}' end" for one in others)


def serves(node: RabbitNode) -> bool:
    try:
        socket.create_connection((LOOPBACK, node.port), timeout=2).close()
    except OSError:
        return False
    return True


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("lose", "bring_back"), [(kill, restart), (freeze, thaw), (cut_off, join)], ids=["killed", "frozen", "cut_off"]
)
def test_a_cluster_of_three_goes_on_without_any_one(
    lose: Lose, bring_back: Lose, nodes: tuple[list[RabbitNode], str], tmp_path: Path
) -> None:
    members, postgres_url = nodes
    hands: list[Hands] = []
    turn = iter(range(NODES))

    def without_one(_chance: random.Random) -> None:
        """Lose the broker that everybody is connected to; it may lead any of the queues."""
        number = next(turn)
        others = [node for node in members if node is not members[number]]
        lose(members[number], others)
        proxy = hands[0].broker
        proxy.redirect(LOOPBACK, members[(number + 1) % NODES].port)
        time.sleep(1)
        proxy.reset()
        time.sleep(AWAY_SECONDS)
        bring_back(members[number], others)
        time.sleep(BACK_SECONDS)

    servers = prove_servers.Servers(
        members[0].uri(), postgres_url, add_vhost=members[0].add_vhost, delete_vhost=members[0].delete_vhost,
        settled=lambda: [node.write_down() for node in members] and None,
    )  # fmt: skip
    options = run.Options(
        600, 3, rate=25, with_plain=False, folder=tmp_path, until_planned=True, people=300, injector=noted_in(hands),
        planned=[Fault(3.0 + number, "without_one", number) for number in range(NODES)],
        actions={"without_one": without_one},
    )  # fmt: skip

    found = run.prove(servers, options)

    assert found["faults"] == {"without_one": NODES}
    assert_proved(found)

"""Servers that belong to a proof alone, and may be killed, frozen and filled up."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import PrivatePostgres, RabbitNode, Servers, WheelPostgres
from xinhuo.cli.prove import servers as prove_servers

FREEZE_SECONDS, ALARM_SECONDS = 4.0, 5.0


@contextmanager
def own_servers() -> Iterator[prove_servers.Servers]:
    """Start a RabbitMQ node and a PostgreSQL server, and end them whatever happens."""
    with own_pair() as (node, postgres):
        yield of(node, postgres)


@contextmanager
def own_pair(postgres_folder: Path | None = None) -> Iterator[tuple[RabbitNode, PrivatePostgres]]:
    """The same, as what they are; PostgreSQL in a given folder."""
    started = Servers()
    try:
        node = RabbitNode(started.folder() / "rabbit")
        try:
            node.start(wait=False)
            postgres = WheelPostgres(postgres_folder or started.folder() / "postgres")
            try:
                postgres.start()
                node.wait_until_ready()
                yield node, postgres
            finally:
                postgres.stop()
        finally:
            node.thaw()
            node.discard()
    finally:
        started.stop()


def discard(_value: object) -> None:
    """Return nothing."""


def of(node: RabbitNode, postgres: PrivatePostgres) -> prove_servers.Servers:
    """Return what a proof may do to these two."""

    def broker_crash(_chance: random.Random) -> None:
        node.kill()
        node.start()

    def broker_freeze(_chance: random.Random) -> None:
        node.freeze()
        time.sleep(FREEZE_SECONDS)
        node.thaw()

    def broker_alarm(_chance: random.Random) -> None:
        # In one call: rabbitmqctl starts an Erlang of its own each time, which may take longer than the alarm.
        limit = "rabbit_disk_monitor:set_disk_free_limit"
        node.ctl("eval", f'{limit}("900GB"), timer:sleep({round(ALARM_SECONDS * 1000)}), {limit}("50MB").')

    def postgres_crash(chance: random.Random) -> None:
        postgres.crash(chance.choice([signal.SIGKILL, signal.SIGQUIT]))
        time.sleep(chance.uniform(0.0, 2.0))
        postgres.launch()

    return prove_servers.Servers(
        node.uri(),
        postgres.url,
        {
            "broker_crash": broker_crash,
            "broker_freeze": broker_freeze,
            "broker_alarm": broker_alarm,
            "postgres_crash": postgres_crash,
            # Halves of these, for tests that choose the time between them; no plan has them.
            "broker_stops": lambda _chance: node.freeze(),
            "broker_goes_on": lambda _chance: node.thaw(),
            "broker_fills_up": lambda _chance: discard(node.ctl("set_disk_free_limit", "900GB")),
            "broker_has_room": lambda _chance: discard(node.ctl("set_disk_free_limit", "50MB")),
            "broker_dies": lambda _chance: node.kill(),
            "broker_returns": lambda _chance: discard(node.start()),
            "postgres_dies": lambda _chance: postgres.crash(),
            "postgres_returns": lambda _chance: postgres.launch(),
            "postgres_revives": lambda _chance: postgres.revive(),
        },
        add_vhost=node.add_vhost,
        delete_vhost=node.delete_vhost,
        settled=node.write_down,
    )

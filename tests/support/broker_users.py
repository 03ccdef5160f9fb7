"""Users of RabbitMQ made by our own commands, and what a user is refused when he tries it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import amqp

from tests.support.installation import Ended, called
from tests.support.rabbit import RabbitNode
from xinhuo.chassis.config import SERVICES

SECONDS = 10


def settings_of(node: RabbitNode, amqp_uri: str, data: Path) -> dict[str, str]:
    """Return the settings of the deploy user."""
    return {"AMQP_URI": amqp_uri, "XINHUO_RABBITMQ_API": node.api, "XINHUO_DATA": str(data)}


def uris_of(data: Path) -> dict[str, str]:
    """Return the address that each service was given."""
    return {
        service: (data / "broker-users" / f"{service}.env").read_text().strip().removeprefix("AMQP_URI=")
        for service in SERVICES
    }


def done(*arguments: str, settings: Mapping[str, str]) -> Ended:
    """Run a command, which must end well."""
    ended = called(*arguments, settings=settings)
    assert ended.code == 0, f"{arguments}: {ended.stdout}{ended.stderr}"
    return ended


def department(settings: Mapping[str, str], code: str, *events: str) -> str:
    """Make a department by the command; return its address."""
    made = done("subs", "create", code, "--events", ",".join(events), "--json", settings=settings).figures
    uri: str = made["amqp_uri"]
    return uri


@contextmanager
def connected(uri: str) -> Iterator[amqp.Connection]:
    """Give a connection of a user, confirming what is published."""
    parts = urlsplit(uri)
    connection = amqp.Connection(
        host=f"{parts.hostname}:{parts.port}", userid=unquote(parts.username or ""),
        password=unquote(parts.password or ""), virtual_host=unquote(parts.path[1:]), confirm_publish=True,
        connect_timeout=SECONDS, read_timeout=SECONDS,
    )  # fmt: skip
    connection.connect()
    try:
        yield connection
    finally:
        connection.collect()


def refusal(uri: str, attempt: Callable[[Any], object]) -> str | None:
    """Try something on a channel of a user's own; return what the broker said against it, None when it was done."""
    with connected(uri) as connection:
        try:
            attempt(connection.channel())
        except (amqp.AccessRefused, amqp.NotAllowed) as error:
            return str(error.reply_text)
    return None


def publish(channel: Any, exchange: str, key: str, body: bytes = b"forged", **properties: Any) -> None:
    """Publish and wait for the confirm."""
    channel.basic_publish(amqp.Message(body, delivery_mode=2, **properties), exchange, key, confirm_timeout=SECONDS)

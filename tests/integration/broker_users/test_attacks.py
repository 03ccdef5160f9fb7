"""Each kind of user tries on a real RabbitMQ what is not his: it is refused. A user with all rights succeeds."""

import secrets
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import amqp
import pytest

from tests.integration.broker_users.conftest import HOURS, STARS, Installed
from tests.support.broker_users import connected, publish, refusal
from tests.support.waiting import wait_for
from xinhuo.chassis.broker_rights import LIMITS
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.topology import PUBLIC_EXCHANGE
from xinhuo.cli.build import full_topology

EVERYBODY = (*SERVICES, "traffic")
QUORUM = {"x-queue-type": "quorum"}
DURABLE = {"durable": True, "auto_delete": False}
#: Somebody else's things, which are there; `victim` is none of any user's.
VICTIM_QUEUE, VICTIM_EXCHANGE = "victim.queue", "victim.events"
POLICE_QUEUE = f"evt-dept.traffic-police-{HOURS}--police.note"

Attempt = Callable[[Any], object]


def own_queue(user: str) -> str:
    return "dept.traffic.mine" if user == "traffic" else f"{user}.dead"


def with_own_queue(user: str, then: Callable[[Any, str], object]) -> Attempt:
    """Return an attempt that uses a queue of the user's own; a service's is there already."""

    def attempt(channel: Any) -> object:
        if user == "traffic":
            channel.queue_declare(own_queue(user), **DURABLE, arguments=QUORUM)
        return then(channel, own_queue(user))

    return attempt


def attacks(user: str) -> dict[str, Attempt]:
    """Return what one user tries, by name."""
    own_exchange = "dept.traffic.events" if user == "traffic" else f"{user}.events"
    foreign = "awards.events" if user != "awards" else "volunteers.events"
    foreign_queue = "awards.add_to_tally" if user != "awards" else "volunteers.keep_statistics"
    bound_to = {
        f"binds its queue to {exchange}": with_own_queue(
            user, lambda channel, queue, exchange=exchange: channel.queue_bind(queue, exchange, "#")
        )
        for exchange in (PUBLIC_EXCHANGE, foreign, "amq.topic", VICTIM_EXCHANGE, f"{foreign_queue}.replay")
    }
    forged = {
        f"publishes to {exchange or 'the default exchange'} as {key}": lambda channel, exchange=exchange, key=key: (
            publish(channel, exchange, key)
        )
        for exchange, key in (
            (foreign, "star_earned.v1"), (f"{foreign_queue}.replay", "hours_logged.v1"),
            ("dept.traffic-police.events", HOURS), ("", foreign_queue), ("", POLICE_QUEUE), ("amq.topic", "x"),
            (f"{foreign.partition('.')[0]}.dead", "x"),
            *([(PUBLIC_EXCHANGE, HOURS)] if user != "volunteers" else []),
            *([(PUBLIC_EXCHANGE, STARS), (PUBLIC_EXCHANGE, f"x{STARS}")] if user != "awards" else []),
        )
    }  # fmt: skip
    return {
        **bound_to,
        **forged,
        "binds its exchange to pub.events": lambda channel: channel.exchange_bind(own_exchange, PUBLIC_EXCHANGE, "#"),
        "feeds a foreign exchange": lambda channel: channel.exchange_bind(foreign, own_exchange, "#"),
        "takes the binding of another department": lambda channel: channel.exchange_unbind(
            "dept.traffic-police.events", PUBLIC_EXCHANGE, STARS
        ),
        "reads a foreign queue": lambda channel: channel.basic_get(foreign_queue),
        "consumes a foreign queue": lambda channel: channel.basic_consume(foreign_queue),
        "reads another department's queue": lambda channel: channel.basic_get("dept.traffic-police.queue"),
        "reads a queue that nameko named for another department": lambda channel: channel.basic_get(POLICE_QUEUE),
        "purges a foreign queue": lambda channel: channel.queue_purge(foreign_queue),
        "deletes a foreign queue": lambda channel: channel.queue_delete(VICTIM_QUEUE),
        "deletes a foreign exchange": lambda channel: channel.exchange_delete(VICTIM_EXCHANGE),
        "deletes pub.events": lambda channel: channel.exchange_delete(PUBLIC_EXCHANGE),
        "declares a queue": lambda channel: channel.queue_declare("planted.queue", **DURABLE),
        "declares a queue that the broker names": lambda channel: channel.queue_declare("", exclusive=True),
        "declares a queue of the next handler": lambda channel: channel.queue_declare("awards.next", **DURABLE),
        "declares an exchange": lambda channel: channel.exchange_declare("planted.events", "topic", **DURABLE),
        "declares a queue that dead-letters into pub.events": lambda channel: channel.queue_declare(
            "dept.traffic.trap", **DURABLE, arguments={"x-dead-letter-exchange": PUBLIC_EXCHANGE}
        ),
        "declares a queue that dead-letters into a foreign queue": lambda channel: channel.queue_declare(
            "dept.traffic.trap", **DURABLE,
            arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": foreign_queue},
        ),
        "declares an exchange whose alternate is pub.events": lambda channel: channel.exchange_declare(
            "dept.traffic.trap", "topic", **DURABLE, arguments={"alternate-exchange": PUBLIC_EXCHANGE}
        ),
    }  # fmt: skip


NAMES = {user: tuple(attacks(user)) for user in EVERYBODY}


@pytest.fixture(autouse=True)
def victims(installed: Installed) -> None:
    """What the attacks aim at: there before each, whatever became of it in the last."""
    with connected(installed.deploy) as connection:
        channel = connection.channel()
        for exchange in (VICTIM_EXCHANGE, "dept.traffic.events", *full_topology().exchanges):
            channel.exchange_declare(exchange, "topic", **DURABLE)
        for queue in (VICTIM_QUEUE, POLICE_QUEUE, "dept.traffic-police.queue"):
            channel.queue_declare(queue, **DURABLE)
        channel.exchange_bind("dept.traffic.events", PUBLIC_EXCHANGE, HOURS)
        channel.exchange_bind("dept.traffic-police.events", PUBLIC_EXCHANGE, STARS)
        channel.queue_bind("dept.traffic-police.queue", "dept.traffic-police.events", "#")
        channel.queue_purge("dept.traffic-police.queue")


@pytest.mark.parametrize(("user", "attack"), [(user, name) for user, names in NAMES.items() for name in names])
def test_what_is_not_the_users_own_is_refused(installed: Installed, user: str, attack: str) -> None:
    assert "refused for user" in (refusal(installed.of(user), attacks(user)[attack]) or "it was done")


@pytest.fixture(scope="module")
def wide(installed: Installed) -> str:
    """A user who may do everything, as one that somebody made by hand."""
    name = f"wide-{secrets.token_hex(4)}"
    installed.node.ctl("add_user", name, "planted")
    installed.node.ctl("set_permissions", "-p", installed.deploy.rpartition("/")[2], name, ".*", ".*", ".*")
    host = installed.deploy.rpartition("@")[2]
    return f"amqp://{name}:planted@{host}"


@pytest.mark.parametrize("attack", NAMES["traffic"])
def test_a_user_with_too_many_rights_succeeds_with_every_attack(installed: Installed, wide: str, attack: str) -> None:
    attempt = attacks("traffic")[attack]
    try:
        assert refusal(wide, attempt) is None
    finally:
        undo(installed)


def undo(installed: Installed) -> None:
    """Remove what an attack by a wide user left behind."""
    with connected(installed.deploy) as connection:
        channel = connection.channel()
        for queue in ("planted.queue", "awards.next", "dept.traffic.trap", "dept.traffic.mine"):
            channel.queue_delete(queue)
        for exchange in ("planted.events", "dept.traffic.trap"):
            channel.exchange_delete(exchange)
        channel.exchange_unbind("awards.events", "dept.traffic.events", "#")
        for queue in ("awards.add_to_tally", POLICE_QUEUE):
            channel.queue_purge(queue)


def test_everybody_still_does_what_is_his_own_after_all_attacks(installed: Installed) -> None:
    with connected(installed.traffic) as own:
        channel = own.channel()
        channel.queue_declare("dept.traffic.mine", **DURABLE, arguments=QUORUM)
        channel.queue_bind("dept.traffic.mine", "dept.traffic.events", "#")
        channel.queue_purge("dept.traffic.mine")
        with connected(installed.services["volunteers"]) as service:
            publish(service.channel(), PUBLIC_EXCHANGE, HOURS, b"true")
        message = wait_for(lambda: channel.basic_get("dept.traffic.mine", no_ack=True), what="the event")
        channel.queue_delete("dept.traffic.mine")
    assert message.body in ("true", b"true")
    for service in SERVICES:
        assert (
            refusal(installed.services[service], lambda channel, own=f"{service}.dead": channel.basic_get(own)) is None
        )


def test_without_its_routing_keys_a_service_could_forge_the_events_of_another(installed: Installed) -> None:
    user = amqp_user(installed.services["volunteers"])
    vhost = installed.deploy.rpartition("/")[2]
    forge: Attempt = lambda channel: publish(channel, PUBLIC_EXCHANGE, STARS)  # noqa: E731
    assert refusal(installed.services["volunteers"], forge) is not None
    installed.node.ctl("clear_topic_permissions", "-p", vhost, user)
    try:
        assert refusal(installed.services["volunteers"], forge) is None
    finally:
        installed.node.ctl("set_topic_permissions", "-p", vhost, user, PUBLIC_EXCHANGE, r"^volunteers\.", "^$")
    assert refusal(installed.services["volunteers"], forge) is not None


def test_an_event_under_further_keys_still_carries_the_key_of_its_publisher(installed: Installed) -> None:
    """RabbitMQ 3.10 does not look at the header CC: what it brings along is told apart by its routing key."""
    with connected(installed.services["volunteers"]) as service:
        publish(service.channel(), PUBLIC_EXCHANGE, "volunteers.x.v1", application_headers={"CC": [STARS]})
    with connected(installed.police) as police:
        channel = police.channel()
        message = wait_for(lambda: channel.basic_get("dept.traffic-police.queue", no_ack=True), what="the message")
    assert message.delivery_info["routing_key"] == "volunteers.x.v1"


def test_what_anybody_sees_is_whether_a_queue_is_there_and_how_many_wait(installed: Installed) -> None:
    with connected(installed.traffic) as connection:
        seen = connection.channel().queue_declare("awards.add_to_tally", passive=True)
    assert seen._fields == ("queue", "message_count", "consumer_count")


def test_no_user_gets_into_the_management_api_or_another_virtual_host(installed: Installed) -> None:
    import requests

    installed.node.add_vhost("elsewhere")
    try:
        for uri in (installed.traffic, *installed.services.values()):
            user, password = uri.removeprefix("amqp://").partition("@")[0].split(":")
            answer = requests.get(f"{installed.node.api}/api/queues", auth=(user, password), timeout=10)
            assert answer.status_code == 401
            with pytest.raises(amqp.NotAllowed), connected(f"{uri.rpartition('/')[0]}/elsewhere"):
                pass
    finally:
        installed.node.delete_vhost("elsewhere")


def test_connections_and_channels_of_a_department_are_bounded(installed: Installed) -> None:
    with ExitStack() as stack:

        def connect(times: int) -> list[Any]:
            return [stack.enter_context(connected(installed.police)) for _ in range(times)]

        first, *_ = connect(LIMITS.connections)
        with pytest.raises(amqp.NotAllowed, match="connection limit"):
            connect(1)
        with connected(installed.traffic) as other:
            assert other.connected, "another department is not held up"
        assert [first.channel() for _ in range(LIMITS.channels)]
        with pytest.raises(amqp.NotAllowed, match="maximum allowed user limit"):
            first.channel()


def amqp_user(uri: str) -> str:
    return uri.removeprefix("amqp://").partition(":")[0]

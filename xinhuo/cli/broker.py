"""Commands about RabbitMQ: the services' topology and the exchanges of departments."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from xinhuo.chassis import config
from xinhuo.chassis.broker_rights import DEPARTMENT_CODE
from xinhuo.chassis.topology import PUBLIC_EXCHANGE, Topology, department_exchange
from xinhuo.contracts.base import load_all

from . import broker_users

if TYPE_CHECKING:
    from xinhuo.chassis.adapters.broker_state import Item


class BadSubscription(Exception):
    """The code or an event of a subscription cannot be used; the text says what can."""


class TopologyDiffers(Exception):
    """A queue or exchange is there with other arguments; the text names all of them."""


def topology_state(environment: Mapping[str, str], *, dry_run: bool, replace_empty: bool = False) -> "list[Item]":
    """Make what the services need, unless it is a dry run; return all of it with what is at the broker."""
    from xinhuo.chassis.adapters import broker_state

    from . import build

    uri = _uri(environment)
    wanted = build.full_topology()
    if dry_run:
        return broker_state.inspect(uri, wanted)
    return broker_state.apply(uri, wanted, replace_empty=replace_empty)


def check_rotation(environment: Mapping[str, str], services: Collection[str]) -> None:
    """Raise BadSettings unless these are services whose users can be given new passwords."""
    settings = config.load(environment)
    if unknown := [name for name in services if name not in config.SERVICES]:
        names = ", ".join(config.SERVICES)
        raise config.BadSettings(
            [f"--rotate {','.join(unknown)}：没有这个服务，可选 / unknown service; one of {names}"]
        )
    if services and settings.rabbitmq_api is None:
        raise config.BadSettings(["--rotate：须设 XINHUO_RABBITMQ_API / it needs XINHUO_RABBITMQ_API"])


def service_users(
    environment: Mapping[str, str], *, dry_run: bool, rotate: Collection[str] = ()
) -> broker_users.Users | None:
    """Make the services' users, unless it is a dry run; None where no management API is named."""
    from . import build

    settings = config.load(environment)
    if settings.rabbitmq_api is None:
        return None
    return broker_users.users_of_services(settings, build.full_topology(), dry_run=dry_run, rotate=rotate)


def apply_topology(environment: Mapping[str, str]) -> None:
    """Make what the services need; raises TopologyDiffers when something of it is there with other arguments."""
    from xinhuo.chassis.adapters.broker_state import DIFFERS

    if differing := [item.label for item in topology_state(environment, dry_run=False) if item.state == DIFFERS]:
        raise TopologyDiffers(
            f"{'、'.join(differing)} 与所需不同，请运行 xinhuo topology apply 查看 / "
            "these differ from what is wanted; see xinhuo topology apply"
        )


def create_subscription(
    environment: Mapping[str, str], code: str, events: list[str], *, dry_run: bool, rotate: bool = False
) -> dict[str, Any]:
    """Make ``dept.<code>.events``, bound to the wanted public types, and the department's user; raises BadSubscription.

    Repeating it with other types adds these; nothing is unbound, and the password stays unless it is to be a new one.
    """
    from xinhuo.chassis.adapters import amqp_topology

    if not DEPARTMENT_CODE.fullmatch(code):
        raise BadSubscription(
            f"部门代号 {code!r} 只能用小写字母、数字和 -，2 至 30 位，以字母开头"
            " / a department's code has 2 to 30 lower-case letters, digits and hyphens"
        )
    public = {item["type"] for item in public_events()}
    if unknown := [event for event in events if event not in public]:
        raise BadSubscription(
            f"没有公开事件 {'、'.join(unknown)}；可订阅：{'、'.join(sorted(public))} / no such public event"
        )
    if not events:
        raise BadSubscription("请用 --events 指定事件 / name the events with --events")
    exchange = department_exchange(code)
    uri = _uri(environment)
    if rotate and config.load(environment).rabbitmq_api is None:
        raise config.BadSettings(["--rotate：须设 XINHUO_RABBITMQ_API / it needs XINHUO_RABBITMQ_API"])
    # The user and its bounds come first: no queue is there without them.
    user = broker_users.department(config.load(environment), code, dry_run=dry_run, rotate=rotate)
    if not dry_run:
        amqp_topology.declare(uri, Topology((PUBLIC_EXCHANGE, exchange), ()))
        amqp_topology.bind_exchange(uri, exchange, PUBLIC_EXCHANGE, events)
    made = {"code": code, "exchange": exchange, "events": events, "dry_run": dry_run}
    return {**made, "user": user and user.name, "amqp_uri": user and user.uri}


def public_events() -> list[dict[str, str]]:
    """Return the public event types with one sentence each."""
    return [
        {"type": topic, "what": (event.__doc__ or "").strip().splitlines()[0].replace("``", "")}
        for topic, event in sorted(load_all().items())
        if event.public
    ]


def _uri(environment: Mapping[str, str]) -> str:
    settings = config.load(environment)
    if settings.amqp_uri is None:
        raise config.BadSettings(
            ["缺少 AMQP_URI：进程内消息没有可供他人连接的队列 / AMQP_URI is needed: the in-process broker has no door"]
        )
    return settings.amqp_uri

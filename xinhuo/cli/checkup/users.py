"""The users of RabbitMQ, as its management API tells: who may do too much, who too little, and who is none of ours."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from xinhuo.chassis import broker_rights
from xinhuo.chassis.adapters import broker_state, user_state
from xinhuo.chassis.adapters.broker_state import Item, Unequal
from xinhuo.chassis.adapters.management import vhost_of
from xinhuo.chassis.config import Settings
from xinhuo.chassis.topology import Topology
from xinhuo.chassis.wire import BrokerUnavailable, ManagementRefused

from .. import broker_users
from ..topology import remedy as remedy_of
from .broker import is_loopback
from .findings import Finding

_PATTERNS = ("configure", "write", "read")


def check(settings: Settings, topology: Topology) -> Iterator[Finding]:
    """Yield what is wrong with the users of services and departments."""
    if settings.amqp_uri is None:
        return
    if settings.rabbitmq_api is None:
        yield Finding("broker.users_unseen", "XINHUO_RABBITMQ_API", "", "设 XINHUO_RABBITMQ_API / set it")
        return
    parts = urlsplit(settings.rabbitmq_api)
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        yield Finding("broker.no_tls", where, parts.scheme, "XINHUO_RABBITMQ_API=https://…:15671")
    try:
        found = broker_users.users_of_services(settings, topology).items
    except ManagementRefused as error:
        remedy = "rabbitmqctl set_user_tags … administrator，检查 XINHUO_RABBITMQ_API / check its account and address"
        yield Finding("broker.api_refused", where, str(error), remedy)
    except BrokerUnavailable as error:
        remedy = "rabbitmq-plugins enable rabbitmq_management，检查 XINHUO_RABBITMQ_API / check the address"
        yield Finding("broker.api_away", where, str(error), remedy)
    else:
        yield from judge(found, topology, vhost_of(settings.amqp_uri))


_OF_POLICIES = {"operator policy": "broker.departments_unbounded", "policy": "broker.dead_letters_dropped"}


def judge(items: list[Item], topology: Topology, vhost: str) -> Iterator[Finding]:
    """Yield what is wrong with each user and each policy."""
    for item in items:
        if finding := _OF_POLICIES.get(item.kind):
            if item.state != broker_state.SAME:
                yield Finding(finding, item.label, _unequal(item.unequal), remedy_of(item))
        elif item.state == broker_state.MISSING:
            yield Finding("broker.user_missing", item.label, "", remedy_of(item))
        elif item.state == broker_state.UNKNOWN:
            yield Finding(
                "broker.user_unknown", item.label, _unequal(item.unequal),
                f"不用则删除 / if nobody needs it: rabbitmqctl delete_user {item.name}",
            )  # fmt: skip
        elif item.state == broker_state.DIFFERS:
            yield from _judge_rights(item, topology, user_state.department_of(vhost, item.name))


def _judge_rights(item: Item, topology: Topology, code: str | None) -> Iterator[Finding]:
    names = broker_rights.every_name(topology, code)
    judged = [(one, _compared(one, names)) for one in item.unequal]
    for finding, place in (("broker.user_too_wide", 0), ("broker.user_too_narrow", 1)):
        if wrong := tuple(one for one, sides in judged if sides[place]):
            yield Finding(finding, item.label, _unequal(wrong), remedy_of(item))


def _compared(one: Unequal, names: list[str]) -> tuple[bool, bool]:
    """Return whether what differs is too much, and whether it is too little."""
    if one.name == "password":
        return False, True
    if one.name in _PATTERNS:
        return broker_rights.compared(one.there or broker_rights.NOTHING, one.wanted, names)
    if one.name.startswith(user_state.KEYS) and one.there and one.wanted:
        return broker_rights.compared(one.there, one.wanted, broker_rights.every_key())
    if one.name.startswith(user_state.KEYS):
        return not one.there, bool(one.there)
    if isinstance(one.wanted, int) and isinstance(one.there, int) and 0 <= one.there < one.wanted:
        return False, True
    return True, False


def _unequal(unequal: tuple[Unequal, ...]) -> str:
    return "; ".join(f"{one.name}: {one.there or '—'} → {one.wanted or '—'}" for one in unequal)

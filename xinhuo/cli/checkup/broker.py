"""RabbitMQ, as far as AMQP lets one see it: who we are, its version, an alarm, queues and exchanges."""

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

import amqp
from kombu import Connection

from xinhuo.chassis.adapters import broker_state
from xinhuo.chassis.adapters.amqp import LOST, connect
from xinhuo.chassis.adapters.broker_state import Item
from xinhuo.chassis.topology import Topology, dead_letter_name
from xinhuo.chassis.wire import BrokerUnavailable

from ..topology import remedy as remedy_of
from .findings import Finding

_DEFAULT_PASSWORDS = {"", "guest", "admin", "password", "rabbitmq", "changeme", "123456"}
_REFUSALS = ("AccessRefused", "ACCESS_REFUSED", "NotAllowed", "NOT_ALLOWED")
_ALARM_SECONDS = 1.0


def check(uri: str | None, topology: Topology, services: tuple[str, ...]) -> Iterator[Finding]:
    """Yield what is wrong with the broker and with what the services need there."""
    if uri is None:
        yield Finding("broker.in_process", "AMQP_URI", "", "设 AMQP_URI 使用 RabbitMQ / set AMQP_URI to use RabbitMQ")
        return
    yield from check_uri(uri)
    where = _address(uri)
    try:
        yield from check_version(where, _properties(uri))
        yield from check_alarm(uri)
        yield from judge(broker_state.inspect(uri, topology), services)
    except (*LOST, BrokerUnavailable) as error:
        refused = any(sign in f"{type(error).__name__} {error}" for sign in _REFUSALS)
        remedy = (
            "检查账号、密码、虚拟主机和权限（三项均为 .*）/ check user, password, virtual host and permissions"
            if refused
            else "检查 AMQP_URI 与 RabbitMQ 的状态 / check AMQP_URI, and that RabbitMQ runs"
        )
        yield Finding("broker.refused" if refused else "broker.away", where, type(error).__name__, remedy)
        return
    remedy = "在 RabbitMQ 上运行 rabbitmqctl list_bindings、list_policies / look with rabbitmqctl on its machine"
    yield Finding("broker.unseen", where, "", remedy)


def check_uri(uri: str) -> Iterator[Finding]:
    """Yield what is wrong with the address itself: who logs in, and how."""
    parts = urlsplit(uri)
    where = _address(uri)
    user, password = unquote(parts.username or "guest"), unquote(parts.password or "")
    if user == "guest":
        yield Finding(
            "broker.guest_user", where, "",
            "rabbitmqctl add_user xinhuo …，改 AMQP_URI，再 rabbitmqctl delete_user guest / make a user of its own",
        )  # fmt: skip
    if password.lower() in _DEFAULT_PASSWORDS or password == user:
        remedy = f"rabbitmqctl change_password {user} …，改 AMQP_URI / choose a long random one"
        yield Finding("broker.default_password", where, "", remedy)
    if parts.scheme != "amqps" and not is_loopback(parts.hostname or ""):
        yield Finding("broker.no_tls", where, parts.scheme, "AMQP_URI=amqps://…:5671/…")
    if unquote(parts.path.lstrip("/")) in ("", "/"):
        yield Finding("broker.default_vhost", where, "/", "rabbitmqctl add_vhost xinhuo，改 AMQP_URI / change AMQP_URI")


def check_version(where: str, properties: dict[str, object]) -> Iterator[Finding]:
    """Yield what is wrong with the kind and version of the broker."""
    text = str(properties.get("version", "0"))
    numbers = [int(part) for part in text.split(".")[:2] if part.isdecimal()]
    version = (*numbers, 0, 0)[:2]
    shown = f"{properties.get('product', '?')} {text}"
    if version < (3, 10) or properties.get("product") != "RabbitMQ":
        remedy = "升级到 4.x 或 3.13 / upgrade to RabbitMQ 4.x or 3.13: at-least-once dead-lettering needs 3.10"
        yield Finding("broker.too_old", where, shown, remedy)
    elif version < (3, 13):
        yield Finding("broker.old", where, shown, "升级到 4.x 或 3.13 / upgrade to RabbitMQ 4.x or 3.13")
    if (3, 10) <= version < (3, 12):  # from 3.12 on it cannot be off
        yield Finding("broker.flag_unseen", where, shown, "rabbitmqctl enable_feature_flag stream_queue")


def check_alarm(uri: str) -> Iterator[Finding]:
    """Yield whether the broker takes nothing: it says so to whoever publishes, here something for nobody."""
    reasons: list[str] = []
    connection = Connection(
        uri,
        connect_timeout=5,
        transport_options={
            "on_blocked": reasons.append,
            "client_properties": {
                "connection_name": "xinhuo doctor",
                "capabilities": {"connection.blocked": True, "authentication_failure_close": True},
            },
        },
    )
    try:
        connection.connect()
        line = connection._connection
        line.transport.sock.settimeout(5)
        line.channel().basic_publish(amqp.Message(b""), exchange="", routing_key="xinhuo.doctor.nobody")
        while not reasons:
            line.drain_events(timeout=_ALARM_SECONDS)
    except TimeoutError:
        return
    finally:
        connection.release()
    yield Finding(
        "broker.alarm", _address(uri), ", ".join(reasons),
        "rabbitmqctl list_alarms 查看，腾出内存或磁盘 / see which, make room on the disk or in memory",
    )  # fmt: skip


def judge(items: list[Item], services: tuple[str, ...]) -> Iterator[Finding]:
    """Yield what is wrong with queues and exchanges."""
    dead = {dead_letter_name(service) for service in services}
    for item in items:
        if item.state == broker_state.MISSING:
            yield Finding("topology.missing", item.label, "", "xinhuo topology apply")
        elif item.state == broker_state.RETIRED:
            yield Finding(
                "topology.retired", item.label, f"{item.messages} 条消息 / messages",
                f"空后删除 / when it is empty: rabbitmqctl delete_queue {item.name}",
            )  # fmt: skip
        elif item.state == broker_state.DIFFERS:
            yield Finding(_differing(item), item.label, _unequal(item), remedy_of(item))
        if item.kind == "queue" and item.consumers == 0 and item.state != broker_state.RETIRED:
            service = item.name.partition(".")[0]
            yield Finding(
                "topology.dead_queue_unread" if item.name in dead else "topology.queue_unread",
                item.label, f"{item.messages} 条消息 / messages", f"xinhuo serve {service} --role worker",
            )  # fmt: skip


def _differing(item: Item) -> str:
    if item.is_classic:
        return "topology.classic_queue"
    if any(one.name == "x-dead-letter-exchange" and one.there is None for one in item.unequal):
        return "topology.no_dead_letter_exchange"
    return "topology.differs"


def _unequal(item: Item) -> str:
    return "; ".join(f"{one.name}: {one.there or '—'} → {one.wanted or '—'}" for one in item.unequal)


def _properties(uri: str) -> dict[str, object]:
    connection = connect(uri, name="xinhuo doctor")
    try:
        return dict(connection._connection.server_properties)
    finally:
        connection.release()


def _address(uri: str) -> str:
    """Return the address without who logs in."""
    parts = urlsplit(uri)
    return f"{parts.hostname}:{parts.port or (5671 if parts.scheme == 'amqps' else 5672)}{parts.path}"


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, reached by no network."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

"""The servers of a proof: given ones, with a throw-away database and virtual host, or its own, which may be killed."""

import json
import random
import secrets
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from xinhuo.chassis.adapters import amqp, amqp_topology

from .. import build

Action = Callable[[random.Random], None]


class NotFree(Exception):
    """The given broker holds what the proof would have to share; the text says what to do."""


@dataclass(frozen=True)
class Servers:
    """Where broker and database are; ``actions`` are the faults that can be done to the servers themselves."""

    amqp_uri: str
    database_url: str
    actions: Mapping[str, Action] = field(default_factory=dict)
    #: Makes a virtual host and returns its URI; without it the given one is used.
    add_vhost: Callable[[str], str] | None = None
    delete_vhost: Callable[[str], None] | None = None
    #: Called once everything is declared.
    settled: Callable[[], None] = lambda: None


@contextmanager
def throw_away_database(server: str, name: str) -> Iterator[str]:
    """Create a database on a server, and drop it at the end with whoever is still connected."""
    with psycopg.connect(_plain(server), autocommit=True, connect_timeout=10) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    try:
        yield urlunsplit(urlsplit(_plain(server))._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(_plain(server), autocommit=True, connect_timeout=10) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def throw_away_vhost(servers: Servers, name: str) -> Iterator[str]:
    """Make a virtual host, or take the given one when it is empty of ours, and leave it as it was.

    Raises NotFree when the given one holds queues or exchanges of the services.
    """
    if servers.add_vhost is not None and servers.delete_vhost is not None:
        uri = servers.add_vhost(name)
        try:
            yield uri
        finally:
            servers.delete_vhost(name)
        return
    topology = build.full_topology()
    total = len(topology.exchanges) + len(topology.queues)
    if len(amqp_topology.missing(servers.amqp_uri, topology)) != total:
        raise NotFree(
            "这个虚拟主机里已有薪火的队列或交换机，为免误伤，不在其中做故障试验：请换一个空的虚拟主机，"
            "或用 --management 指定管理接口，由程序新建并删除临时虚拟主机。\n"
            "The virtual host holds queues or exchanges of Xinhuo; give an empty one, or --management, so that a "
            "throw-away one can be made."
        )
    try:
        yield servers.amqp_uri
    finally:
        _remove(servers.amqp_uri, topology)


def _remove(uri: str, topology: Any) -> None:
    connection = amqp.connect(uri, name="xinhuo prove")
    try:
        with connection.channel() as channel:
            for queue in topology.queues:
                channel.queue_delete(queue.name)
            for exchange in topology.exchanges:
                channel.exchange_delete(exchange)
    finally:
        connection.release()


def with_management(servers: Servers, address: str) -> Servers:
    """Return the servers with virtual hosts made by RabbitMQ's management API (``http://user:password@host:15672``)."""
    parts = urlsplit(address)
    user = urlsplit(servers.amqp_uri).username or "guest"
    base = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], path=parts.path.rstrip("/")))
    token = b64encode(f"{parts.username}:{parts.password}".encode()).decode()

    def call(method: str, path: str, body: Any = None) -> None:
        request = urllib.request.Request(  # noqa: S310  (the address that the operator gave)
            f"{base}/api/{path}", method=method, data=json.dumps(body or {}).encode(),
            headers={"Authorization": f"Basic {token}", "Content-Type": "application/json"},
        )  # fmt: skip
        try:
            urllib.request.urlopen(request, timeout=20).close()  # noqa: S310
        except (urllib.error.URLError, OSError) as error:
            raise NotFree(f"管理接口拒绝或连接不上 / the management API refuses or is away: {error}") from error

    def add(name: str) -> str:
        call("PUT", f"vhosts/{name}")
        call("PUT", f"permissions/{name}/{quote(user, safe='')}", {"configure": ".*", "write": ".*", "read": ".*"})
        return urlunsplit(urlsplit(servers.amqp_uri)._replace(path=f"/{name}"))

    def delete(name: str) -> None:
        call("DELETE", f"vhosts/{name}")

    return Servers(servers.amqp_uri, servers.database_url, servers.actions, add, delete, servers.settled)


def through(uri: str, port: int) -> str:
    """Return a URI that leads to a port of this machine instead, with user, password and path as they were."""
    parts = urlsplit(uri)
    login = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}" if login else f"127.0.0.1:{port}"))


def address_of(uri: str, default: int) -> tuple[str, int]:
    """Return host and port of a URI."""
    parts = urlsplit(uri)
    return parts.hostname or "127.0.0.1", parts.port or default


def disconnect(database_url: str, service: str) -> None:
    """Have the server end all sessions of one service's processes."""
    try:
        with psycopg.connect(_plain(database_url), autocommit=True, connect_timeout=5) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE %s",
                (f"xinhuo-{service}%",),
            )
    except psycopg.OperationalError:
        return  # it is away at the moment, and so are its sessions


def depths(amqp_uri: str) -> dict[str, int]:
    """Return how many messages each queue of the services holds."""
    connection = amqp.connect(amqp_uri, name="xinhuo prove")
    try:
        with connection.channel() as channel:
            return {
                queue.name: int(channel.queue_declare(queue.name, passive=True).message_count)
                for queue in build.full_topology().queues
            }
    finally:
        connection.release()


def new_name() -> str:
    """Return a name for a database or virtual host that nobody has."""
    return f"xinhuo_prove_{secrets.token_hex(4)}"


def _plain(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"

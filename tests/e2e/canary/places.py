"""Where is searched: broker, tables, logs, metrics, answers, files and the output of commands, as they really are."""

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import amqp
import psycopg
import requests
from kombu import Connection
from psycopg import sql

from tests.support.installation import SERVICES, Ended, Installation, called
from tests.support.rabbit import RabbitNode
from tests.support.waiting import wait_for
from xinhuo.chassis.identity.actor import Actor
from xinhuo.chassis.markers import Http, marked
from xinhuo.cli.build import full_topology, service_class

from .needles import Spot

SPY = "canary-spy"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_COLUMNS = """
    SELECT n.nspname AS schema, c.relname AS name, a.attname AS column, a.atttypid = 'bytea'::regtype AS binary
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relkind IN ('r', 'm', 'S') AND a.attnum > 0 AND NOT a.attisdropped
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1, 2, a.attnum
"""


def routes() -> dict[str, list[tuple[str, str]]]:
    """Return the methods and paths of all routes of each service, as the code marks them."""
    return {
        name: [(mark.method, mark.path) for mark in marked(service_class(name), Http).values()] for name in SERVICES
    }


@dataclass
class Watched:
    """An installation of which every answer, message and command's output is kept."""

    installation: Installation
    node: RabbitNode | None
    answers: list[Spot] = field(default_factory=list)
    messages: list[Spot] = field(default_factory=list)
    outputs: list[Spot] = field(default_factory=list)
    asked: set[tuple[str, str, str]] = field(default_factory=set)
    _patterns: list[tuple[str, str, str, "re.Pattern[str]"]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for service, of_service in routes().items():
            for method, path in of_service:
                parts = re.split(r"(\{[^}]*\})", path)
                text = "".join(
                    (_UUID if part.endswith(":uuid}") else "[^/]+?") if part.startswith("{") else re.escape(part)
                    for part in parts
                )
                self._patterns.append((service, method, path, re.compile(text)))

    # --- Asking -------------------------------------------------------------------------------------------

    def ask(
        self, service: str, method: str, path: str, who: Actor | dict[str, str] | None = None, **options: Any
    ) -> requests.Response:
        """Send a request as somebody, or with headers of one's own, and keep the whole answer."""
        headers = options.pop("headers", {})
        bearing = self.installation.bearing(who) if isinstance(who, Actor) else who or {}
        answer = requests.request(
            method, self.installation.url(service) + path, headers={**bearing, **headers}, timeout=60,
            allow_redirects=False, **options,
        )  # fmt: skip
        route = self.route_of(service, method, path.partition("?")[0])
        self.asked.add((service, method, route))
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        name = f"{service} {method} {route} {answer.status_code}"
        addresses = [answer.headers.get(header, "") for header in ("Location", "Link", "Content-Location")]
        if answer.ok:  # whoever does as is right does not write a person into an address either
            addresses.append(path)
        self.answers += [
            Spot("answer", name, head.encode()),
            Spot("answer", name, answer.content),
            Spot("url", name, "\n".join(addresses).encode()),
        ]
        return answer

    def make(self, service: str, method: str, path: str, who: Any, body: Any = None, **options: Any) -> Any:
        """Do the same for what must work; return the JSON."""
        answer = self.ask(service, method, path, who, json=body, **options)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content and "json" in answer.headers["Content-Type"] else answer

    def refuse(self, status: int, service: str, method: str, path: str, who: Any = None, **options: Any) -> None:
        """Do the same for what must be refused with a status."""
        answer = self.ask(service, method, path, who, **options)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"

    def route_of(self, service: str, method: str, path: str) -> str:
        """Return the route that a path belongs to; the pages of the system are their own."""
        for name, of_method, route, pattern in self._patterns:
            if (name, of_method) == (service, method) and pattern.fullmatch(path):
                return route
        return "(none)" if path.startswith("/v1") else path

    def command(self, *arguments: str, stdin: str | None = None, **settings: str) -> Ended:
        """Call a command of `xinhuo` and keep what it prints."""
        data = self.installation.data
        own = {"XINHUO_KEY_FILE": str(data / "master.key"), "XINHUO_DATA": str(data)}
        ended = called(*arguments, settings={**self.installation.settings, **own, **settings}, stdin=stdin)
        words = [word for word in arguments if re.fullmatch("[a-z][a-z-]*", word)][:2]
        self.outputs.append(Spot("command", f"xinhuo {' '.join(words)}", (ended.stdout + ended.stderr).encode()))
        return ended

    # --- Messages -----------------------------------------------------------------------------------------

    def spy(self) -> None:
        """Bind a queue to every exchange, before anything is sent."""
        with Connection(self.installation.settings["AMQP_URI"]) as connection, connection.channel() as channel:
            channel.queue_declare(SPY, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
            for exchange in self.exchanges():
                channel.queue_bind(SPY, exchange, "#")

    def exchanges(self) -> list[str]:
        """Return every exchange of the virtual host but those of the broker itself."""
        if self.node is None:
            return [*full_topology().exchanges]
        listed = self.node.ctl("list_exchanges", "-p", self._vhost(), "name").splitlines()
        return [name for name in listed if name and name != "name" and not name.startswith("amq.")]

    def queues(self) -> list[str]:
        """Return every queue of the virtual host but the spy."""
        if self.node is None:
            return [queue.name for queue in full_topology().queues]
        listed = self.node.ctl("list_queues", "-p", self._vhost(), "name").splitlines()
        return [name for name in listed if name and name not in ("name", SPY)]

    def _vhost(self) -> str:
        return self.installation.settings["AMQP_URI"].rpartition("/")[2]

    def listen(self) -> None:
        """Take what the spy has got."""
        with Connection(self.installation.settings["AMQP_URI"]) as connection, connection.channel() as channel:
            while (message := channel.basic_get(SPY, no_ack=True)) is not None:
                self.messages += _parts_of(message, message.delivery_info["exchange"])

    def overhear(self) -> None:
        """Take what the spy has got, and look at what still lies in the queues."""
        self.listen()
        with Connection(self.installation.settings["AMQP_URI"]) as connection:
            for queue in self.queues():
                with connection.channel() as channel:  # closed, it gives back what was not acknowledged
                    while (message := channel.basic_get(queue)) is not None:
                        self.messages += _parts_of(message, queue)

    # --- What lies around ---------------------------------------------------------------------------------

    def all(self) -> Iterator[Spot]:
        """Yield everything that there is to search."""
        self.overhear()
        for spots in (self.answers, self.messages, self.outputs):
            yield from spots
        for look in (self.tables, self.metrics, self.files, self.servers_logs):
            yield from look()

    def of_kind(self, kind: str) -> Iterator[Spot]:
        """Yield what there is to search of one kind."""
        if kind == "message":
            self.listen()
        sources: dict[str, Iterable[Spot]] = {
            "answer": self.answers, "url": self.answers, "message": self.messages, "command": self.outputs,
        }  # fmt: skip
        looks = {"column": self.tables, "metric": self.metrics, "file": self.files, "log": self.files}
        found = sources[kind] if kind in sources else looks[kind]()
        return (spot for spot in found if spot.kind == kind)

    def tables(self) -> Iterator[Spot]:
        """Yield every column of every table of every schema, and the statements the database remembers."""
        with psycopg.connect(self.installation.sql_url(), connect_timeout=10) as connection:
            for schema, table, column, binary in connection.execute(_COLUMNS).fetchall():
                what = sql.SQL("{}" if binary else "{}::text").format(sql.Identifier(column))
                wanted = sql.SQL("SELECT {what} FROM {table} WHERE {column} IS NOT NULL").format(
                    what=what, table=sql.Identifier(schema, table), column=sql.Identifier(column)
                )
                values = [row[0] for row in connection.execute(wanted).fetchall()]
                name = f"{schema}.{re.sub(r'_[0-9]{4}_[0-9]{2}$|_rest$', '', table)}.{column}"
                if binary:
                    yield from (Spot("column", name, bytes(value)) for value in values)
                else:
                    yield Spot("column", name, "\n".join(values).encode())
            for (query,) in connection.execute("SELECT query FROM pg_stat_activity WHERE query <> ''").fetchall():
                yield Spot("column", "pg_stat_activity.query", query.encode())

    def metrics(self) -> Iterator[Spot]:
        """Yield the metrics page of every process."""
        for service in SERVICES:
            page = requests.get(f"{self.installation.url(service)}/metrics", timeout=30)
            assert page.status_code == 200
            yield Spot("metric", service, page.content)

    def files(self) -> Iterator[Spot]:
        """Yield every file of the data folder, logs too, and what the start printed."""
        for path in [*self.installation.data.rglob("*"), self.installation.output]:
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    kind = "log" if path.suffix in (".log", ".txt") else "file"
                    yield Spot(kind, path.name, path.read_bytes())
                    yield Spot("url", path.name, b"\n".join(re.findall(rb"(?:GET|POST|PATCH) \S+", path.read_bytes())))

    def servers_logs(self) -> Iterator[Spot]:
        """Yield the logs of RabbitMQ and PostgreSQL, where they are this run's own."""
        folders: Iterable[Path] = [self.node.folder] if self.node else []
        for folder in folders:
            for path in [*folder.glob("log/*"), *folder.parent.glob("*/server.log")]:
                if path.is_file():
                    yield Spot("log", f"server {path.name}", path.read_bytes())

    def settle(self) -> None:
        """Wait until every event has gone out, on both lanes, and taken effect."""
        waits = "published_at IS NULL OR public AND public_published_at IS NULL"
        undone = " + ".join(f"(SELECT count(*) FROM {name}.outbox WHERE {waits})" for name in SERVICES)  # noqa: S608
        wait_for(lambda: self.installation.scalar(f"SELECT {undone}") == 0, 30, "all events to go out")
        if self.node is None:
            return
        wait_for(lambda: self._waiting() == 0, 30, "all queues to be empty")

    def _waiting(self) -> int:
        total = 0
        with Connection(self.installation.settings["AMQP_URI"]) as connection, connection.channel() as channel:
            for queue in full_topology().queues:
                total += int(channel.queue_declare(queue.name, passive=True).message_count)
        return total


def _parts_of(message: "amqp.Message", where: str) -> Iterator[Spot]:
    yield Spot("message", where, bytes(message.body) if isinstance(message.body, bytes) else str(message.body).encode())
    yield Spot("message", where, repr((message.properties, message.delivery_info)).encode())

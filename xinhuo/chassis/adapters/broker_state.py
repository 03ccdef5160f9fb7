"""What is at the broker beside what is wanted: shown as a difference, made where it is missing, else left alone.

AMQP does not list queues, arguments or bindings. Whether a queue is there tells a passive declaration; what is
different about it, one argument at a time, the refusal of an active one: asked again with the value that it named,
until nothing is refused. A queue that is there is never changed by that. Bindings cannot be seen; they are made anew.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

from amqp.exceptions import AMQPError, NotFound, PreconditionFailed, ResourceLocked
from kombu import Connection

from ..topology import Queue, Topology
from .amqp_topology import connected, declare_exchange, declare_queue

MISSING, SAME, DIFFERS, RETIRED, UNKNOWN = "missing", "same", "differs", "retired", "unknown"
_MOST_ARGUMENTS = 20
_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<name>[^']+)' for (?:queue|exchange) .*? in vhost .*?: received .*? but current is "
    r"(?:none|(?:the value )?'(?P<there>[^']*)'(?: of type '(?P<type>\w+)')?)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Unequal:
    """An argument with the value that is wanted and the one that is there (None for none)."""

    name: str
    wanted: Any
    there: Any


@dataclass(frozen=True)
class Item:
    """An exchange, queue, user or policy; ``done`` is ``made``, ``replaced`` or ``mended`` after it was."""

    kind: str
    name: str
    state: str
    unequal: tuple[Unequal, ...] = ()
    messages: int | None = None
    consumers: int | None = None
    done: str | None = None

    @property
    def is_classic(self) -> bool:
        """Whether it is a classic queue where another kind is wanted."""
        return any(one.name == "x-queue-type" and one.there in (None, "classic") for one in self.unequal)

    @property
    def label(self) -> str:
        """Kind and name."""
        return f"{self.kind} {self.name}"


def inspect(uri: str, topology: Topology) -> list[Item]:
    """Return every wanted exchange and queue, and every retired queue that is still there; changes nothing.

    Raises BrokerUnavailable.
    """
    with connected(uri) as connection:
        return _Asking(connection).everything(topology)


def apply(uri: str, topology: Topology, *, replace_empty: bool = False) -> list[Item]:
    """Make what is missing and bind what is as wanted; what differs stays as it is and is returned as such.

    With ``replace_empty`` a classic queue that differs is deleted and made anew if the broker itself says that it is
    empty and unused. Nothing else is ever deleted. Raises BrokerUnavailable.
    """
    with connected(uri) as connection:
        asking = _Asking(connection)
        items = {(item.kind, item.name): item for item in asking.everything(topology)}
        for name in topology.exchanges:
            if items["exchange", name].state == MISSING:
                asking.ask(lambda channel, name=name: declare_exchange(channel, name))
                items["exchange", name] = replace(items["exchange", name], done="made")
        for queue in topology.queues:
            item = items["queue", queue.name]
            if item.state == DIFFERS and replace_empty and item.is_classic and asking.delete_empty(queue.name):
                item = replace(item, done="replaced")
            elif item.state == MISSING:
                item = replace(item, done="made")
            elif item.state == DIFFERS:
                continue
            items["queue", queue.name] = item
            asking.ask(lambda channel, queue=queue: declare_queue(channel, queue))
        return list(items.values())


class _Asking:
    """One connection; each question has a channel of its own, since a refusal closes it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, question: Any) -> Any:
        channel = self._connection.channel()
        answer = question(channel)
        channel.close()
        return answer

    def everything(self, topology: Topology) -> list[Item]:
        items = [self.exchange(name) for name in topology.exchanges]
        items += [self.queue(queue) for queue in topology.queues]
        for name in topology.retired:
            found = self._passive(name)
            if isinstance(found, Item) or found is not None:
                messages, consumers = (None, None) if isinstance(found, Item) else found
                items.append(Item("queue", name, RETIRED, messages=messages, consumers=consumers))
        return items

    def exchange(self, name: str) -> Item:
        try:
            self.ask(lambda channel: channel.exchange_declare(name, "topic", passive=True))
        except NotFound:
            return Item("exchange", name, MISSING)
        wanted = {"type": "topic", "durable": True, "auto_delete": False}
        unequal = self._unequal(wanted, lambda channel, it: channel.exchange_declare(name, **it))
        return Item("exchange", name, DIFFERS if unequal else SAME, unequal)

    def queue(self, queue: Queue) -> Item:
        found = self._passive(queue.name)
        if found is None:
            return Item("queue", queue.name, MISSING)
        if isinstance(found, Item):
            return found
        wanted = {"durable": True, "auto_delete": False, **queue.arguments}

        def declare(channel: Any, it: dict[str, Any]) -> None:
            flags = {name: it[name] for name in ("durable", "auto_delete")}
            rest = {name: value for name, value in it.items() if name not in flags}
            channel.queue_declare(queue.name, **flags, arguments=rest)

        unequal = self._unequal(wanted, declare)
        messages, consumers = found
        return Item("queue", queue.name, DIFFERS if unequal else SAME, unequal, messages, consumers)

    def _passive(self, name: str) -> tuple[int, int] | Item | None:
        try:
            found = self.ask(lambda channel: channel.queue_declare(name, passive=True))
        except NotFound:
            return None
        except ResourceLocked:
            return Item("queue", name, DIFFERS, (Unequal("exclusive", False, True),))
        return int(found.message_count), int(found.consumer_count)

    def delete_empty(self, name: str) -> bool:
        """Delete a classic queue if the broker finds it empty and unused in the same moment; tell whether it did."""
        try:
            self.ask(lambda channel: channel.queue_delete(name, if_unused=True, if_empty=True))
        except PreconditionFailed:
            return False
        return True

    def _unequal(self, wanted: dict[str, Any], declare: Any) -> tuple[Unequal, ...]:
        asked = dict(wanted)
        found: list[Unequal] = []
        for _ in range(_MOST_ARGUMENTS):
            try:
                self.ask(lambda channel, it=dict(asked): declare(channel, it))
                return tuple(found)
            except PreconditionFailed as error:
                refusal = _INEQUIVALENT.search(error.reply_text)
                if refusal is None:
                    return (*found, Unequal("?", "as wanted", error.reply_text))
                name, there = refusal["name"], _value(refusal, wanted.get(refusal["name"]))
                if any(one.name == name for one in found):
                    return (*found, Unequal("?", "as wanted", error.reply_text))
                found.append(Unequal(name, wanted.get(name), there))
                asked[name] = there
                if there is None:
                    del asked[name]
            except AMQPError as error:
                if error.reply_code is None or error.reply_code < 400:
                    raise
                return (*found, Unequal("?", "as wanted", error.reply_text))
        return tuple(found)


def _value(refusal: "re.Match[str]", wanted: Any) -> Any:
    """Return the value that a refusal names, as the type that the broker told or else as the wanted one's."""
    text = refusal["there"]
    if text is None:
        return None
    if isinstance(wanted, bool) or refusal["type"] == "bool":
        return text == "true"
    if isinstance(wanted, int) or refusal["type"] not in (None, "longstr"):
        try:
            return int(text)
        except ValueError:
            return text
    return text

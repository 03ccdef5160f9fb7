"""Messages of a broker: what the relay hands over, and how one that came in is opened and checked."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from xinhuo.contracts import codec
from xinhuo.contracts.codec import Undecodable

from . import clock
from .ladder import Delivery
from .topology import routing_key

#: A publisher's clock may be ahead by so much.
FUTURE = timedelta(minutes=5)
TIME_IN_FUTURE = "event.time_in_future"


@dataclass(frozen=True)
class Outgoing:
    """One message for the broker; holds one event or a batch of one type."""

    exchange: str
    routing_key: str
    body: bytes
    content_type: str
    message_id: str
    type: str
    mandatory: bool


@dataclass(frozen=True)
class Incoming:
    """One message from the broker, unread."""

    body: bytes
    content_type: str | None
    content_encoding: str | None
    type: str | None
    message_id: str | None
    routing_key: str | None
    headers: Any = field(default_factory=dict)
    tag: Any = None

    @property
    def returns(self) -> int:
        """How often the broker has got this message back, as a quorum queue counts."""
        count = self.headers.get("x-delivery-count") if isinstance(self.headers, dict) else None
        return count if isinstance(count, int) else 0


class Publisher(Protocol):
    """Hands messages to a broker."""

    def publish(self, messages: list[Outgoing]) -> frozenset[int]:
        """Publish all, wait for all confirms once, and return the indexes that no queue took.

        Raises BrokerUnavailable; then none, some or all may have been published.
        """

    def keep_alive(self) -> None:
        """Exchange heartbeats while there is nothing to publish; raises BrokerUnavailable."""

    def close(self) -> None:
        """Give the connection back."""


class BrokerUnavailable(Exception):
    """The broker is away, refuses, or does not confirm in time."""


class ManagementRefused(Exception):
    """The broker's management knows the account not, or not as an administrator, or does not take what was sent."""


class QueueFull(BrokerUnavailable):
    """A queue takes no more for the moment; the rest of the batch may have been published."""


@dataclass(frozen=True)
class Broken:
    """A part of a batch that cannot be read, with why."""

    body: bytes
    code: str
    why: str


def open_message(message: Incoming, *, now: datetime | None = None) -> tuple[list[Delivery], list[Broken]]:
    """Return the readable events of a message and the broken parts of a batch.

    Raises Undecodable when the message as a whole is no good: content type or encoding, missing type or
    message id, a type that contradicts the routing key, or a single event that cannot be read.
    """
    now = now or clock.now()
    if message.content_type not in {codec.CONTENT_TYPE, codec.BATCH_CONTENT_TYPE}:
        raise Undecodable("event.undecodable", "the content type is none of CloudEvents JSON")
    if message.content_encoding not in {None, "", "utf-8", "binary"}:
        raise Undecodable("event.undecodable", "the content encoding is not UTF-8")
    if not isinstance(message.headers, dict):
        raise Undecodable("event.headers_invalid", "the headers are no table")
    if not isinstance(message.type, str) or not message.type or not message.message_id:
        raise Undecodable("event.headers_invalid", "the properties type and message_id are required")
    if message.routing_key is not None and message.routing_key != routing_key(message.type):
        raise Undecodable("event.routing_key_mismatch", "routing key and type name different events")
    if message.content_type == codec.CONTENT_TYPE:
        return [_open_one(message.body, message.type, now)], []
    bodies = codec.split_batch(message.body)
    envelopes = codec.decode_batch(bodies, message.type)
    latest = now + FUTURE
    if envelopes is not None and all(envelope.time <= latest for envelope in envelopes):
        return [Delivery(body, envelope) for body, envelope in zip(bodies, envelopes, strict=True)], []
    deliveries, broken = [], []
    for body in bodies:
        try:
            deliveries.append(_open_one(body, message.type, now))
        except Undecodable as error:
            broken.append(Broken(body, error.code, error.why))
    return deliveries, broken


def _open_one(body: bytes, declared: str, now: datetime) -> Delivery:
    envelope = codec.decode(body)
    if envelope.type != declared:
        raise Undecodable("event.routing_key_mismatch", "the event is of another type than its message says")
    if envelope.time > now + FUTURE:
        raise Undecodable(TIME_IN_FUTURE, "the time is more than five minutes ahead")
    return Delivery(body, envelope)

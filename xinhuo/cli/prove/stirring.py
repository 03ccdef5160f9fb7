"""Messages that nobody should have sent: recorded events again and in any order, and poison."""

import hashlib
import json
import random
import time
import uuid
from typing import Any

import psycopg

from xinhuo.chassis.adapters.amqp import ConfirmingPublisher
from xinhuo.chassis.wire import BrokerUnavailable, Outgoing

from .history import History

PATIENCE = 20.0
_JSON, _BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
#: Where poison is sent: exchange, routing key, and how many queues listen there.
TARGETS = (
    ("volunteers.events", "hours_logged.v1", 3),
    ("volunteers.events", "hours_reversed.v1", 2),
    ("awards.events", "star_earned.v1", 1),
    ("notices.events", "unit_registered.v1", 1),
)
KINDS = ("undecodable", "unknown_type", "unknown_version", "invalid", "no_type", "spoiled_batch")
_SOME = "SELECT type, payload, id::text FROM {schema}.outbox ORDER BY random() LIMIT %s"


class Stirring:
    """Publishes straight to the broker; what it sends as poison goes into the record."""

    def __init__(self, amqp_uri: str, database_url: str, history: History) -> None:
        self._uri, self.database_url, self._history = amqp_uri, database_url, history
        self.repeated = 0

    def repeat(self, chance: random.Random) -> int:
        """Publish some hundred recorded events again, two to four times each, shuffled; return how many messages."""
        found = self._recorded("volunteers", 300) + self._recorded("awards", 30)
        messages = [message for message in found for _ in range(chance.randint(2, 4))]
        chance.shuffle(messages)
        self._publish([(*_address(topic), payload, _JSON, topic, id) for topic, payload, id in messages])
        self.repeated += len(messages)
        return len(messages)

    def poison(self, chance: random.Random, count: int = 6) -> int:
        """Publish messages that must become dead letters; return how many dead letters there will be."""
        total = 0
        batch = []
        for _ in range(count):
            exchange, key, copies = chance.choice(TARGETS)
            kind = chance.choice(KINDS)
            body, content_type, topic, dead = self._spoil(kind, exchange.partition(".")[0], key)
            self._history.poison(hashlib.sha256(dead).hexdigest(), copies, kind)
            batch.append((exchange, key, body, content_type, topic, str(uuid.uuid4())))
            total += copies
        self._publish(batch)
        return total

    def _spoil(self, kind: str, publisher: str, key: str) -> tuple[bytes, str, str | None, bytes]:
        """Return body, content type and type of a message, and the part of the body that is the dead letter."""
        topic = f"{publisher}.{key}"
        event: dict[str, Any] = {
            "specversion": "1.0", "id": str(uuid.uuid4()), "source": f"/xinhuo/{publisher}", "type": topic,
            "time": "2026-01-01T00:00:00Z", "data": {"minutes": "a lot"},
        }  # fmt: skip
        if kind == "undecodable":
            body = b"\xff\xfe{" + event["id"].encode()
            return body, _JSON, topic, body
        if kind == "unknown_type":
            event["type"] = f"{publisher}.nothing_known.v1"
        if kind == "unknown_version":
            event["type"] = f"{topic}9"
        body = json.dumps(event).encode()
        if kind == "spoiled_batch":
            # Beside it in the same message stands an event that was recorded, and must keep its one effect.
            good = [bytes(payload) for good_topic, payload, _ in self._recorded("volunteers", 5) if good_topic == topic]
            return b"[" + b",".join([*good, body]) + b"]", _BATCH, topic, body
        return body, _JSON, None if kind == "no_type" else topic, body

    def _recorded(self, schema: str, count: int) -> list[tuple[str, bytes, str]]:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with psycopg.connect(self.database_url, connect_timeout=5) as connection:
                    return list(connection.execute(_SOME.format(schema=schema).encode(), (count,)).fetchall())
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _publish(self, messages: list[tuple[str, str, bytes, str, str | None, str]]) -> None:
        """Publish with confirms, again from the start when the broker goes away meanwhile."""
        deadline = time.monotonic() + PATIENCE
        outgoing = [
            Outgoing(exchange, key, body, content_type, message_id, topic, False)  # type: ignore[arg-type]
            for exchange, key, body, content_type, topic, message_id in messages
        ]
        publisher = ConfirmingPublisher(self._uri, name="prove", confirm_seconds=10)
        while True:
            try:
                for start in range(0, len(outgoing), 200):
                    publisher.publish(outgoing[start : start + 200])
                publisher.close()
                return
            except BrokerUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


def _address(topic: str) -> tuple[str, str]:
    publisher, _, key = topic.partition(".")
    return f"{publisher}.events", key

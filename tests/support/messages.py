"""Messages to the exchange of notices: good, and spoiled in any way a test wants."""

import json
from dataclasses import dataclass, field
from typing import Any

import amqp
from kombu import Connection

from tests.support.services import delivery_of
from xinhuo.chassis.ids import new_id
from xinhuo.contracts.notices import UnitRegistered

JSON = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
TOPIC = "notices.unit_registered.v1"
KEY = "unit_registered.v1"


@dataclass
class Message:
    """A message to a service's exchange; good until a test spoils it."""

    unit_code: str = field(default_factory=lambda: f"E2E-{new_id()}")
    body: bytes = b""
    properties: dict[str, Any] = field(default_factory=dict)
    routing_key: str = KEY

    def __post_init__(self) -> None:
        if not self.body:
            delivery = delivery_of(UnitRegistered(unit_code=self.unit_code, kind="primary"))
            self.body = delivery.body
            self.properties = {"content_type": JSON, "message_id": str(delivery.envelope.id), "type": TOPIC}

    @property
    def content(self) -> dict[str, Any]:
        """The event as the JSON that it is."""
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    def with_content(self, **changes: Any) -> "Message":
        """Change fields of the envelope; None removes one."""
        content = {**self.content, **changes}
        self.body = json.dumps({name: value for name, value in content.items() if value is not None}).encode()
        return self

    def with_data(self, **changes: Any) -> "Message":
        """Change fields of the data."""
        return self.with_content(data={**self.content["data"], **changes})

    def with_body(self, body: bytes) -> "Message":
        """Take another body."""
        self.body = body
        return self

    def with_properties(self, **changes: Any) -> "Message":
        """Change properties of the message; None removes one."""
        changed = {**self.properties, **changes}
        self.properties = {name: value for name, value in changed.items() if value is not None}
        return self

    def with_key(self, routing_key: str) -> "Message":
        """Take another routing key."""
        self.routing_key = routing_key
        return self


def publish(amqp_uri: str, *messages: Message) -> None:
    """Send messages, each confirmed: a busy node loses the last ones of a channel that closes without waiting."""
    with (
        Connection(amqp_uri, transport_options={"confirm_publish": True}) as connection,
        connection.channel() as channel,
    ):
        for message in messages:
            channel.basic_publish(
                amqp.Message(message.body, delivery_mode=2, **message.properties),
                exchange="notices.events",
                routing_key=message.routing_key,
            )

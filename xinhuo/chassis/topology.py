"""Which exchanges and queues the services need, derived from their marks; declared by a deploy job."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .markers import Subscription, marked

if TYPE_CHECKING:  # services stand on this module
    from .service import Service

PUBLIC_EXCHANGE = "pub.events"
DELIVERY_LIMIT = 20
#: Queues that earlier releases declared and this one does not want: when a handler goes, its queue's name is added.
#: AMQP lists no queues, so only those that are named here can be found and reported; none is ever deleted.
RETIRED_QUEUES: tuple[str, ...] = ()


@dataclass(frozen=True)
class Queue:
    """A durable quorum queue with its bindings ``(exchange, routing key)``."""

    name: str
    bindings: tuple[tuple[str, str], ...]
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Topology:
    """Everything the services expect to find at the broker; all durable, exchanges of type topic."""

    exchanges: tuple[str, ...]
    queues: tuple[Queue, ...]
    retired: tuple[str, ...] = RETIRED_QUEUES


def events_exchange(publisher: str) -> str:
    """Return the exchange a service publishes to, nameko's own name for it."""
    return f"{publisher}.events"


def department_exchange(code: str) -> str:
    """Return the exchange from which a department takes the public events that it wants."""
    return f"dept.{code}.events"


def queue_name(service: str, handler: str) -> str:
    """Return the queue of a subscription; permanent, like the handler's name."""
    return f"{service}.{handler}"


def replay_exchange(queue: str) -> str:
    """Return the exchange that leads to one queue only, by which recorded events are sent to it again."""
    return f"{queue}.replay"


def dead_letter_name(service: str) -> str:
    """Return the name of both the dead-letter exchange and the dead-letter queue of a service."""
    return f"{service}.dead"


def routing_key(topic: str) -> str:
    """Return the key under which a type travels inside: the type without its publisher."""
    return topic.partition(".")[2]


def subscribed_topics(services: "Iterable[type[Service]]") -> frozenset[str]:
    """Return the event types that some service wants; these go out mandatory."""
    return frozenset(
        event.topic for service in services for mark in marked(service, Subscription).values() for event in mark.events
    )


def of(services: "Iterable[type[Service]]") -> Topology:
    """Return the topology of the given services."""
    exchanges: list[str] = [PUBLIC_EXCHANGE]
    queues = []
    for service in services:
        dead = dead_letter_name(service.name)
        exchanges += [events_exchange(service.name), dead]
        queues.append(Queue(dead, ((dead, "#"),), {"x-queue-type": "quorum"}))
        for handler, mark in marked(service, Subscription).items():
            name = queue_name(service.name, handler)
            replay = replay_exchange(name)
            exchanges.append(replay)
            sources = [(events_exchange(event.publisher), routing_key(event.topic)) for event in mark.events]
            queues.append(
                Queue(
                    name,
                    (*sources, *dict.fromkeys((replay, key) for _, key in sources)),
                    {
                        "x-queue-type": "quorum",
                        "x-overflow": "reject-publish",
                        "x-dead-letter-exchange": dead,
                        "x-dead-letter-strategy": "at-least-once",
                        "x-delivery-limit": DELIVERY_LIMIT,
                    },
                )
            )
    return Topology(tuple(exchanges), tuple(queues))

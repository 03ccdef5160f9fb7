"""What every process on RabbitMQ consists of, whichever adapter runs it."""

from collections.abc import Callable, Sequence
from threading import Event as Flag
from typing import Any, Protocol

from xinhuo.contracts.codec import Undecodable

from ..relay import Relay
from ..service import Service
from ..topology import dead_letter_name
from ..web.app import HttpApp
from ..wire import Incoming
from ..worker import Worker
from .amqp import LOST, BatchConsumer, ConfirmingPublisher
from .dead_letters import dead_letter_receiver

#: How many messages of the dead-letter queue are taken at once.
_DEAD_PREFETCH = 50
_ATTEND_SECONDS = 1.0
Receive = Callable[[Sequence[Incoming]], Sequence[Undecodable | None]]


class Process(Protocol):
    """One process of a service, run by an adapter: its api, its worker, or both."""

    consumers: list[BatchConsumer]
    relays: list[Relay]
    leaving: Callable[[], bool]
    """Whether clients are to go elsewhere: each answer then closes its connection. To be set before ``add_api``."""

    def __init__(self, service: Service, mandatory: frozenset[str]) -> None:
        """Prepare a process; events of the types in ``mandatory`` must find a queue."""

    def add_api(self, make_app: Callable[[Any], HttpApp], host: str, port: int) -> None:
        """Serve HTTP; ``make_app(invoke)`` builds the application."""

    def add_health(self, make_app: Callable[[Any], Any], host: str, port: int) -> None:
        """Serve health and metrics only."""

    def add_worker(self) -> None:
        """Consume, relay and do timed work."""

    def run(self, stop: Flag) -> None:
        """Run until told to stop, then finish what is in flight; raises what else ended the service."""


def stays() -> bool:
    """Return False: it does not leave."""
    return False


def consumer_of(worker: Worker, method: str, receive: Receive) -> BatchConsumer:
    """Return what reads the queue of a method."""
    service = worker.service
    settings = service.runtime.settings
    return BatchConsumer(
        broker_of(service),
        worker.handler_name(method),
        receive,
        prefetch_max=settings.prefetch_max,
        window=settings.batch_window_ms / 1000,
        gather=worker.subscriptions[method].gather,
        ready=service.runtime.db.is_up,
    )


def dead_letter_consumer_of(worker: Worker) -> BatchConsumer:
    """Return what drains a service's dead-letter queue into its table."""
    service = worker.service
    return BatchConsumer(
        broker_of(service),
        dead_letter_name(service.name),
        dead_letter_receiver(worker),
        prefetch_max=_DEAD_PREFETCH,
        window=service.runtime.settings.batch_window_ms / 1000,
        ready=service.runtime.db.is_up,
    )


def attend_until(done: Callable[[float], bool], consumer: BatchConsumer) -> Exception | None:
    """Keep a consumer's connection alive until a batch, which another thread handles, is done.

    ``done(seconds)`` waits so long and tells whether it is. Returns why the connection was lost, if it was: the
    batch is finished all the same, so that whoever is given it next does not work on it beside us.
    """
    lost: Exception | None = None
    while not done(_ATTEND_SECONDS):
        if lost is None:
            try:
                consumer.attend()
            except LOST as error:
                lost = error
    return lost


def relays_of(service: Service, mandatory: frozenset[str], consumers: Sequence[BatchConsumer]) -> list[Relay]:
    """Return a service's relay of each lane; the public one lets the other, and the process's consumers, go first.

    Those make the effects that people wait for; no department waits for its copy.
    """
    inside = Relay(service.runtime.db, _publisher_of(service, "inside"), mandatory=mandatory)

    def others_are_pressed() -> bool:
        return inside.pressure.is_on() or any(consumer.pressure.is_on() for consumer in consumers)

    public = Relay(service.runtime.db, _publisher_of(service, "public"), lane="public", yields=others_are_pressed)
    return [inside, public]


def _publisher_of(service: Service, lane: str) -> ConfirmingPublisher:
    return ConfirmingPublisher(
        broker_of(service),
        name=f"relay {service.name} {lane}",
        confirm_seconds=service.runtime.settings.confirm_seconds,
    )


def background_of(worker: Worker, relays: list[Relay]) -> list[tuple[str, Callable[[Flag], None]]]:
    """Return the work of a worker that no subscription starts, each with a name for its thread."""
    works: list[tuple[str, Callable[[Flag], None]]] = [(f"relay {relay.lane}", relay.run) for relay in relays]
    return [*works, ("dead letters", dead_letter_consumer_of(worker).run), ("housekeeping", worker.housekeep)]


def broker_of(service: Service) -> str:
    """Return the broker's address, without which no process of this kind is started."""
    uri = service.runtime.settings.amqp_uri
    assert uri is not None  # noqa: S101  (the launcher checks it; for the type checker)
    return uri

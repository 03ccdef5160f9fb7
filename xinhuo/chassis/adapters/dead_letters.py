"""Reads a service's dead-letter queue: what the broker gave up goes into the dead-letter table, with its reason."""

from collections.abc import Callable, Sequence
from typing import Any

from xinhuo.contracts.codec import Undecodable

from ..topology import dead_letter_name
from ..wire import Incoming, open_message
from ..worker import Worker

#: The longest name of a queue in AMQP.
_LONGEST_NAME = 255


def dead_letter_receiver(worker: Worker) -> Callable[[Sequence[Incoming]], Sequence[None]]:
    """Return what drains a service's dead-letter queue into its dead-letter table."""

    def receive(messages: Sequence[Incoming]) -> Sequence[None]:
        for message in messages:
            queue, why = _first_death(message.headers)
            code, text = _why_dead(message, why)
            bury = worker.bury_undone if why == "delivery_limit" else worker.bury
            bury(queue or dead_letter_name(worker.service.name), message, code, text)
        return [None] * len(messages)

    return receive


def _first_death(headers: Any) -> tuple[str | None, str | None]:
    """Return queue and reason as far as the header has them: anybody may have written it, and in any form."""
    deaths = headers.get("x-death") if isinstance(headers, dict) else None
    first = deaths[0] if isinstance(deaths, list) and deaths else None
    if not isinstance(first, dict):
        return None, None
    queue, why = first.get("queue"), first.get("reason")
    named = isinstance(queue, str) and queue.isprintable() and len(queue) <= _LONGEST_NAME
    return queue if named else None, why if isinstance(why, str) and why.isprintable() else None


def _why_dead(message: Incoming, why: str | None) -> tuple[str, str]:
    if why == "delivery_limit":
        return "event.delivery_limit", "came back more often than the delivery limit allows"
    try:
        # The routing key is the dead one's original; the check is the same that rejected it.
        open_message(message)
    except Undecodable as error:
        return error.code, error.why
    return "event.rejected", f"dead-lettered by the broker ({why or 'unknown reason'})"

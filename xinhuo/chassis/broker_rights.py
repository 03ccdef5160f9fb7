"""What each user of RabbitMQ may do, derived from the topology: a service, a department, and nobody more than he needs.

RabbitMQ asks before everything whether a user may configure (make, delete), write (publish, bind to) or read (consume,
bind from) an exchange or queue, by patterns of its name; of the default exchange as `amq.default`. At `pub.events`,
where several services write, it also asks for the routing key. Who listens to what is decided by the deploy user alone.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from xinhuo.contracts.base import load_all

from .topology import PUBLIC_EXCHANGE, Topology, department_exchange, events_exchange

NOTHING = "^$"
#: Codes of departments: what is allowed is a pattern made of them.
DEPARTMENT_CODE = re.compile(r"[a-z][a-z0-9-]{1,29}")
#: Names that belong to nobody: whose pattern takes one in has more than he needs.
_NOBODYS = ("amq.default", "amq.topic", "amq.gen-x", "x")
#: A department of which nobody else has the code.
_SOMEBODY = "x0"


@dataclass(frozen=True)
class Rights:
    """What one user may do: patterns of names, of routing keys by exchange, and limits."""

    configure: str
    write: str
    read: str
    keys: Mapping[str, str] = field(default_factory=dict)
    """For an exchange, the routing keys with which may be written to it; to others with any key."""
    limits: Mapping[str, int] = field(default_factory=dict)

    def patterns(self) -> dict[str, str]:
        """Return the three patterns by what they allow."""
        return {"configure": self.configure, "write": self.write, "read": self.read}


@dataclass(frozen=True)
class Limits:
    """What bounds a department: each of its queues, and its user."""

    messages: int = 500_000
    """So many wait in a queue at most; then the oldest is dropped."""
    size: int = 512 * 1024 * 1024
    """In bytes, all that wait in a queue."""
    days: int = 14
    """So long one waits at most."""
    connections: int = 10
    channels: int = 50

    def of_user(self) -> dict[str, int]:
        """Return the limits of a user, in RabbitMQ's words."""
        return {"max-connections": self.connections, "max-channels": self.channels}

    def of_queues(self) -> dict[str, int]:
        """Return the definition of the operator policy: of it and of what a queue asks for, the smaller holds."""
        days = self.days * 24 * 3600 * 1000
        return {"max-length": self.messages, "max-length-bytes": self.size, "message-ttl": days}


LIMITS = Limits()


@dataclass(frozen=True)
class Policy:
    """What the broker holds queues to whose names fit a pattern; an operator policy also against what they ask for."""

    name: str
    pattern: str
    definition: Mapping[str, int]
    operator: bool = False


def policies(limits: Limits = LIMITS) -> tuple[Policy, ...]:
    """Return the policies of a virtual host.

    RabbitMQ 4 drops what was delivered twenty times in vain from a queue that says nothing of it; a queue of dead
    letters is the last place there is.
    """
    return (
        Policy("xinhuo-departments", r"^(dept\.|evt-dept\.)", limits.of_queues(), operator=True),
        Policy("xinhuo-dead-letters", r"^[a-z]+\.dead$", {"delivery-limit": 1_000_000}),
    )


def of_service(service: str, topology: Topology) -> Rights:
    """Return what the processes of a service do: publish to their exchanges, read their queues.

    They declare nothing, and what leads to one queue only (`replay_exchange`) is for the operators.
    """
    queues = [queue.name for queue in topology.queues] + list(topology.retired)
    public = any(event.public and event.publisher == service for event in load_all().values())
    return Rights(
        NOTHING,
        _these([events_exchange(service), *([PUBLIC_EXCHANGE] if public else [])]),
        _these(name for name in queues if name.partition(".")[0] == service),
        {PUBLIC_EXCHANGE: rf"^{service}\."} if public else {},
    )


def of_department(code: str, limits: Limits = LIMITS) -> Rights:
    """Return what the user of a department may do: everything with names of its own, nothing else.

    nameko calls a queue ``evt-dept.<code>-<type>--<service>.<method>``. A type begins with a word and a dot, so that
    `traffic` does not get what belongs to `traffic-police`.
    """
    own = rf"^(dept\.{code}\.|evt-dept\.{code}-[a-z_]+\.).*"
    return Rights(own, own, own, limits=limits.of_user())


def every_name(topology: Topology, code: str | None = None) -> list[str]:
    """Return names with which patterns are compared: all of ours, those of departments, and nobody's."""
    codes = [_SOMEBODY, *([code, f"{code}-{_SOMEBODY}"] if code else [])]
    departments = [
        name for one in codes for name in (department_exchange(one), f"dept.{one}.queue", f"evt-dept.{one}-a.b.v1--c.d")
    ]
    return [*topology.exchanges, *(queue.name for queue in topology.queues), *departments, *_NOBODYS]


def every_key() -> list[str]:
    """Return routing keys with which patterns are compared."""
    return [*load_all(), *_NOBODYS]


def compared(there: str, wanted: str, names: Iterable[str]) -> tuple[bool, bool]:
    """Return whether a pattern allows too much, and whether too little.

    What is written otherwise and tells nothing apart among these names is counted as too much.
    """
    try:
        found = re.compile(there)
    except re.error:  # Erlang's may hold what ours does not know
        return True, False
    allowed = {name for name in names if found.search(name)}
    due = {name for name in names if re.search(wanted, name)}
    return bool(allowed - due) or (there != wanted and allowed == due), bool(due - allowed)


def _these(names: Iterable[str]) -> str:
    """Return the pattern of these names and no other."""
    return "^(" + "|".join(name.replace(".", r"\.") for name in names) + ")$"

"""Neutral marks on a service's methods; an adapter decides how the marked methods are run.

``@http`` marks an answer to a request, ``@subscribe`` the handling of a batch of events, ``@job`` work that
is due again and again. Marking changes nothing about the method: it can be called in a test as it stands.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from xinhuo.contracts.base import Event

from .identity.actor import Access

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__xinhuo_mark__"


@dataclass(frozen=True)
class Http:
    """A route: the right that it needs, what it accepts and returns, and its limits."""

    method: str
    path: str
    right: str | None = None
    accepts: Any = None
    query: Any = None
    returns: Any = None
    status: int = 200
    body_limit: int | None = None
    media_type: str | None = None
    coalesce: bool = False
    errors: tuple[type, ...] = ()
    secret: bool = False
    cookie: str | None = None
    later: Any = None
    produces: str | None = None
    also: tuple[int, ...] = ()
    named: bool = False
    at_once: int | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """One of several requests that are answered together."""

    access: Access
    body: Any
    traceparent: str | None = None
    """Of the request: what comes of it belongs to its trace, with whichever others it is done."""


@dataclass(frozen=True)
class Subscription:
    """Events that a method wants, in batches of at most ``batch`` (the process's setting when None).

    While events keep coming, each lets ``gather`` seconds pass for others; one that comes after a quiet time does not.
    """

    events: tuple[type[Event], ...]
    batch: int | None = None
    gather: float = 0.0


@dataclass(frozen=True)
class Job:
    """Work due once in every period of the length ``every``, on one process only.

    Periods begin at midnight UTC, later by ``offset``. ``when`` tells, by reading only, whether there is any work;
    without it there always is.
    """

    every: timedelta
    offset: timedelta = timedelta(0)
    when: Callable[[Any], bool] | None = None


def http(
    method: str,
    path: str,
    *,
    right: str | None = None,
    accepts: Any = None,
    query: Any = None,
    returns: Any = None,
    status: int = 200,
    body_limit: int | None = None,
    media_type: str | None = None,
    coalesce: bool = False,
    errors: tuple[type, ...] = (),
    secret: bool = False,
    cookie: str | None = None,
    later: Any = None,
    produces: str | None = None,
    also: tuple[int, ...] = (),
    named: bool = False,
    at_once: int | None = None,
) -> Callable[[F], F]:
    """Mark a method as the answer to ``method path`` for those who have the ``right`` of ``identity.rights``.

    A service with a route that names none does not start; routes for everybody name ``PUBLIC_RIGHT``, and stand in
    the closed list of ``web.guard``. Work finds by ``identity.actor.access_of(session)`` for whom it is done, and how
    far the right reaches.

    The method is called as ``method(self, session, [body], [query], **path_arguments)`` inside one
    transaction; it gets ``body`` when ``accepts`` is a marshmallow schema or ``media_type`` names raw bytes,
    ``query`` when ``query`` is a schema. What it returns is dumped with the schema ``returns``, unless it is
    an ``Answer``. ``{name}`` in the path is an argument; ``{name:uuid}`` a UUID. With ``coalesce`` the method
    takes a list of ``Submission`` from requests that arrived together and returns, for each, a value or an exception.
    ``errors`` lists the rule errors the route can answer with, for the documentation. ``secret`` says that requests
    hold a password or a key: an Idempotency-Key is passed over, so that not even a digest of one is stored. ``cookie``
    names a cookie that the method gets as ``cookie``, None without one. ``later`` is the schema of an answer with 202,
    of what is not done yet. ``produces`` is the media type of an answer that is a file, and ``also`` are other statuses
    of success, both for the documentation. ``named`` says that the body is a file, the name of which (in
    ``Content-Disposition``) the method gets as ``file_name``, None without one. Of requests that are a lot of work no
    more than ``at_once`` are worked on at the same time by a process; the others wait their turn.
    """
    limits = (body_limit, media_type, coalesce, errors, secret, cookie, later, produces, also, named, at_once)
    return _mark(Http(method, path, right, accepts, query, returns, status, *limits))


def subscribe(*events: type[Event], batch: int | None = None, gather: float = 0.0) -> Callable[[F], F]:
    """Mark a method as handler: ``method(self, session, envelopes)``, each event once, one transaction a batch.

    The name of the method names its queue and its inbox rows: it is permanent. ``gather`` is for effects that nobody
    waits for: so many seconds each may come later, for a part of the statements.
    """
    return _mark(Subscription(events, batch, gather))


def job(
    *, every: timedelta, offset: timedelta = timedelta(0), when: Callable[[Any], bool] | None = None
) -> Callable[[F], F]:
    """Mark a method as timed work: ``method(self, session)`` runs once in each period, in one transaction.

    ``when(session)`` is for work that is looked for often and rarely there: while it says no, nothing is written.
    """
    return _mark(Job(every, offset, when))


def _mark(mark: Any) -> Callable[[F], F]:
    def apply(function: F) -> F:
        setattr(function, _MARK, mark)
        return function

    return apply


def marked(service_class: type, kind: type[Any]) -> dict[str, Any]:
    """Return the marks of one kind on a service class, by method name, in the order of definition."""
    found = {}
    for base in reversed(service_class.__mro__):
        for name, value in vars(base).items():
            mark = getattr(value, _MARK, None)
            if isinstance(mark, kind):
                found[name] = mark
    return found

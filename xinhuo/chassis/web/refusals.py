"""Every error that a route can answer with: those of its own rules, and those of HTTP that follow from its form."""

from collections.abc import Iterator

from ..db import DatabaseUnavailable
from ..errors import InvalidInput, RuleError
from ..identity.errors import IdentityUnavailable, RightMissing, TokenExpired, TokenInvalid, TokenMissing
from ..identity.rights import PUBLIC_RIGHT
from . import errors as http_errors
from . import schema
from .app import Route
from .limits import TooManyRequests
from .pages import CursorInvalid

_OF_STRANGERS = (TokenMissing, TokenInvalid, TokenExpired, RightMissing, IdentityUnavailable)
_OF_BODIES = (
    http_errors.BodyIncomplete,
    http_errors.BodyLengthAmbiguous,
    http_errors.BodyTooLarge,
    http_errors.WrongMediaType,
)
_OF_JSON = (
    http_errors.BodyEmpty,
    http_errors.BodyNotUtf8,
    http_errors.BodyNotJson,
    http_errors.BodyNotObject,
    http_errors.BodyDuplicateKey,
    http_errors.BodyTooDeep,
    InvalidInput,
)
_OF_KEYS = (http_errors.KeyMalformed, http_errors.KeyReused, http_errors.KeyInFlight)


def of(route: Route) -> dict[int, list[type[RuleError]]]:
    """Return the errors of a route by status, in the order of status and code."""
    found: dict[int, list[type[RuleError]]] = {}
    for error in sorted(set(_all(route)), key=lambda one: (one.status, one.code)):
        found.setdefault(error.status, []).append(error)
    return found


def _all(route: Route) -> Iterator[type[RuleError]]:
    mark = route.mark
    yield from mark.errors
    yield from (TooManyRequests, http_errors.QueryInvalid, http_errors.InternalError, DatabaseUnavailable)
    if mark.right != PUBLIC_RIGHT:
        yield from _OF_STRANGERS
    if "{" in mark.path:
        yield http_errors.RouteNotFound
    if isinstance(route.query, schema.Page):
        yield CursorInvalid
    if route.accepts is not None or mark.media_type:
        yield from _OF_BODIES
    if mark.named:
        yield http_errors.FileNameInvalid
    if route.accepts is not None:
        yield from _OF_JSON
    if mark.method == "POST" and not mark.secret:
        yield from _OF_KEYS
    if mark.method in {"PATCH", "PUT"}:
        yield http_errors.PreconditionRequired

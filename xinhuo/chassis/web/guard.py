"""The door of a service: who asks, and whether he may, before anything else of a request is looked at."""

from collections.abc import Iterable
from typing import Any

from ..identity.actor import Access, Reach
from ..identity.errors import RightMissing, TokenInvalid, TokenMissing, Unauthenticated
from ..identity.rights import PUBLIC_RIGHT, RIGHTS, reach_of
from ..markers import Http
from ..service import Runtime
from .limits import Limit, address_of

#: Everything that is answered without a token, by service; a route that says it is public and stands not here keeps
#: its service from starting. Pages beside the routes (health, metrics, documentation) hold no data of the office.
PUBLIC_ROUTES: frozenset[tuple[str, str, str]] = frozenset(
    {
        ("portal", "POST", "/v1/sessions"),
        ("portal", "POST", "/v1/sessions:refresh"),
        ("portal", "POST", "/v1/sessions:end"),
        ("portal", "POST", "/v1/activations"),
        ("portal", "POST", "/v1/client-tokens"),
        ("portal", "GET", "/v1/keys"),
        ("portal", "GET", "/v1/oidc/start"),
        ("portal", "GET", "/v1/oidc/callback"),
    }
)
_NOBODY = Access(None, PUBLIC_RIGHT, Reach.PUBLIC)


class Unguarded(Exception):
    """A route names no right, or one that there is not, or is public without standing in the list of those."""


def check_rights(service: str, marks: Iterable[Http]) -> None:
    """Raise Unguarded unless each route names a right, or is one of the public ones."""
    for mark in marks:
        public = mark.right == PUBLIC_RIGHT
        if public != ((service, mark.method, mark.path) in PUBLIC_ROUTES) or not (public or mark.right in RIGHTS):
            raise Unguarded(f"{service}: {mark.method} {mark.path} names the right {mark.right!r}")


class Door:
    """Lets requests in; whom it does not know it lets ask less often than those who show a token."""

    def __init__(self) -> None:
        self._limits: tuple[Limit, Limit] | None = None

    def __call__(self, runtime: Runtime, mark: Http, environ: dict[str, Any]) -> Access:
        """Return by what a request is answered.

        Raises TokenMissing, TokenInvalid, TokenExpired, RightMissing, TooManyRequests or IdentityUnavailable.
        """
        if self._limits is None:
            settings = runtime.settings
            self._limits = Limit(settings.rate_of_strangers), Limit(settings.rate_of_callers)
        strangers, callers = self._limits
        right = mark.right or ""
        if right == PUBLIC_RIGHT:
            strangers.take(address_of(environ, runtime.settings.proxies))
            return _NOBODY
        try:
            actor = runtime.verifier.actor_of(_token(environ))
        except Unauthenticated:
            strangers.take(address_of(environ, runtime.settings.proxies))
            raise
        callers.take(actor.subject)
        if (reach := reach_of(actor, right)) is None:
            raise RightMissing(actor, right)
        return Access(actor, right, reach)


def _token(environ: dict[str, Any]) -> str:
    header = environ.get("HTTP_AUTHORIZATION")
    if not header:
        raise TokenMissing()
    scheme, _, token = str(header).partition(" ")
    if scheme.lower() != "bearer":
        raise TokenInvalid()
    return token.strip()

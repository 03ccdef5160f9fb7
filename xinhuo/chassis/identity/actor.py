"""Who asks: what a checked token says of its bearer, and how far the right reaches that was asked for."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy.orm import Session

_ACCESS = "xinhuo_access"


class Reach(StrEnum):
    """Whose objects a right reaches."""

    ALL = "all"
    """Those of every unit."""
    OWN = "own"
    """Those of the actor's unit and of the units under it."""
    TEAM = "team"
    """Those of the actor's team."""
    SELF = "self"
    """Those of the volunteer whose account it is."""
    CHILD = "child"
    """Those of the volunteers whose guardian the actor is."""
    PUBLIC = "public"
    """What everybody may see."""


@dataclass(frozen=True, slots=True)
class Actor:
    """The bearer of a token. Nothing in it is personal: the names of accounts stay in the portal."""

    subject: UUID
    """The account or API client."""
    role: str
    unit: str | None = None
    team: str | None = None
    volunteer: UUID | None = None
    wards: tuple[UUID, ...] = ()
    """The volunteers whose guardian it is."""
    scopes: frozenset[str] | None = None
    """The only rights of the role that the token carries; None for all of them."""


@dataclass(frozen=True, slots=True)
class Access:
    """What one piece of work may touch: for whom it is done, by which right, and how far that right reaches."""

    actor: Actor | None
    right: str
    reach: Reach


#: Work that nobody asked for over HTTP: the handling of events, jobs, commands on the server itself.
SYSTEM = Access(None, "system", Reach.ALL)


def grant(session: Session, access: Access) -> None:
    """Let everything in this transaction be done by ``access``."""
    session.info[_ACCESS] = access


def access_of(session: Session) -> Access:
    """Return by what the work of this transaction is done."""
    access: Access = session.info.get(_ACCESS, SYSTEM)
    return access

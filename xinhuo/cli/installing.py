"""What the portal's tables get from the command line on the server, where nobody can sign in yet."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.portal.commands.accounts import first_admin as make_first_admin
from services.portal.commands.clients import installation_key, live_key
from services.portal.domain.clients import MOST_DAYS, KeyRefused
from xinhuo.chassis import config
from xinhuo.chassis.config import Settings
from xinhuo.chassis.db import database_now
from xinhuo.chassis.identity.rights import RIGHTS
from xinhuo.chassis.security import Keys

from . import build

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

#: Services that ask others, and what for.
ASKS = {"awards": ("books:read",), "notify": ("books:read",)}


def first_admin(environment: Mapping[str, str], login: str) -> str:
    """Make the first administrator; return the secret of his one-time link. Raises AdminExists or LoginMalformed."""
    return first_admin_of(config.load(environment), login)


def first_admin_of(settings: Settings, login: str) -> str:
    """Do as ``first_admin`` with settings that were read; raises LoginTaken too."""
    with portal_of(settings) as (session, keys):
        return make_first_admin(session, keys, login, database_now(session))[1]


def service_keys(settings: Settings) -> dict[str, str]:
    """Return a new key of each service that asks others; the keys of before end."""
    with portal_of(settings) as (session, _):
        return {
            name: installation_key(session, f"service {name}", "service", ASKS[name], days=MOST_DAYS) for name in ASKS
        }


def keys_work(settings: Settings, keys: Iterable[str]) -> bool:
    """Tell whether the portal knows all of these keys, and none has ended."""
    with portal_of(settings) as (session, _):
        try:
            for key in keys:
                live_key(session, key, database_now(session))
        except KeyRefused:
            return False
    return True


def key_of_role(
    settings: Settings, name: str, role: str, *, unit: str | None = None, department: str | None = None
) -> str:
    """Return a new key of the installation's client of this name, with all that its role may do by keys."""
    with portal_of(settings) as (session, _):
        return installation_key(session, name, role, rights_of(role), unit_code=unit, department_code=department)


def rights_of(role: str) -> Iterable[str]:
    """Return the rights of a role that programs may have."""
    from services.portal.domain.clients import NEVER

    return [right for right, (_, _, roles) in RIGHTS.items() if role in roles and right not in NEVER]


@contextmanager
def portal_of(settings: Settings) -> "Iterator[tuple[Session, Keys]]":
    """Give a transaction on the portal's tables, and the keys."""
    db = build.database("portal", settings, role="install")
    try:
        with db.transaction() as session:
            yield session, build.keys_of(settings)
    finally:
        db.close()

"""Who changes something, as he stands in the tables now: a token says how he stood up to ten minutes ago."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.identity.actor import Actor, access_of

from .. import people
from ..domain.accounts import AccountNotFound
from ..domain.sessions import SessionEnded
from ..models import accounts


def present(session: Session) -> Actor:
    """Return the actor of this transaction; raises SessionEnded unless his account is in use as his token says.

    Only accounts manage accounts and clients: no API key has these rights.
    """
    account = _row(session)
    actor = access_of(session).actor
    if account is None or account["state"] != "active" or actor is None:
        raise SessionEnded()
    now = people.actor_of(account)
    if (now.role, now.unit) != (actor.role, actor.unit):
        raise SessionEnded()
    return now


def own_account(session: Session) -> people.Row:
    """Return the row of the account that asks; raises AccountNotFound for a client, SessionEnded when not in use."""
    account = _row(session)
    if account is None:
        raise AccountNotFound()
    if account["state"] != "active":
        raise SessionEnded()
    return account


def _row(session: Session) -> people.Row | None:
    actor = access_of(session).actor
    if actor is None:
        return None
    return session.execute(sa.select(accounts).where(accounts.c.id == actor.subject)).mappings().one_or_none()

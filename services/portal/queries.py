"""What is read of the portal: functions that return plain data, never a secret or a digest."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.db import rows
from xinhuo.chassis.identity.actor import Access, Reach
from xinhuo.chassis.security import CannotDecrypt, Keys
from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from . import people, signing
from .domain.accounts import OPERATORS_ROLES, AccountNotFound
from .domain.clients import ClientNotFound
from .domain.sessions import IDLE
from .models import accounts, client_keys, clients, sessions, signing_keys


def account(session: Session, keys: Keys, access: Access, account_id: UUID) -> dict[str, Any]:
    """Return one account within the reach of who asks; raises AccountNotFound."""
    wanted = sa.select(accounts).where(accounts.c.id == account_id, *_within(access))
    row = session.execute(wanted).mappings().one_or_none()
    if row is None:
        raise AccountNotFound()
    return shown_account(keys, row)


def list_accounts(session: Session, keys: Keys, access: Access, query: Mapping[str, Any]) -> Listed:
    """Return a page of accounts by login, within the reach of who asks."""
    of = accounts.c
    wanted = sa.select(accounts).where(*_within(access)).order_by(of.login).limit(query["limit"] + 1)
    for name, column in (("role", of.role), ("unit", of.unit_code), ("state", of.state)):
        if name in query:
            wanted = wanted.where(column == query[name])
    if after := read_cursor(query["after"], str):
        wanted = wanted.where(of.login > after[0])
    found = [shown_account(keys, row) for row in session.execute(wanted).mappings()]
    return page_of(found, query["limit"], lambda row: (row["login"],))


def shown_account(keys: Keys, row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return an account's row as people see it: with the name readable, and whether there is a second factor."""
    name = row["display_name"]
    return {
        **row,
        "display_name": None if name is None else keys.decrypt(name, people.NAME_PLACE),
        "second_factor": row["totp_secret"] is not None,
    }


def me(session: Session, keys: Keys, access: Access) -> dict[str, Any]:
    """Return the account or client that asks, as it stands now; raises AccountNotFound."""
    subject = access.actor.subject if access.actor else None
    row = session.execute(sa.select(accounts).where(accounts.c.id == subject)).mappings().one_or_none()
    if row is not None:
        return {**shown_account(keys, row), "kind": "account", "scopes": None, "department_code": None}
    client = session.execute(sa.select(clients).where(clients.c.id == subject)).mappings().one_or_none()
    if client is None:
        raise AccountNotFound()
    return {
        **client,
        "kind": "client",
        "display_name": client["name"],
        "login": None,
        "volunteer_id": None,
        "wards": [],
        "second_factor": False,
    }


def own_sessions(session: Session, access: Access) -> Listed:
    """Return the sessions of the account that asks that can still be used, the newest first.

    Raises AccountNotFound for a client, which has none.
    """
    of = sessions.c
    now = sa.func.clock_timestamp()
    live = (of.ended_at.is_(None), of.expires_at > now, of.used_at > now - IDLE)
    subject = access.actor.subject if access.actor else None
    if session.scalar(sa.select(accounts.c.id).where(accounts.c.id == subject)) is None:
        raise AccountNotFound()
    wanted = sa.select(of.id, of.created_at, of.used_at, of.expires_at).where(of.account_id == subject, *live)
    return Listed(rows(session.execute(wanted.order_by(of.id.desc()).limit(200))))


def client(session: Session, client_id: UUID) -> dict[str, Any]:
    """Return one API client with its keys, the newest first; raises ClientNotFound."""
    row = session.execute(sa.select(clients).where(clients.c.id == client_id)).mappings().one_or_none()
    if row is None:
        raise ClientNotFound()
    of = client_keys.c
    kept = sa.select(client_keys).where(of.client_id == client_id).order_by(of.id.desc()).limit(200)
    return {**row, "keys": rows(session.execute(kept))}


def own_keys(session: Session, access: Access) -> Listed:
    """Return what is kept of the keys of the client that asks, the newest first."""
    of = client_keys.c
    subject = access.actor.subject if access.actor else None
    kept = sa.select(client_keys).where(of.client_id == subject).order_by(of.id.desc()).limit(200)
    return Listed(rows(session.execute(kept)))


def list_clients(session: Session, query: Mapping[str, Any]) -> Listed:
    """Return a page of API clients, in the order in which they were made."""
    of = clients.c
    wanted = sa.select(clients).order_by(of.id).limit(query["limit"] + 1)
    for name, column in (("role", of.role), ("state", of.state)):
        if name in query:
            wanted = wanted.where(column == query[name])
    if after := read_cursor(query["after"], UUID):
        wanted = wanted.where(of.id > after[0])
    return page_of(rows(session.execute(wanted)), query["limit"], lambda row: (row["id"],))


def key_fits(session: Session, keys: Keys) -> bool:
    """Tell whether the master key is the one that the oldest signing key was encrypted with; before, any is."""
    kept = session.scalar(sa.select(signing_keys.c.private).order_by(signing_keys.c.made_at).limit(1))
    try:
        return kept is None or bool(keys.decrypt(kept, signing.PLACE))
    except CannotDecrypt:
        return False


def _within(access: Access) -> list[sa.ColumnElement[bool]]:
    """Return the conditions on accounts that the right reaches."""
    if access.reach is Reach.ALL:
        return []
    unit = access.actor.unit if access.actor else None
    if unit is None:
        return [sa.false()]  # a leader's account may have none either
    return [accounts.c.role.in_(OPERATORS_ROLES), accounts.c.unit_code == unit]

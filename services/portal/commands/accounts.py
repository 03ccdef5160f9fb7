"""Accounts: made and changed by those who may, with a one-time link for the first password."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.chassis.db import database_now, sqlstate
from xinhuo.chassis.errors import check_revision
from xinhuo.chassis.identity.actor import Actor, Reach, access_of
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.security import Keys

from .. import credentials, passwords, people
from ..domain.accounts import (
    OPERATORS_ROLES,
    AccountNotFound,
    AdminExists,
    LastAdmin,
    LoginTaken,
    OwnRole,
    RoleBeyond,
    UnitBeyond,
    check_belonging,
    check_login,
)
from ..domain.oidc import NotConfigured, SubjectTaken
from ..domain.passwords import check_password
from ..domain.sessions import LINK
from ..models import accounts, links
from . import attempts, sessions
from .acting import present

#: Taken while the number of administrators may go down or begins, so that two at once cannot leave none or make two.
_ADMINS_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('portal.bureau_admins'))")


def create_account(session: Session, keys: Keys, given: Mapping[str, Any]) -> dict[str, Any]:
    """Make an account and the link for its first password; return its row with the link as ``activation``.

    An operator makes operators and team leaders of his own unit. Raises LoginMalformed, LoginTaken, RoleBeyond,
    UnitBeyond, BelongingMissing or SessionEnded.
    """
    actor = present(session)
    values = dict(given)
    if access_of(session).reach is not Reach.ALL:
        values["unit_code"] = values.get("unit_code") or actor.unit
    _check_within(session, actor, values)
    account = _insert(session, keys, values, state="invited", created_by=actor.subject)
    secret, expires_at = _make_link(session, account, actor.subject, database_now(session))
    return {**account, "activation": {"secret": secret, "expires_at": expires_at}}


def change_account(
    session: Session, keys: Keys, account_id: UUID, given: Mapping[str, Any], if_match: str, issuer: str | None
) -> dict[str, Any]:
    """Change an account that nobody else changed since; a change of role or state ends its sessions.

    ``issuer`` is the directory to which an ``oidc_subject`` belongs. Raises AccountNotFound, ChangedMeanwhile,
    RoleBeyond, UnitBeyond, BelongingMissing, OwnRole, LastAdmin, NotConfigured, SubjectTaken or SessionEnded.
    """
    actor = present(session)
    session.execute(_ADMINS_LOCK)
    before = managed(session, actor, account_id)
    check_revision(before["revision"], if_match)
    if given.get("oidc_subject") is not None and issuer is None:
        raise NotConfigured()
    values = _columns(keys, before, given, issuer)
    after = {**before, **values}
    changed = {name: value for name, value in values.items() if before[name] != value}
    if not changed:
        return dict(before)
    _check_within(session, actor, after)
    check_belonging(after)
    if "role" in changed and account_id == actor.subject:
        raise OwnRole()
    if _is_active_admin(before) and not _is_active_admin(after):
        _check_not_last(session, account_id)
    try:
        with session.begin_nested():
            row = people.change(session, account_id, **changed)
    except IntegrityError as error:
        if sqlstate(error) == "23505":
            raise SubjectTaken() from None
        raise
    if changed.keys() & {"role", "state", "totp_secret", "oidc_subject"}:
        sessions.end_all(session, account_id, "account")
    if row["state"] == "disabled":
        _forget_links(session, account_id)
    was, now = people.state_of(before), people.state_of(row)
    audit.record(session, "account.changed", "account", account_id, before=was, after=now)
    if "totp_secret" in changed:
        audit.record(session, "account.factor_off", "account", account_id)
    return dict(row)


def reset_account(session: Session, account_id: UUID) -> dict[str, Any]:
    """Make a one-time link for a new password; the old one stays good until it is used. Return it, shown once.

    Raises AccountNotFound or SessionEnded.
    """
    actor = present(session)
    account = managed(session, actor, account_id)
    secret, expires_at = _make_link(session, account, actor.subject, database_now(session))
    audit.record(session, "account.reset", "account", account_id)
    return {"secret": secret, "expires_at": expires_at}


def first_admin(session: Session, keys: Keys, login: str, now: datetime) -> tuple[UUID, str]:
    """Make the first administrator of the bureau; return his account and the secret of his one-time link.

    For the command line on the server. Called again before the link was used, it gives a new link to the same login.
    Raises AdminExists when there is an active one, LoginTaken when the login is another's, LoginMalformed.
    """
    session.execute(_ADMINS_LOCK)
    admins = sa.select(accounts).where(accounts.c.role == "bureau_admin")
    if session.scalar(sa.select(admins.where(accounts.c.state == "active").exists())):
        raise AdminExists()
    waiting = admins.where(accounts.c.login == check_login(login), accounts.c.state == "invited")
    found: people.Row | None = session.execute(waiting).mappings().one_or_none()
    account = found or _insert(session, keys, {"login": login, "role": "bureau_admin"}, state="invited")
    secret, _ = _make_link(session, account, None, now)
    if found is not None:
        audit.record(session, "account.reset", "account", account["id"])
    return account["id"], secret


def demo_account(
    session: Session,
    keys: Keys,
    login: str,
    password: str,
    role: str,
    *,
    display_name: str | None = None,
    unit_code: str | None = None,
    team_code: str | None = None,
    volunteer_id: UUID | None = None,
    wards: Iterable[UUID] = (),
) -> UUID:
    """Make an account that can be used at once, for sample data only; return its id.

    Raises LoginMalformed, LoginTaken, BelongingMissing or PasswordTooWeak.
    """
    check_password(password, login)
    given = {
        "login": login,
        "role": role,
        "display_name": display_name,
        "unit_code": unit_code,
        "team_code": team_code,
        "volunteer_id": volunteer_id,
        "wards": list(wards),
    }
    account = _insert(session, keys, given, state="active", password_hash=passwords.hashed(password))
    account_id: UUID = account["id"]
    attempts.forget(session, people.login_index(keys, login))
    return account_id


def managed(session: Session, actor: Actor, account_id: UUID) -> people.Row:
    """Return the locked row of an account that the actor manages; raises AccountNotFound."""
    row = people.locked(session, account_id)
    if row is None:
        raise AccountNotFound()
    if access_of(session).reach is not Reach.ALL and (
        row["role"] not in OPERATORS_ROLES or row["unit_code"] is None or row["unit_code"] != actor.unit
    ):
        raise AccountNotFound()
    return row


def _check_within(session: Session, actor: Actor, account: Mapping[Any, Any]) -> None:
    """Refuse what is beyond an operator: he manages those of his own unit."""
    if access_of(session).reach is Reach.ALL:
        return
    if account["role"] not in OPERATORS_ROLES:
        raise RoleBeyond()
    if account["unit_code"] != actor.unit:
        raise UnitBeyond()


def _columns(keys: Keys, before: people.Row, given: Mapping[str, Any], issuer: str | None) -> dict[str, Any]:
    """Return the columns that a change sets."""
    values = dict(given)
    if "display_name" in values:
        name = values["display_name"]
        kept = before["display_name"]
        same = kept is not None and name == keys.decrypt(kept, people.NAME_PLACE)
        values["display_name"] = kept if same else _sealed(keys, name)
    if not values.pop("second_factor", True):
        values |= {"totp_secret": None, "totp_pending": None}
    if "oidc_subject" in values:
        values["oidc_issuer"] = issuer if values["oidc_subject"] is not None else None
    if values.get("state") == "active" and not _can_sign_in({**before, **values}):
        values["state"] = "invited"
    return values


def _can_sign_in(account: Mapping[str, Any]) -> bool:
    return account["password_hash"] is not None or account["oidc_subject"] is not None


def _is_active_admin(account: Mapping[Any, Any]) -> bool:
    return bool(account["role"] == "bureau_admin" and account["state"] == "active")


def _check_not_last(session: Session, account_id: UUID) -> None:
    of = accounts.c
    others = sa.select(accounts).where(of.role == "bureau_admin", of.state == "active", of.id != account_id)
    if not session.scalar(sa.select(others.exists())):
        raise LastAdmin()


def _insert(session: Session, keys: Keys, given: Mapping[str, Any], **values: Any) -> people.Row:
    row = {"id": new_id(), "wards": [], "revision": 1, **given, **values}
    row["login"] = check_login(row["login"])
    row["display_name"] = _sealed(keys, row.get("display_name"))
    check_belonging(row)
    added = insert(accounts).values(**row).on_conflict_do_nothing(index_elements=["login"])
    made = session.execute(added.returning(accounts)).mappings().one_or_none()
    if made is None:
        raise LoginTaken()
    audit.record(session, "account.created", "account", made["id"], after=people.state_of(made))
    return made


def _sealed(keys: Keys, name: str | None) -> str | None:
    return None if name is None else keys.encrypt(name, people.NAME_PLACE)


def _make_link(session: Session, account: people.Row, made_by: UUID | None, now: datetime) -> tuple[str, datetime]:
    """Make the one link that an account has at a time."""
    _forget_links(session, account["id"])
    secret = credentials.new_link_secret()
    row = {
        "id": new_id(),
        "account_id": account["id"],
        "purpose": "activate" if account["password_hash"] is None else "reset",
        "secret_hash": credentials.digest(secret),
        "expires_at": now + LINK,
        "made_by": made_by,
        "made_at": now,
    }
    session.execute(sa.insert(links).values(**row))
    return secret, row["expires_at"]


def _forget_links(session: Session, account_id: UUID) -> None:
    session.execute(sa.delete(links).where(links.c.account_id == account_id, links.c.used_at.is_(None)))

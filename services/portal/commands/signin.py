"""Signing in with a password and, where it is on, a second factor; and the first password of an account."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.chassis.db import Database, database_now
from xinhuo.chassis.errors import RuleError
from xinhuo.chassis.identity.actor import SYSTEM
from xinhuo.chassis.security import Keys

from .. import credentials, factors, passwords, people
from ..domain.passwords import PasswordWrong, check_password
from ..domain.sessions import CodeNeeded, LinkUnusable, LoginFailed
from ..models import accounts, links
from . import attempts, sessions

#: What stands in the audit log in the place of an account's id where there is none.
NOBODY = "unknown"


def sign_in(db: Database, keys: Keys, login: str, password: str, code: str | None) -> dict[str, Any]:
    """Open a session; in transactions of its own, so that what failed stays counted.

    An unknown login takes the same ways and the same time as a wrong password. No transaction stays open while the
    password is hashed. Raises LoginFailed, CodeNeeded or LoginLocked.
    """
    index = people.login_index(keys, login)
    with db.transaction() as session:
        attempts.begin(session, index)
        account = people.by_login(session, login)
    kept = account["password_hash"] if account is not None and account["state"] == "active" else None
    if not passwords.fits(password, kept) or account is None or kept is None:
        with db.transaction() as session:
            note_failure(session, account)
        raise LoginFailed()
    newer = passwords.hashed(password) if passwords.is_old(kept) else None
    with db.transaction() as session:
        outcome = _signed_in(session, keys, account, password, code, newer)
    if isinstance(outcome, RuleError):
        raise outcome
    return outcome


def _signed_in(
    session: Session, keys: Keys, seen: people.Row, password: str, code: str | None, newer: str | None
) -> dict[str, Any] | RuleError:
    """Do what follows the right password; an error that is returned is answered after the commit."""
    account = people.locked(session, seen["id"])
    if account is None or account["state"] != "active":
        return _failed(session, seen)
    if account["password_hash"] != seen["password_hash"]:  # by another password, or by the same with newer parameters
        newer = None
        if not passwords.fits(password, account["password_hash"]):
            return _failed(session, account)
    index = people.login_index(keys, account["login"])
    now = database_now(session)
    if account["totp_secret"] is not None:
        if code is None:
            attempts.take_back(session, index)
            return CodeNeeded()
        secret = keys.decrypt(account["totp_secret"], factors.SECRET_PLACE)
        step = factors.step_of(secret, code, now, account["totp_last_step"])
        if step is None:
            return _failed(session, account)
        _set(session, account["id"], totp_last_step=step)
    if newer is not None:
        _set(session, account["id"], password_hash=newer)
    attempts.forget(session, index)
    return sessions.begin(session, keys, account, now)


def confirm_password(db: Database, keys: Keys, account: people.Row, password: str, pointer: str) -> None:
    """Check the password of somebody who has signed in, counted like an attempt to do so.

    In transactions of its own. Raises PasswordWrong naming the field, or LoginLocked.
    """
    index = people.login_index(keys, account["login"])
    with db.transaction() as session:
        attempts.begin(session, index)
    if not passwords.fits(password, account["password_hash"]):
        raise PasswordWrong(pointer)
    with db.transaction() as session:
        attempts.forget(session, index)


def activate(db: Database, keys: Keys, secret: str, password: str) -> dict[str, Any]:
    """Set a password by a one-time link, which is thereby used, and end the sessions of the account; return its row.

    In transactions of its own: none stays open while the password is hashed. Raises LinkUnusable or PasswordTooWeak.
    """
    with db.transaction() as session:
        login = _usable(session, secret)["login"]
    check_password(password, login)
    password_hash = passwords.hashed(password)
    with db.transaction() as session:
        link = _usable(session, secret)
        session.execute(sa.update(links).where(links.c.id == link["id"]).values(used_at=sa.func.clock_timestamp()))
        account = people.change(session, link["account_id"], password_hash=password_hash, state="active")
        sessions.end_all(session, account["id"], "password")
        attempts.forget(session, people.login_index(keys, account["login"]))
        done = "account.activated" if link["purpose"] == "activate" else "account.password_changed"
        audit.record(session, done, "account", account["id"], access=people.access_as(account))
        return dict(account)


def note_failure(session: Session, account: people.Row | None) -> None:
    """Write down an attempt that failed, in the same way where there is no account, and never what was given as login.

    Nobody is known to have done it.
    """
    of = account["id"] if account is not None else NOBODY
    audit.record(session, "login.failed", "account", of, outcome="refused", access=SYSTEM)


def _failed(session: Session, account: people.Row) -> LoginFailed:
    note_failure(session, account)
    return LoginFailed()


def _usable(session: Session, secret: str) -> people.Row:
    """Return a one-time link that can be used, locked, with the login; raises LinkUnusable."""
    of = links.c
    usable = (of.used_at.is_(None), of.expires_at > sa.func.clock_timestamp(), accounts.c.state != "disabled")
    wanted = sa.select(links, accounts.c.login).join(accounts, accounts.c.id == of.account_id)
    wanted = wanted.where(of.secret_hash == credentials.digest(secret), *usable).with_for_update(key_share=True)
    link = session.execute(wanted).mappings().one_or_none()
    if link is None:
        raise LinkUnusable()
    return link


def _set(session: Session, account_id: UUID, **values: Any) -> None:
    """Change what is no part of what others see of an account."""
    session.execute(sa.update(accounts).where(accounts.c.id == account_id).values(**values))

"""What everybody does to his own account: password, second factor, sessions."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.chassis.db import Database, database_now
from xinhuo.chassis.identity.actor import Access, grant
from xinhuo.chassis.row_security import narrow
from xinhuo.chassis.security import Keys

from .. import factors, passwords, people
from ..domain.factors import CodeWrong, FactorNotBegun, FactorOff, FactorOn
from ..domain.passwords import check_password
from ..domain.sessions import SessionEnded
from ..models import accounts
from . import sessions
from .acting import own_account
from .signin import confirm_password


def change_password(db: Database, keys: Keys, access: Access, old: str, new: str) -> None:
    """Replace the password and end all sessions; in transactions of its own, as a wrong old one stays counted.

    Raises PasswordWrong, PasswordTooWeak, LoginLocked, AccountNotFound or SessionEnded.
    """
    account = _own(db, access)
    check_password(new, account["login"], "/new")
    confirm_password(db, keys, account, old, "/old")
    password_hash = passwords.hashed(new)
    with db.transaction() as session:
        narrow(session, access)
        _unchanged(session, account)
        people.change(session, account["id"], password_hash=password_hash)
        sessions.end_all(session, account["id"], "password")
        audit.record(session, "account.password_changed", "account", account["id"], access=access)


def begin_factor(session: Session, keys: Keys) -> dict[str, Any]:
    """Make the secret of a second factor, which is on once its first code has come; return it with its URI.

    Raises FactorOn, AccountNotFound or SessionEnded.
    """
    account = _locked(session, own_account(session)["id"])
    if account["totp_secret"] is not None:
        raise FactorOn()
    secret = factors.new_secret()
    people.change(session, account["id"], totp_pending=keys.encrypt(secret, factors.PENDING_PLACE))
    audit.record(session, "account.factor_begun", "account", account["id"])
    return {"secret": secret, "otpauth_uri": factors.uri_of(secret, account["login"])}


def confirm_factor(session: Session, keys: Keys, code: str) -> None:
    """Put the second factor on by its first code; that code is not taken again.

    Raises CodeWrong, FactorNotBegun, AccountNotFound or SessionEnded.
    """
    account = _locked(session, own_account(session)["id"])
    if account["totp_pending"] is None:
        raise FactorNotBegun()
    secret = keys.decrypt(account["totp_pending"], factors.PENDING_PLACE)
    step = factors.step_of(secret, code, database_now(session), account["totp_last_step"])
    if step is None:
        raise CodeWrong()
    kept = keys.encrypt(secret, factors.SECRET_PLACE)
    people.change(session, account["id"], totp_secret=kept, totp_pending=None, totp_last_step=step)
    audit.record(session, "account.factor_on", "account", account["id"])


def remove_factor(db: Database, keys: Keys, access: Access, password: str) -> None:
    """Take the second factor off; in transactions of its own, as a wrong password stays counted.

    Raises PasswordWrong, LoginLocked, FactorOff, AccountNotFound or SessionEnded.
    """
    account = _own(db, access)
    if account["totp_secret"] is None:
        raise FactorOff()
    confirm_password(db, keys, account, password, "/password")
    with db.transaction() as session:
        narrow(session, access)
        _unchanged(session, account)
        people.change(session, account["id"], totp_secret=None, totp_pending=None)
        audit.record(session, "account.factor_off", "account", account["id"], access=access)


def end_session(session: Session, session_id: UUID) -> None:
    """End one of one's own sessions. Raises SessionNotFound, AccountNotFound or SessionEnded."""
    sessions.end_own(session, own_account(session)["id"], session_id)


def _own(db: Database, access: Access) -> people.Row:
    with db.transaction() as session:
        grant(session, access)
        narrow(session, access)
        return own_account(session)


def _locked(session: Session, account_id: UUID) -> people.Row:
    found = sa.select(accounts).where(accounts.c.id == account_id).with_for_update(key_share=True)
    return session.execute(found).mappings().one()


def _unchanged(session: Session, seen: people.Row) -> None:
    """Lock an account; raises SessionEnded when its password or state changed since it was seen."""
    account = _locked(session, seen["id"])
    if (account["password_hash"], account["state"]) != (seen["password_hash"], seen["state"]):
        raise SessionEnded()

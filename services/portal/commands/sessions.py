"""Sessions: opened by a sign-in, kept alive by refresh tokens that are used once, ended by whoever has a reason."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.chassis.db import Database, database_now
from xinhuo.chassis.errors import RuleError
from xinhuo.chassis.identity.actor import SYSTEM, Access, access_of
from xinhuo.chassis.identity.tokens import LIFETIME_SECONDS
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.security import Keys

from .. import credentials, people, signing
from ..domain.sessions import (
    GRACE,
    IDLE,
    LONGEST,
    SessionEnded,
    SessionExpired,
    SessionInvalid,
    SessionNotFound,
    SessionReused,
)
from ..models import accounts, links, sessions


def begin(session: Session, keys: Keys, account: people.Row, now: datetime) -> dict[str, Any]:
    """Open a session of an account and return its first tokens."""
    row = {
        "id": new_id(),
        "account_id": account["id"],
        "nonce": credentials.new_nonce(),
        "generation": 0,
        "created_at": now,
        "used_at": now,
        "expires_at": now + LONGEST,
    }
    session.execute(sa.insert(sessions).values(**row))
    tokens = _tokens(session, keys, account, row, now)
    audit.record(session, "session.begun", "session", row["id"], access=people.access_as(account))
    return tokens


def refresh(db: Database, keys: Keys, token: str) -> dict[str, Any]:
    """Return new tokens for a refresh token, which is thereby used; in a transaction of its own.

    One that comes again within ten seconds gets the same answer again, as that may have been lost; later it ends the
    session. Raises SessionInvalid, SessionReused, SessionExpired or SessionEnded.
    """
    # What ends a session must stay although the request fails.
    with db.transaction() as session:
        outcome = _refreshed(session, keys, token)
    if isinstance(outcome, RuleError):
        raise outcome
    return outcome


def _refreshed(session: Session, keys: Keys, token: str) -> dict[str, Any] | RuleError:
    row = _genuine(session, keys, token)
    if row is None:
        return SessionInvalid()
    if row["ended_at"] is not None:
        return SessionExpired() if row["reason"] == "expired" else SessionEnded()
    now = database_now(session)
    if now >= min(row["used_at"] + IDLE, row["expires_at"]):
        _end(session, row["id"], "expired", SYSTEM)
        return SessionExpired()
    account = _account_of(session, row)
    if account["state"] != "active":
        _end(session, row["id"], "account", SYSTEM)
        return SessionEnded()
    given = row["given"]
    if given == row["generation"]:
        row |= {"generation": given + 1, "used_at": now}
        changed = {"generation": row["generation"], "used_at": now}
        session.execute(sa.update(sessions).where(sessions.c.id == row["id"]).values(**changed))
    elif given != row["generation"] - 1 or now - row["used_at"] > GRACE:
        _end(session, row["id"], "reused", SYSTEM)
        return SessionReused()
    return _tokens(session, keys, account, row, now)


def sign_out(session: Session, keys: Keys, token: str) -> None:
    """End the session of a refresh token, used or not; anything else is passed over in silence."""
    row = _genuine(session, keys, token)
    if row is not None and row["ended_at"] is None:
        _end(session, row["id"], "signed_out", people.access_as(_account_of(session, row)))


def end_own(session: Session, account_id: UUID, session_id: UUID) -> None:
    """End one session of an account; ending it again changes nothing. Raises SessionNotFound."""
    of = sessions.c
    found = sa.select(sessions).where(of.id == session_id, of.account_id == account_id).with_for_update()
    row = session.execute(found).mappings().one_or_none()
    if row is None:
        raise SessionNotFound()
    if row["ended_at"] is None:
        _end(session, session_id, "ended", access_of(session))


def end_all(session: Session, account_id: UUID, reason: str) -> None:
    """End every session of an account; the audit log says why by what was done to the account."""
    of = sessions.c
    ending = sa.update(sessions).where(of.account_id == account_id, of.ended_at.is_(None))
    session.execute(ending.values(ended_at=sa.func.clock_timestamp(), reason=reason))


def end_everything(session: Session) -> None:
    """End every session and every one-time link of everybody: the tables were brought back from an earlier time.

    Some were ended or used since.
    """
    now = sa.func.clock_timestamp()
    session.execute(sa.update(sessions).where(sessions.c.ended_at.is_(None)).values(ended_at=now, reason="ended"))
    session.execute(sa.update(links).where(links.c.used_at.is_(None), links.c.expires_at > now).values(expires_at=now))


def _genuine(session: Session, keys: Keys, token: str) -> dict[str, Any] | None:
    """Return the locked row of the session of a refresh token that we gave, with its generation as ``given``."""
    read = credentials.read_refresh_token(token)
    if read is None:
        return None
    found = sa.select(sessions).where(sessions.c.id == read[0]).with_for_update()
    row = session.execute(found).mappings().one_or_none()
    if row is None or not credentials.is_genuine(keys, token, row["nonce"]):
        return None
    return {**row, "given": read[1]}


def _account_of(session: Session, row: people.Row) -> people.Row:
    return session.execute(sa.select(accounts).where(accounts.c.id == row["account_id"])).mappings().one()


def _end(session: Session, session_id: UUID, reason: str, access: Access) -> None:
    ending = sa.update(sessions).where(sessions.c.id == session_id)
    session.execute(ending.values(ended_at=sa.func.clock_timestamp(), reason=reason))
    audit.record(session, "session.ended", "session", session_id, reason=reason, access=access)


def _tokens(session: Session, keys: Keys, account: people.Row, row: dict[str, Any], now: datetime) -> dict[str, Any]:
    return {
        "access_token": signing.token_for(session, keys, people.actor_of(account), now),
        "token_type": "Bearer",
        "expires_in": LIFETIME_SECONDS,
        "refresh_token": credentials.refresh_token(keys, row["id"], row["nonce"], row["generation"]),
        "refresh_expires_at": min(row["used_at"] + IDLE, row["expires_at"]),
        "account": dict(account),
    }

"""Signing in by the directory: sent there with a state that is good once and for one browser, and back."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.chassis.db import Database, database_now
from xinhuo.chassis.errors import RuleError
from xinhuo.chassis.security import Keys

from .. import credentials, people
from ..directory import Directory
from ..domain.oidc import WAIT, SignInRefused
from ..models import accounts, oidc_states
from . import sessions, signin

_PLACE = "oidc_states.verifier"


def start(db: Database, keys: Keys, directory: Directory) -> tuple[str, str]:
    """Return where to send somebody, and the secret by which his browser is known again.

    In a transaction of its own: none stays open while the directory is asked. Raises DirectoryUnavailable.
    """
    state, nonce, verifier, browser = (credentials.random_text() for _ in range(4))
    address = directory.address(state, nonce, verifier)
    with db.transaction() as session:
        row = {
            "state_hash": credentials.digest(state),
            "browser_hash": credentials.digest(browser),
            "nonce_hash": credentials.digest(nonce),
            "verifier": keys.encrypt(verifier, _PLACE),
            "expires_at": database_now(session) + WAIT,
        }
        session.execute(sa.insert(oidc_states).values(**row))
    return address, browser


def come_back(
    db: Database, keys: Keys, directory: Directory, code: str | None, state: str, browser: str | None
) -> dict[str, Any]:
    """Open a session of the account that is linked to whom the directory names; an invited one is then active.

    The directory answers for how sure it is: no second factor is asked for here. In transactions of its own. Raises
    SignInRefused or DirectoryUnavailable.
    """
    # Whatever comes of it, a state that came back is used.
    with db.transaction() as session:
        waiting = _take(session, state)
    if waiting is None or code is None or browser is None or not credentials.same(browser, waiting["browser_hash"]):
        raise SignInRefused()
    verifier = keys.decrypt(waiting["verifier"], _PLACE)
    subject = directory.subject_of(code, verifier, bytes(waiting["nonce_hash"]))
    with db.transaction() as session:
        outcome = _signed_in(session, keys, directory.issuer, subject)
    if isinstance(outcome, RuleError):
        raise outcome
    return outcome


def _take(session: Session, state: str) -> people.Row | None:
    of = oidc_states.c
    taking = sa.delete(oidc_states).where(of.state_hash == credentials.digest(state))
    row = session.execute(taking.returning(oidc_states)).mappings().one_or_none()
    return row if row is not None and row["expires_at"] > database_now(session) else None


def _signed_in(session: Session, keys: Keys, issuer: str, subject: str) -> dict[str, Any] | RuleError:
    of = accounts.c
    found = sa.select(accounts).where(of.oidc_issuer == issuer, of.oidc_subject == subject)
    account: people.Row | None = session.execute(found.with_for_update(key_share=True)).mappings().one_or_none()
    if account is None or account["state"] == "disabled":
        signin.note_failure(session, account)
        return SignInRefused()
    if account["state"] == "invited":
        account = people.change(session, account["id"], state="active")
        audit.record(session, "account.activated", "account", account["id"], access=people.access_as(account))
    return sessions.begin(session, keys, account, database_now(session))

"""The ways to one's own account."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from xinhuo.chassis.identity.actor import access_of
from xinhuo.chassis.identity.rights import OWN_ACCOUNT
from xinhuo.chassis.markers import http
from xinhuo.chassis.service import Service
from xinhuo.chassis.web.pages import Listed

from . import queries, schemas
from .commands import clients, me
from .domain import clients as rules
from .domain.accounts import AccountNotFound
from .domain.factors import CodeWrong, FactorNotBegun, FactorOff, FactorOn
from .domain.passwords import PasswordTooWeak, PasswordWrong
from .domain.sessions import LoginLocked, SessionEnded, SessionNotFound

_OWN_KEYS = "keys:own"
_ERRORS = (AccountNotFound, SessionEnded)


class OwnEntrypoints(Service):
    """What everybody sees and does of his own account."""

    @http("GET", "/v1/me", right=OWN_ACCOUNT, returns=schemas.Me, errors=(AccountNotFound,))
    def me(self, session: Session) -> dict[str, Any]:
        """Show the account or API client that asks."""
        return queries.me(session, self.runtime.keys, access_of(session))

    @http(
        "POST",
        "/v1/me/password",
        right=OWN_ACCOUNT,
        accepts=schemas.ChangePassword,
        secret=True,
        errors=(PasswordWrong, PasswordTooWeak, LoginLocked, *_ERRORS),
    )
    def change_password(self, session: Session, body: dict[str, Any]) -> None:
        """Change one's password; all sessions end, this one included."""
        me.change_password(self.runtime.db, self.runtime.keys, access_of(session), body["old"], body["new"])

    @http(
        "POST",
        "/v1/me/totp",
        right=OWN_ACCOUNT,
        accepts=schemas.Nothing,
        returns=schemas.NewFactor,
        status=201,
        secret=True,
        errors=(FactorOn, *_ERRORS),
    )
    def begin_factor(self, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        """Begin to set up a second factor; it is on once its first code has come."""
        return me.begin_factor(session, self.runtime.keys)

    @http(
        "POST",
        "/v1/me/totp:confirm",
        right=OWN_ACCOUNT,
        accepts=schemas.FactorCode,
        secret=True,
        errors=(CodeWrong, FactorNotBegun, *_ERRORS),
    )
    def confirm_factor(self, session: Session, body: dict[str, Any]) -> None:
        """Put the second factor on by its first code."""
        me.confirm_factor(session, self.runtime.keys, body["code"])

    @http(
        "POST",
        "/v1/me/totp:remove",
        right=OWN_ACCOUNT,
        accepts=schemas.PresentPassword,
        secret=True,
        errors=(PasswordWrong, LoginLocked, FactorOff, *_ERRORS),
    )
    def remove_factor(self, session: Session, body: dict[str, Any]) -> None:
        """Take the second factor off."""
        me.remove_factor(self.runtime.db, self.runtime.keys, access_of(session), body["password"])

    @http("GET", "/v1/me/sessions", right=OWN_ACCOUNT, returns=schemas.OwnSession, errors=(AccountNotFound,))
    def own_sessions(self, session: Session) -> Listed:
        """List one's own sessions that can still be used, the newest first."""
        return queries.own_sessions(session, access_of(session))

    @http("GET", "/v1/me/keys", right=_OWN_KEYS, returns=schemas.KeyOfClient)
    def own_keys(self, session: Session) -> Listed:
        """List the keys of the API client that asks, the newest first."""
        return queries.own_keys(session, access_of(session))

    @http(
        "POST",
        "/v1/me/keys/{prefix}:rotate",
        right=_OWN_KEYS,
        accepts=schemas.RotateKey,
        returns=schemas.NewKey,
        status=201,
        errors=(rules.KeyEndedLately, rules.KeyNotFound, rules.KeyNotLive, rules.TooManyKeys, SessionEnded),
    )
    def rotate_own_key(self, session: Session, prefix: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make a key in the place of one's own, which stays good for the overlap."""
        return clients.rotate_own_key(session, prefix, body["overlap_hours"], body["days"])

    @http(
        "POST",
        "/v1/me/keys/{prefix}:revoke",
        right=_OWN_KEYS,
        returns=schemas.KeyOfClient,
        errors=(rules.KeyNotFound, SessionEnded),
    )
    def revoke_own_key(self, session: Session, prefix: str) -> dict[str, Any]:
        """End a key of one's own at once."""
        return clients.revoke_own_key(session, prefix)

    @http("POST", "/v1/me/sessions/{id:uuid}:end", right=OWN_ACCOUNT, errors=(SessionNotFound, *_ERRORS))
    def end_session(self, session: Session, id: UUID) -> None:
        """End one of one's own sessions."""
        me.end_session(session, id)

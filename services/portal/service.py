"""The ways into the portal: each method calls one use case."""

from datetime import timedelta
from typing import Any, ClassVar

from sqlalchemy.orm import Session

from xinhuo.chassis.db import database_now
from xinhuo.chassis.identity.rights import PUBLIC_RIGHT
from xinhuo.chassis.markers import http, job, subscribe
from xinhuo.chassis.row_security import wide
from xinhuo.chassis.service import Service
from xinhuo.chassis.web.pages import Answer
from xinhuo.contracts.codec import Envelope
from xinhuo.contracts.volunteers import PersonErased

from . import queries, schemas, signing
from .accounts_service import AccountEntrypoints
from .clients_service import ClientEntrypoints
from .commands import clients, forgetting, housekeeping, sessions, signin
from .domain import clients as client_rules
from .domain import passwords as password_rules
from .domain import sessions as session_rules
from .me_service import OwnEntrypoints
from .oidc_service import DirectoryEntrypoints


class Portal(OwnEntrypoints, DirectoryEntrypoints, AccountEntrypoints, ClientEntrypoints, Service):
    """Accounts and API clients, their sign-ins, and the keys that their tokens are signed with."""

    name: ClassVar[str] = "portal"
    removals = housekeeping.REMOVALS

    def key_fits(self, session: Session) -> bool:
        """See ``Service``: with another key nobody could sign in, and no name be read."""
        return queries.key_fits(session, self.runtime.keys)

    @job(every=timedelta(days=1))
    def rotate_signing_key(self, session: Session) -> None:
        """Make the next key that signs tokens when it is time, and forget old ones."""
        signing.rotate(session, self.runtime.keys)

    @subscribe(PersonErased)
    def forget_person(self, session: Session, envelopes: list[Envelope]) -> None:
        """Empty the accounts of persons who were erased."""
        forgetting.forget_persons(session, envelopes)

    # Answers to requests with passwords are not kept under an Idempotency-Key: not even a digest of one is stored.

    @http(
        "POST",
        "/v1/sessions",
        right=PUBLIC_RIGHT,
        accepts=schemas.SignIn,
        returns=schemas.Tokens,
        status=201,
        secret=True,
        errors=(session_rules.LoginFailed, session_rules.CodeNeeded, session_rules.LoginLocked),
    )
    def sign_in(self, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        """Sign in with login and password, and with the code of the second factor where it is on."""
        return signin.sign_in(self.runtime.db, self.runtime.keys, body["login"], body["password"], body["code"])

    @http(
        "POST",
        "/v1/sessions:refresh",
        right=PUBLIC_RIGHT,
        accepts=schemas.Refresh,
        returns=schemas.Tokens,
        secret=True,
        errors=(
            session_rules.SessionInvalid,
            session_rules.SessionReused,
            session_rules.SessionExpired,
            session_rules.SessionEnded,
        ),
    )
    def refresh_session(self, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        """Change a refresh token for new tokens; it is thereby used."""
        return sessions.refresh(self.runtime.db, self.runtime.keys, body["refresh_token"])

    @http("POST", "/v1/sessions:end", right=PUBLIC_RIGHT, accepts=schemas.Refresh, secret=True)
    def sign_out(self, session: Session, body: dict[str, Any]) -> None:
        """End the session of a refresh token; 204 for whatever is sent."""
        with wide(session):  # who asks is known by what is found
            sessions.sign_out(session, self.runtime.keys, body["refresh_token"])

    @http(
        "POST",
        "/v1/activations",
        right=PUBLIC_RIGHT,
        accepts=schemas.Activation,
        returns=schemas.Activated,
        secret=True,
        errors=(session_rules.LinkUnusable, password_rules.PasswordTooWeak),
    )
    def activate(self, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        """Set a password by a one-time link."""
        return signin.activate(self.runtime.db, self.runtime.keys, body["secret"], body["password"])

    @http(
        "POST",
        "/v1/client-tokens",
        right=PUBLIC_RIGHT,
        accepts=schemas.ClientKey,
        returns=schemas.AccessToken,
        status=201,
        secret=True,
        errors=(client_rules.KeyRefused,),
    )
    def token_for_key(self, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        """Change an API key for an access token."""
        with wide(session):
            return clients.token_for_key(session, self.runtime.keys, body["key"])

    @http("GET", "/v1/keys", right=PUBLIC_RIGHT, returns=schemas.KeySet)
    def signing_keys(self, session: Session) -> Answer:
        """Show the public keys that tokens are checked with."""
        with wide(session):
            shown = signing.shown(session, self.runtime.keys, database_now(session))
        return Answer(shown, headers={"Cache-Control": "max-age=60"})

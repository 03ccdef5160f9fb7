"""The ways to accounts, for those who manage them."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from xinhuo.chassis.errors import ChangedMeanwhile
from xinhuo.chassis.identity.actor import access_of
from xinhuo.chassis.markers import http
from xinhuo.chassis.service import Service
from xinhuo.chassis.web.pages import Answer, Listed

from . import queries, schemas
from .answers import tagged
from .commands import accounts
from .domain import accounts as rules
from .domain.oidc import NotConfigured, SubjectTaken
from .domain.sessions import SessionEnded

_RIGHT = "accounts:manage"
_BEYOND = (rules.RoleBeyond, rules.UnitBeyond, rules.BelongingMissing, SessionEnded)


class AccountEntrypoints(Service):
    """What administrators do with all accounts, and operators with those of their unit."""

    @http(
        "POST",
        "/v1/accounts",
        right=_RIGHT,
        accepts=schemas.CreateAccount,
        returns=schemas.NewAccount,
        status=201,
        errors=(rules.LoginTaken, *_BEYOND),
    )
    def create_account(self, session: Session, body: dict[str, Any]) -> Answer:
        """Make an account; the answer holds the secret of the one-time link for its first password."""
        made = accounts.create_account(session, self.runtime.keys, body)
        return tagged(queries.shown_account(self.runtime.keys, made), f"/v1/accounts/{made['id']}")

    @http("GET", "/v1/accounts", right=_RIGHT, query=schemas.AccountsQuery, returns=schemas.Account)
    def list_accounts(self, session: Session, query: dict[str, Any]) -> Listed:
        """List accounts by login."""
        return queries.list_accounts(session, self.runtime.keys, access_of(session), query)

    @http("GET", "/v1/accounts/{id:uuid}", right=_RIGHT, returns=schemas.Account, errors=(rules.AccountNotFound,))
    def show_account(self, session: Session, id: UUID) -> Answer:
        """Show one account."""
        return tagged(queries.account(session, self.runtime.keys, access_of(session), id))

    @http(
        "PATCH",
        "/v1/accounts/{id:uuid}",
        right=_RIGHT,
        accepts=schemas.ChangeAccount,
        returns=schemas.Account,
        errors=(
            rules.AccountNotFound,
            ChangedMeanwhile,
            rules.OwnRole,
            rules.LastAdmin,
            SubjectTaken,
            NotConfigured,
            *_BEYOND,
        ),
    )
    def change_account(self, session: Session, id: UUID, body: dict[str, Any], if_match: str) -> Answer:
        """Change an account; its sessions end when its role, its state or its second factor changes."""
        settings = self.runtime.settings
        changed = accounts.change_account(session, self.runtime.keys, id, body, if_match, settings.oidc_issuer)
        return tagged(queries.shown_account(self.runtime.keys, changed))

    @http(
        "POST",
        "/v1/accounts/{id:uuid}:reset",
        right=_RIGHT,
        returns=schemas.Link,
        status=201,
        errors=(rules.AccountNotFound, SessionEnded),
    )
    def reset_account(self, session: Session, id: UUID) -> dict[str, Any]:
        """Make a one-time link for a new password; links made before are no longer good."""
        return accounts.reset_account(session, id)

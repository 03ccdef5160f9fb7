"""An account as its row, as what its tokens say, and as the index of its login."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.identity.actor import Access, Actor, Reach
from xinhuo.chassis.identity.rights import OWN_ACCOUNT
from xinhuo.chassis.security import Keys

from .domain.accounts import normal_login
from .models import accounts

NAME_PLACE = "accounts.display_name"
Row = Mapping[Any, Any]
#: What an account holds of a person beside the login.
PERSONAL = (
    "display_name",
    "password_hash",
    "totp_secret",
    "totp_pending",
    "totp_last_step",
    "oidc_issuer",
    "oidc_subject",
)
_SECRETS = frozenset({"password_hash", "totp_secret", "totp_pending", "totp_last_step"})


def erased_login(account_id: UUID) -> str:
    """Return the login of an account that was emptied."""
    return f"erased-{account_id}"


def login_index(keys: Keys, login: str) -> bytes:
    """Return the blind index under which failures of a login are counted."""
    return keys.blind_index(normal_login(login), "login_failures.login")


def by_login(session: Session, login: str) -> Row | None:
    """Return the row of the account with a login."""
    wanted = sa.select(accounts).where(accounts.c.login == normal_login(login))
    return session.execute(wanted).mappings().one_or_none()


def locked(session: Session, account_id: UUID) -> Row | None:
    """Return the row of an account, which nobody else changes until the transaction ends."""
    wanted = sa.select(accounts).where(accounts.c.id == account_id).with_for_update(key_share=True)
    return session.execute(wanted).mappings().one_or_none()


def change(session: Session, account_id: UUID, **values: Any) -> Row:
    """Change columns of an account, raise its revision, and return its row."""
    changing = sa.update(accounts).where(accounts.c.id == account_id)
    changing = changing.values(**values, revision=accounts.c.revision + 1, changed_at=sa.func.clock_timestamp())
    return session.execute(changing.returning(accounts)).mappings().one()


def state_of(account: Row) -> dict[str, Any]:
    """Return what the audit log keeps the hash of: the row of an account without its secrets."""
    return {name: value for name, value in account.items() if name not in _SECRETS}


def access_as(account: Row) -> Access:
    """Return by what is done what somebody does without a token, by the password or a secret of an account."""
    return Access(actor_of(account), OWN_ACCOUNT, Reach.SELF)


def actor_of(account: Row) -> Actor:
    """Return who bears the tokens of an account."""
    return Actor(
        subject=account["id"],
        role=account["role"],
        unit=account["unit_code"],
        team=account["team_code"],
        volunteer=account["volunteer_id"],
        wards=tuple(account["wards"]),
    )

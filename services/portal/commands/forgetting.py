"""What becomes of accounts when a person is erased."""

from collections.abc import Collection, Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.contracts.codec import Envelope
from xinhuo.contracts.volunteers import PersonErased

from .. import people
from ..models import accounts, links
from . import sessions


def forget_persons(session: Session, envelopes: Sequence[Envelope]) -> None:
    """Empty the accounts that were there for persons who were erased, and let go of them in all others.

    Those are the account of the volunteer, and of a guardian who has no ward left. The row stays with its number, by
    which the audit log names who did something; login, name, password and second factor go, and nobody signs in by it.
    Who also works here keeps the account, which no longer says which volunteer he was.
    """
    erased = {envelope.data.volunteer_id for envelope in envelopes if isinstance(envelope.data, PersonErased)}
    of = accounts.c
    named = of.volunteer_id.in_(erased) | of.wards.overlap(list(erased))
    found = sa.select(accounts).where(named).order_by(of.id).with_for_update(key_share=True)
    done = [_forget(session, account, erased) for account in session.execute(found).mappings().all()]
    # The audit log comes last, as it is one lock for all: others hold a session or a link when they come to it.
    for account, after in done:
        if after is None:
            audit.record(session, "account.erased", "account", account["id"])
        elif after is not account:
            was, now = people.state_of(account), people.state_of(after)
            audit.record(session, "account.changed", "account", account["id"], before=was, after=now)


def _forget(session: Session, account: people.Row, erased: Collection[UUID]) -> tuple[people.Row, people.Row | None]:
    """Return an account as it was, and as it is now: None when it was emptied, the same when it was before."""
    wards = [ward for ward in account["wards"] if ward not in erased]
    is_own = account["role"] == "volunteer" and account["volunteer_id"] in erased
    if is_own or (account["role"] == "guardian" and not wards):
        if account["login"] == people.erased_login(account["id"]):
            return account, account
        _empty(session, account["id"])
        return account, None
    kept = None if account["volunteer_id"] in erased else account["volunteer_id"]
    return account, people.change(session, account["id"], volunteer_id=kept, wards=wards)


def _empty(session: Session, account_id: UUID) -> None:
    nothing = dict.fromkeys(people.PERSONAL)
    people.change(session, account_id, **nothing, login=people.erased_login(account_id), state="disabled")
    sessions.end_all(session, account_id, "account")
    session.execute(sa.delete(links).where(links.c.account_id == account_id))

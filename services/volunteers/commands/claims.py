"""Hours that are claimed wait, and count when somebody else approves them: then they are entered like all others.

Whoever decides on a claim holds its row; whoever enters hours by it holds the volunteer's before, as for all hours.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.chassis.errors import RuleError
from xinhuo.chassis.identity.actor import Access, Reach, access_of
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.row_security import wide
from xinhuo.chassis.security import Keys

from .. import domain, reach, sealed
from ..domain import claims as rules
from ..domain.claims import ClaimState
from ..models import Entered, Entry, Served, hour_claims, volunteers
from .hours import Origin, check_one, lock_volunteers, log_hours
from .parties import decided, party
from .person_keys import give_key

_INSERT = sa.insert(hour_claims)
_DECIDE = sa.text(
    """
    UPDATE hour_claims SET state = :state, decided_by = :decided_by, decided_as = :decided_as,
        decided_by_person = :decided_by_person, decided_at = :decided_at, reason = :reason, entry_id = :entry_id
    WHERE id = :id
    """
)
_KEY = sa.select(volunteers.c.id, *sealed.KEY).select_from(sealed.WITH_KEYS)


def make_claim(session: Session, keys: Keys, form: Mapping[str, Any], *, now: datetime) -> tuple[UUID, bool]:
    """Claim service time that is not in the ledger; return the id of the claim, and whether it is new.

    The same hours that wait already are not claimed again. Raises what ``log_hours`` refuses hours by,
    ``ClaimRecorded`` or ``ClaimOverlaps``.
    """
    served: Served = form["served"]
    if access_of(session).reach in (Reach.SELF, Reach.CHILD) and not reach.reaches_volunteer(
        session, served.volunteer_id
    ):
        raise domain.VolunteerUnknown
    with wide(session):  # what the person did elsewhere, and a person of another unit who served here
        entry = check_one(session, served, _where_served(access_of(session)), now)
        if not isinstance(entry, Entry):
            raise rules.ClaimRecorded(str(entry))
        if earlier := _waiting(session, entry):
            return earlier, False
        evidence = _sealed(session, keys, served.volunteer_id, form["evidence"])
    by = party(session)
    row = {
        **{name: getattr(entry, name) for name in _OF_ENTRY},
        "id": new_id(),
        "state": ClaimState.CLAIMED.value,
        "evidence": evidence,
        "claimed_by": by.account,
        "claimed_as": by.role,
        "claimed_by_person": by.person,
        "claimed_at": now,
    }
    session.execute(_INSERT, row)
    audit.record(session, "claim.made", "claim", row["id"], after=row)
    return row["id"], True


def approve_claim(session: Session, claim_id: UUID, *, now: datetime) -> None:
    """Enter the hours of a claim; approving it again changes nothing.

    The ledger says who claimed and who approved. Raises ``ClaimNotFound``, ``OwnClaim``, ``ClaimDecided``,
    ``ClaimRecorded``, or what ``log_hours`` refuses hours by.
    """
    volunteer_id = session.scalar(_of(session, claim_id, hour_claims.c.volunteer_id))
    with wide(session):
        lock_volunteers(session, [volunteer_id] if volunteer_id else [])
    claim = _hold(session, claim_id)
    by = party(session)
    rules.check_claim(by, claim["volunteer_id"], claim["claimed_by"], claim["claimed_by_person"])
    if rules.is_decided(claim["state"], ClaimState.APPROVED):
        return
    served = Served(*(claim[name] for name in Served.__struct_fields__))
    origin = Origin("claim", recorded_by=claim["claimed_by"], approved_by=by.account)
    with wide(session):
        [outcome] = log_hours(session, [served], now=now, origin=origin)
    if isinstance(outcome, RuleError):
        outcome.pointer = None  # what is wrong was said before, and stands in no field of this request
        raise outcome
    if not isinstance(outcome, Entered):
        raise rules.ClaimRecorded(str(outcome.entry.id))
    _decide(session, claim, ClaimState.APPROVED, by, now, entry_id=outcome.entry.id)


def refuse_claim(session: Session, claim_id: UUID, reason: str, *, now: datetime) -> None:
    """Refuse a claim and say why; refusing it again changes nothing.

    Raises ``ClaimNotFound``, ``OwnClaim`` or ``ClaimDecided``.
    """
    claim = _hold(session, claim_id)
    by = party(session)
    rules.check_claim(by, claim["volunteer_id"], claim["claimed_by"], claim["claimed_by_person"])
    if not rules.is_decided(claim["state"], ClaimState.REFUSED):
        _decide(session, claim, ClaimState.REFUSED, by, now, reason=reason)


def withdraw_claim(session: Session, claim_id: UUID, *, now: datetime) -> None:
    """Take back a claim that one made and that waits; doing it again changes nothing.

    Raises ``ClaimNotFound``, ``ClaimNotYours`` or ``ClaimDecided``.
    """
    claim = _hold(session, claim_id)
    by = party(session)
    if claim["claimed_by"] != by.account:
        raise rules.ClaimNotYours
    if not rules.is_decided(claim["state"], ClaimState.WITHDRAWN):
        _decide(session, claim, ClaimState.WITHDRAWN, by, now)


#: What a claim says as the entry would that it may become.
_OF_ENTRY = ("volunteer_id", "activity_id", "team_code", "unit_code", "started_at", "ended_at", "minutes")
_SAME = ("activity_id", "started_at", "ended_at", "minutes")


def _where_served(access: Access) -> Access:
    """Return what decides at which activities hours can be claimed: one's own hours, and one's wards', at all."""
    return Access(access.actor, access.right, Reach.ALL) if access.reach in (Reach.SELF, Reach.CHILD) else access


def _waiting(session: Session, entry: Entry) -> UUID | None:
    """Return the claim of the same hours that waits, if there is one; raises ``ClaimOverlaps``."""
    span = sa.func.tstzrange(hour_claims.c.started_at, hour_claims.c.ended_at)
    wanted = sa.select(hour_claims).where(
        hour_claims.c.volunteer_id == entry.volunteer_id,
        hour_claims.c.state == ClaimState.CLAIMED.value,
        span.op("&&")(sa.func.tstzrange(entry.started_at, entry.ended_at)),
    )
    found = session.execute(wanted.order_by(hour_claims.c.started_at).limit(1)).mappings().first()
    if found is None:
        return None
    if all(found[name] == getattr(entry, name) for name in _SAME):
        earlier: UUID = found["id"]
        return earlier
    if session.scalar(_of(session, found["id"], hour_claims.c.id)) is None:
        raise rules.ClaimOverlaps(None)
    raise rules.ClaimOverlaps(str(found["id"]), (found["started_at"], found["ended_at"]))


def _of(session: Session, claim_id: UUID, *columns: Any) -> sa.Select[Any]:
    return sa.select(*columns).where(hour_claims.c.id == claim_id, *reach.of_claims(session))


def _hold(session: Session, claim_id: UUID) -> Mapping[Any, Any]:
    """Hold a claim until the end of the transaction and return it; raises ``ClaimNotFound``."""
    found = session.execute(_of(session, claim_id, hour_claims).with_for_update()).mappings().one_or_none()
    if found is None:
        raise rules.ClaimNotFound(str(claim_id))
    return found


def _decide(
    session: Session,
    claim: Mapping[Any, Any],
    state: ClaimState,
    by: rules.Party,
    now: datetime,
    *,
    reason: str | None = None,
    entry_id: UUID | None = None,
) -> None:
    decision = {**decided(by, state, now, reason), "entry_id": entry_id}
    session.execute(_DECIDE, {"id": claim["id"], **decision})
    audit.record(
        session, f"claim.{state.value}", "claim", claim["id"],
        before=dict(claim), after={**claim, **decision}, reason=reason,
    )  # fmt: skip


def _sealed(session: Session, keys: Keys, volunteer_id: UUID, evidence: str) -> str:
    person = session.execute(_KEY.where(volunteers.c.id == volunteer_id)).mappings().one()
    if person["wrapped"] is None:
        give_key(session, keys, volunteer_id)
        person = session.execute(_KEY.where(volunteers.c.id == volunteer_id)).mappings().one()
    return sealed.key_of(keys, person).encrypt(evidence, sealed.EVIDENCE)

"""Who asks and who decides, where that must be two persons."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy.orm import Session

from xinhuo.chassis.identity.actor import access_of

from ..domain.claims import Party


class NobodyAsks(RuntimeError):
    """What two persons do was begun by work that nobody asked for, such as a job."""


def party(session: Session) -> Party:
    """Return for whom the session works; raises ``NobodyAsks``."""
    actor = access_of(session).actor
    if actor is None:
        raise NobodyAsks("claims and decisions need an account")
    return Party(actor.subject, actor.role, actor.volunteer, actor.wards)


def decided(by: Party, state: StrEnum, now: datetime, reason: str | None) -> dict[str, Any]:
    """Return the columns that say what was decided, by whom and why."""
    return {
        "state": state.value,
        "decided_by": by.account,
        "decided_as": by.role,
        "decided_by_person": by.person,
        "decided_at": now,
        "reason": reason,
    }

"""What of this service a right reaches, as conditions for queries; what is out of reach does not exist."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.identity import reached
from xinhuo.chassis.identity.actor import Access, Reach, access_of
from xinhuo.chassis.identity.reached import own_units
from xinhuo.chassis.identity.rights import reach_of

from .models import notice_units, notices, obligations, units

Conditions = list[sa.ColumnElement[bool]]
_DUTIES = "obligations:read"


def of_units(session: Session) -> Conditions:
    """Return which units: one's own and those under it; in public, all."""
    access = access_of(session)
    return [] if access.reach is Reach.PUBLIC else reached.reaches_unit(units, access, units.c.code)


def of_notices(session: Session) -> Conditions:
    """Return which notices: issued ones that bind one of one's own units; in public, issued ones."""
    access = access_of(session)
    match access.reach:
        case Reach.ALL:
            return []
        case Reach.OWN:
            bound = sa.select(notice_units.c.notice_id).where(notice_units.c.unit_code.in_(own_units(units, access)))
            return [notices.c.state == "issued", notices.c.id.in_(bound)]
        case Reach.PUBLIC:
            return [notices.c.state == "issued"]
        case _:
            return [sa.false()]


def of_obligations(session: Session) -> Conditions:
    """Return which duties: those of one's own units, for those who may see duties, whatever else they ask for."""
    access = access_of(session)
    if access.actor is not None and access.right != _DUTIES:
        access = Access(access.actor, _DUTIES, reach_of(access.actor, _DUTIES) or Reach.PUBLIC)
    return reached.reaches_unit(units, access, obligations.c.unit_code)

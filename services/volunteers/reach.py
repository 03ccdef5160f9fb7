"""What of this service a right reaches: conditions for queries, and checks of what a command names.

What is out of reach is treated as what does not exist: who may not see a thing does not learn that there is one.
"""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.identity.actor import Access, Reach, access_of
from xinhuo.chassis.identity.reached import own_units, reaches_person
from xinhuo.chassis.identity.reached import reaches_unit as of_unit

from .models import (
    activities,
    consent_records,
    hour_claims,
    imports,
    known_units,
    ledger_entries,
    team_members,
    teams,
    volunteers,
)

Conditions = list[sa.ColumnElement[bool]]
_NOTHING: Conditions = [sa.false()]


def people(session: Session) -> Conditions:
    """Return which volunteers: of one's unit or of a team of it, of one's team, oneself, one's wards."""
    access = access_of(session)
    match access.reach:
        case Reach.ALL:
            return []
        case Reach.OWN:
            mine = own_units(known_units, access)
            in_team = sa.select(team_members.c.volunteer_id).join(teams, teams.c.code == team_members.c.team_code)
            return [volunteers.c.unit_code.in_(mine) | volunteers.c.id.in_(in_team.where(teams.c.unit_code.in_(mine)))]
        case Reach.TEAM:
            in_team = sa.select(team_members.c.volunteer_id).where(*_of_team(access, team_members.c.team_code))
            return [volunteers.c.id.in_(in_team)]
        case _:
            return reaches_person(access, volunteers.c.id)


def not_withdrawn(session: Session) -> Conditions:
    """Return which volunteers others may come upon: none whose guardian withdrew the consent.

    They stay visible to themselves, their guardians and the data-protection officer.
    """
    access = access_of(session)
    if access.reach in (Reach.SELF, Reach.CHILD) or (access.actor and access.actor.role == "privacy_officer"):
        return []
    return [~is_withdrawn()]


def is_withdrawn() -> sa.ColumnElement[bool]:
    """Return whether a guardian withdrew the consent to a registration, and there is no other one."""
    of = consent_records.c
    given = sa.exists().where(of.volunteer_id == volunteers.c.id, of.purpose == "registration")
    ended = given.where(of.given_by == "guardian", of.withdrawn_at.is_not(None))
    stopped = volunteers.c.state.in_(("suspended", "left"))
    return sa.and_(stopped, ended, ~given.where(of.withdrawn_at.is_(None)))


def of_teams(session: Session) -> Conditions:
    """Return which teams."""
    return _places(access_of(session), teams.c.unit_code, teams.c.code)


def of_activities(session: Session) -> Conditions:
    """Return which activities."""
    return _places(access_of(session), activities.c.unit_code, activities.c.team_code)


def of_entries(session: Session, access: Access | None = None) -> Conditions:
    """Return which entries of the ledger: those at one's activities, or of oneself or one's wards."""
    return _served(access or access_of(session), ledger_entries)


def of_claims(session: Session) -> Conditions:
    """Return which claims of hours: the same."""
    return _served(access_of(session), hour_claims)


def of_cells(session: Session, table: sa.Table) -> Conditions:
    """Return which cells of the statistics."""
    return _places(access_of(session), table.c.unit_code, table.c.team_code)


def units(session: Session) -> list[str] | None:
    """Return the codes of the units in reach; None for all."""
    access = access_of(session)
    match access.reach:
        case Reach.ALL:
            return None
        case Reach.OWN:
            return list(session.scalars(own_units(known_units, access)))
        case _:
            return []


def reaches_import(session: Session, import_id: UUID) -> bool:
    """Tell whether an import was made by one's own unit or one under it."""
    access = access_of(session)
    if access.reach is Reach.ALL:
        return True
    conditions = of_unit(known_units, access, imports.c.unit_code)
    return bool(session.scalar(sa.select(sa.true()).where(imports.c.id == import_id, *conditions)))


def reaches_unit(session: Session, code: str) -> bool:
    """Tell whether a unit is known and in reach."""
    conditions = of_unit(known_units, access_of(session), known_units.c.code)
    return bool(session.scalar(sa.select(sa.true()).where(known_units.c.code == code, *conditions)))


def unit_of_team(session: Session, code: str) -> str | None:
    """Return the unit of a team; None when there is no such team in reach."""
    found: str | None = session.scalar(sa.select(teams.c.unit_code).where(teams.c.code == code, *of_teams(session)))
    return found


def reaches_volunteer(session: Session, volunteer_id: UUID) -> bool:
    """Tell whether a volunteer is registered and in reach."""
    return bool(session.scalar(sa.select(sa.true()).where(volunteers.c.id == volunteer_id, *people(session))))


def _served(access: Access, table: sa.Table) -> Conditions:
    if access.reach in (Reach.SELF, Reach.CHILD):
        return reaches_person(access, table.c.volunteer_id)
    return _places(access, table.c.unit_code, table.c.team_code, public=False)


def _places(access: Access, unit: Any, team: Any, *, public: bool = True) -> Conditions:
    match access.reach:
        case Reach.TEAM:
            return _of_team(access, team)
        case Reach.PUBLIC if public:
            return []
        case _:
            return of_unit(known_units, access, unit)


def _of_team(access: Access, team: Any) -> Conditions:
    # Compared with no team it would be IS NULL, which may be true.
    return [team == access.actor.team] if access.actor is not None and access.actor.team is not None else _NOTHING

"""The second lock on what is out of reach: PostgreSQL shows a request only the rows that its right reaches.

The first lock are the conditions of the queries. This one holds when a query forgets them: each table with rows of
units or persons has a policy, which compares a row with settings of the transaction. A service works as a role that
owns nothing and that policies bind. Work that nobody asked for over HTTP (events, jobs, commands on the server) has
the setting ``all`` from its connection; a request whose right reaches less narrows it for its transaction. A
connection without settings, such as that of a curious person with the role's password, sees no such row at all.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .identity.actor import Access, Reach
from .roundtrips import at_commit

#: What each connection of a service begins with.
OPTIONS = "-cxinhuo.reach=all"
_KEY = "xinhuo_narrowed"
_SET = sa.text(
    "SELECT set_config('xinhuo.reach', :reach, true), set_config('xinhuo.unit', :unit, true),"
    " set_config('xinhuo.team', :team, true), set_config('xinhuo.persons', :persons, true),"
    " set_config('xinhuo.self', :self, true)"
)
_WIDE = {"reach": "all", "unit": "", "team": "", "persons": "", "self": ""}

#: For policies. Each is asked once for a statement, not once for a row.
ALL = "(SELECT current_setting('xinhuo.reach', true)) = 'all'"
ALL_OR_PUBLIC = "(SELECT current_setting('xinhuo.reach', true)) IN ('all', 'public')"
#: Of somebody who reaches less than everything: his account or client, and the volunteers that he is or has in ward.
SELF = "(SELECT string_to_array(current_setting('xinhuo.self', true), ','))"
#: The rows of an audit log that he may see: what he did, and what was done to these.
_CONCERNED = f"{ALL} OR subject = ANY (CAST({SELF} AS uuid[])) OR object_id = ANY (CAST({SELF} AS text[]))"
_UNITS = """
CREATE FUNCTION reached_units() RETURNS SETOF text LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH RECURSIVE tree (code) AS (
        SELECT * FROM (SELECT current_setting('xinhuo.unit', true) {of_team}) AS root
        UNION
        SELECT u.code FROM {units} AS u JOIN tree ON u.parent_code = tree.code
    ) SELECT code FROM tree
$$
"""
_PERSONS = """
CREATE FUNCTION reached_persons() RETURNS SETOF uuid LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT CAST(unnest(string_to_array(current_setting('xinhuo.persons', true), ',')) AS uuid)
$$
"""


def narrow(session: Session, access: Access) -> None:
    """Let this transaction see and write only what ``access`` reaches; costs nothing for who reaches everything."""
    if access.reach is Reach.ALL:
        return
    session.info[_KEY] = narrowed = _settings(access)
    at_commit(session, _SET, narrowed)


@contextmanager
def wide(session: Session) -> Iterator[None]:
    """Let what is done within see every row: for rules about a whole person, wherever he serves.

    Of what is found so, who asked is shown sums at most, and what the query itself keeps within his reach.
    """
    narrowed = session.info.get(_KEY)
    if narrowed is None:
        yield
        return
    at_commit(session, _SET, _WIDE)
    session.info[_KEY] = None
    try:
        yield
    finally:
        session.info[_KEY] = narrowed
        if session.is_active:
            at_commit(session, _SET, narrowed)


def protect(connection: Any, table: str, seen: str, written: str | None = None) -> None:
    """Show of a table the rows for which ``seen`` is true, and let those be written for which ``written`` is."""
    connection.execute(sa.text(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"))
    connection.execute(sa.text(f"CREATE POLICY reach ON {table} USING ({seen}) WITH CHECK ({written or seen})"))


def unprotect(connection: Any, table: str) -> None:
    """Take back what ``protect`` did."""
    connection.execute(sa.text(f"DROP POLICY reach ON {table}"))
    connection.execute(sa.text(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"))


def protect_audit(connection: Any) -> None:
    """Show of the audit log what one did oneself or what was done to oneself; everybody appends to it."""
    protect(connection, "audit_log", _CONCERNED, "true")


def add_reached_units(connection: Any, units: str, *, of_team: str = "") -> None:
    """Make ``reached_units()``: the actor's unit and all under it; ``units`` has code and parent_code.

    ``of_team`` asks for the unit of the actor's team, where teams are known.
    """
    connection.execute(sa.text(_UNITS.format(units=units, of_team=of_team and f"UNION ALL {of_team}")))


def add_reached_persons(connection: Any) -> None:
    """Make ``reached_persons()``: the volunteer that the actor is, or those whose guardian he is."""
    connection.execute(sa.text(_PERSONS))


def _settings(access: Access) -> dict[str, str]:
    actor, reach = access.actor, access.reach
    if actor is None:
        return {**_WIDE, "reach": reach.value}
    persons = {Reach.SELF: (actor.volunteer,), Reach.CHILD: actor.wards}.get(reach, ())
    concerned = (actor.subject, actor.volunteer, *actor.wards)
    return {
        "reach": reach.value,
        "unit": (actor.unit or "") if reach is Reach.OWN else "",
        "team": (actor.team or "") if reach is Reach.TEAM else "",
        "persons": _listed(persons),
        "self": _listed(concerned),
    }


def _listed(ids: Iterable[UUID | None]) -> str:
    return ",".join(str(each) for each in ids if each is not None)

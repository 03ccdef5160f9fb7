"""What a right reaches, as SQL: the units of an actor's own tree, the person that he is or is guardian of, or all."""

from typing import Any

import sqlalchemy as sa

from .actor import Access, Reach

#: In public, what fewer persons did together is not shown: it would tell what somebody did.
FEWEST_PERSONS = 5


def own_units(units: sa.Table, access: Access) -> sa.Select[Any]:
    """Return the codes of the actor's unit and of all units under it; ``units`` has code and parent_code."""
    root = access.actor.unit if access.actor else None
    tree = sa.select(sa.cast(sa.literal(root), sa.Text).label("code")).cte("own_units", recursive=True)
    # UNION, not UNION ALL: what two late events made a circle for a moment ends here too.
    tree = tree.union(sa.select(units.c.code).join(tree, units.c.parent_code == tree.c.code))
    return sa.select(tree.c.code)


def reaches_unit(units: sa.Table, access: Access, column: sa.ColumnElement[Any]) -> list[sa.ColumnElement[bool]]:
    """Return what a row must fulfil that belongs to a unit: nothing for ALL, nothing can for what is not OWN."""
    match access.reach:
        case Reach.ALL:
            return []
        case Reach.OWN:
            return [column.in_(own_units(units, access))]
        case _:
            return [sa.false()]


def reaches_person(access: Access, column: sa.ColumnElement[Any]) -> list[sa.ColumnElement[bool]]:
    """Return what a row must fulfil that belongs to a volunteer: nothing for ALL, nothing can for other places."""
    if access.reach is Reach.ALL:
        return []
    # Compared with nobody it would be IS NULL, which may be true.
    if access.actor is not None and access.reach is Reach.SELF and access.actor.volunteer is not None:
        return [column == access.actor.volunteer]
    if access.actor is not None and access.reach is Reach.CHILD:
        return [column.in_(access.actor.wards)]
    return [sa.false()]

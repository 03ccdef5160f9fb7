"""The statistics follow the ledger's events; what an event adds or takes is the same in any order."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.counted import count
from xinhuo.chassis.roundtrips import at_commit
from xinhuo.contracts.codec import Envelope
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed

from .. import domain
from ..figures import SERVICE_MINUTES

_CELLS = sa.text(
    """
    INSERT INTO statistics_cells AS cell (month, unit_code, team_code, category, minutes, entries)
    SELECT * FROM unnest(
        CAST(:months AS date[]), CAST(:units AS text[]), CAST(:teams AS text[]), CAST(:categories AS text[]),
        CAST(:minutes AS bigint[]), CAST(:entries AS bigint[]))
    ON CONFLICT (month, unit_code, team_code, category) DO UPDATE
    SET minutes = cell.minutes + excluded.minutes, entries = cell.entries + excluded.entries
    """
)
_VOLUNTEER_MONTHS = sa.text(
    """
    INSERT INTO volunteer_months AS kept (volunteer_id, month, unit_code, team_code, category, minutes, entries)
    SELECT * FROM unnest(
        CAST(:volunteers AS uuid[]), CAST(:months AS date[]), CAST(:units AS text[]), CAST(:teams AS text[]),
        CAST(:categories AS text[]), CAST(:minutes AS bigint[]), CAST(:entries AS bigint[]))
    ON CONFLICT (volunteer_id, month, unit_code, team_code, category) DO UPDATE
    SET minutes = kept.minutes + excluded.minutes, entries = kept.entries + excluded.entries
    """
)

_Cell = tuple[date, str, str, str]


def keep_statistics(session: Session, envelopes: Sequence[Envelope]) -> None:
    """Add each logged entry to its month, unit, team, category and volunteer; take each reversed one off.

    Raises ImpossibleMinutes for an event that no ledger entry can stand behind.
    """
    added = {1: 0, -1: 0}
    cells: defaultdict[_Cell, list[int]] = defaultdict(lambda: [0, 0])
    people: defaultdict[tuple[UUID, _Cell], list[int]] = defaultdict(lambda: [0, 0])
    for envelope in envelopes:
        data = envelope.data
        if not isinstance(data, HoursLogged | HoursReversed):
            continue
        sign = 1 if isinstance(data, HoursLogged) else -1
        cell = data.served_on.replace(day=1), data.unit_code, data.team_code, data.category
        minutes = sign * domain.check_counted(data.minutes)
        added[sign] += minutes
        for total in (cells[cell], people[data.volunteer_id, cell]):
            total[0] += minutes
            total[1] += sign
    count(session, SERVICE_MINUTES, ("logged",), added[1])
    count(session, SERVICE_MINUTES, ("reversed",), -added[-1])
    # Sorted keys, and the tables always in this order: two workers never wait for each other in a circle.
    at_commit(session, _CELLS, _columns([(key, cells[key]) for key in sorted(cells)]))
    ordered = sorted(people.items(), key=lambda item: (item[0][0].int, item[0][1]))
    at_commit(
        session,
        _VOLUNTEER_MONTHS,
        _columns([(cell, total) for (_, cell), total in ordered])
        | {"volunteers": [volunteer_id for (volunteer_id, _), _ in ordered]},
    )


def _columns(rows: Sequence[tuple[_Cell, list[int]]]) -> dict[str, list[object]]:
    return {
        "months": [cell[0] for cell, _ in rows],
        "units": [cell[1] for cell, _ in rows],
        "teams": [cell[2] for cell, _ in rows],
        "categories": [cell[3] for cell, _ in rows],
        "minutes": [total[0] for _, total in rows],
        "entries": [total[1] for _, total in rows],
    }

"""The rows of a workbook against register and ledger: who, at what activity, and whether each can be entered."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from xinhuo.chassis import outbox
from xinhuo.chassis.errors import RuleError
from xinhuo.chassis.security import Keys

from .. import domain, reach
from ..domain.workbook_cells import NameMismatch, OverlappingRow, PersonMismatch
from ..models import Entered, Existing, Served, activities, volunteers
from ..sealed import id_number_index, name_index
from ..workbooks import Finding, Outcome, Outcomes, Reading, Row
from .hours import Origin, lock_volunteers, log_hours

#: Rows entered by one call, with a fixed number of statements each.
SLICE = 1000
#: The kind of document of the column 身份证号: the resident identity card.
_IDENTITY_CARD = "01"


#: In which column a rule's mistake is marked, by the pointer of its error: the first one that the workbook has.
_CELLS = {
    "/volunteer_id": ("id_number", "volunteer"),
    "/activity_id": ("activity",),
    "/started_at": ("starts",),
    "/ended_at": ("ends",),
    "/minutes": ("minutes", "ends"),
}


class _Line(NamedTuple):
    """A row whose person and activity are known."""

    row: Row
    served: Served


class _Person(NamedTuple):
    id: UUID
    name_index: bytes
    reached: bool
    """Whether who imports may see the person; of others, a workbook tells nothing that it did not know."""


@dataclass
class Examined:
    """What became of each row of a workbook; findings in the order of rows and columns."""

    reading: Reading
    findings: list[Finding] = field(default_factory=list)
    entered_rows: list[int] = field(default_factory=list)
    existing_rows: list[int] = field(default_factory=list)
    persons: set[UUID] = field(default_factory=set)
    """Whom the workbook names, in rows with a mistake too."""

    @property
    def entered(self) -> int:
        """How many rows became new entries."""
        return len(self.entered_rows)

    @property
    def existing(self) -> int:
        """How many rows the ledger, or an earlier row, held already."""
        return len(self.existing_rows)

    @property
    def refused(self) -> int:
        """How many rows have a mistake."""
        return self.reading.total - self.entered - self.existing

    @property
    def counts(self) -> dict[str, int]:
        """How many mistakes there are of each code, the most frequent first."""
        return dict(Counter(finding.code for finding in self.findings).most_common())

    def outcomes(self, entered_as: str) -> Outcomes:
        """Return the outcome of every row in order, with its mistakes; sound rows are called ``entered_as``."""
        rows = {number: Outcome(number, entered_as, []) for number in self.entered_rows}
        rows |= {number: Outcome(number, "existing", []) for number in self.existing_rows}
        for finding in self.findings:
            rows.setdefault(finding.row, Outcome(finding.row, "refused", [])).findings.append(finding)
        ordered = [rows[number] for number in sorted(rows)]
        return Outcomes(self.reading.sheet, self.reading.header_row, ordered)


def examine(
    session: Session,
    keys: Keys,
    reading: Reading,
    *,
    now: datetime,
    import_id: UUID,
    progress: Callable[[int, int], None] | None = None,
) -> Examined:
    """Enter every row that can be entered and return what became of each; whoever only checks rehearses this.

    ``progress`` is called with done and total after each slice.
    """
    examined = Examined(reading, list(reading.findings))
    lines = _identify(session, keys, examined)
    lock_volunteers(session, {line.served.volunteer_id for line in lines})
    rows_by_entry: dict[UUID, int] = {}
    origin = Origin("import", import_id)
    for start in range(0, len(lines), SLICE):
        part = lines[start : start + SLICE]
        results = log_hours(session, [line.served for line in part], now=now, origin=origin)
        for line, result in zip(part, results, strict=True):
            if isinstance(result, Entered):
                rows_by_entry[result.entry.id] = line.row.number
        for line, result in zip(part, results, strict=True):
            if isinstance(result, Entered):
                examined.entered_rows.append(line.row.number)
            elif isinstance(result, Existing):
                examined.existing_rows.append(line.row.number)
            else:
                _refuse(examined, line.row, _in_this_file(result, rows_by_entry))
        # Written now and not kept for the commit: memory stays flat.
        outbox.write_pending(session)
        if progress is not None:
            progress(start + len(part), len(lines))
    examined.findings.sort(key=_place)
    return examined


def _identify(session: Session, keys: Keys, examined: Examined) -> list[_Line]:
    """Find person and activity of each row; rows without both get a finding."""
    rows = examined.reading.rows
    indexes = {
        number: id_number_index(keys, _IDENTITY_CARD, number)
        for number in {row.id_number for row in rows if row.id_number}
    }
    by_index = _people(session, volunteers.c.id_number_index, list(indexes.values()))
    numbers = sorted({row.volunteer.upper() for row in rows if row.volunteer})
    by_number = _people(session, volunteers.c.volunteer_no, numbers)
    examined.persons = {person.id for found in (by_index, by_number) for person in found.values()}
    known = sa.select(activities.c.number, activities.c.id).where(*reach.of_activities(session))
    activity_ids = {
        number: activity_id
        for part in _parts(sorted({row.activity for row in rows}))
        for number, activity_id in session.execute(known.where(_is_any(activities.c.number, part)))
    }
    names = {name: name_index(keys, name) for name in {row.name for row in rows}}
    lines = []
    for row in rows:
        faults: list[RuleError] = []
        try:
            person = _one_person(row, indexes, by_index, by_number)
            if person.name_index != names[row.name]:
                if person.reached:
                    raise NameMismatch().at("/name")
                raise domain.VolunteerUnknown(pointer="/volunteer_id" if row.id_number else "/volunteer")
        except RuleError as error:
            faults.append(error)
        activity_id = activity_ids.get(row.activity)
        if activity_id is None:
            faults.append(domain.ActivityUnknown())
        if faults or activity_id is None:
            for fault in faults:
                _refuse(examined, row, fault)
        else:
            lines.append(_Line(row, Served(person.id, activity_id, row.started_at, row.ended_at, row.minutes)))
    return lines


def _one_person(
    row: Row, indexes: dict[str, bytes], by_index: dict[object, _Person], by_number: dict[object, _Person]
) -> _Person:
    """Return the person that a row names by identity number, volunteer number or both."""
    found = None
    if row.id_number:
        found = by_index.get(indexes[row.id_number])
        if found is None:
            raise domain.VolunteerUnknown
    if row.volunteer:
        numbered = by_number.get(row.volunteer.upper())
        if numbered is None:
            raise domain.VolunteerUnknown(pointer="/volunteer")
        if found is not None and numbered.id != found.id:
            if not found.reached:
                raise domain.VolunteerUnknown
            if not numbered.reached:
                raise domain.VolunteerUnknown(pointer="/volunteer")
            raise PersonMismatch().at("/volunteer")
        found = numbered
    if found is None:
        raise domain.VolunteerUnknown
    return found


def _people(session: Session, column: sa.Column[Any], wanted: Sequence[object]) -> dict[object, _Person]:
    """Return people by what the column holds of them."""
    reached = sa.and_(sa.true(), *reach.people(session))
    query = sa.select(column, volunteers.c.id, volunteers.c.name_index, reached)
    found: dict[object, _Person] = {}
    for part in _parts(wanted):
        for key, volunteer_id, name, seen in session.execute(query.where(_is_any(column, part))):
            found[key] = _Person(volunteer_id, name, bool(seen))
    return found


def _is_any(column: sa.Column[Any], keys: Sequence[object]) -> sa.ColumnElement[bool]:
    return column == sa.func.any(sa.bindparam(None, list(keys), type_=ARRAY(column.type)))


def _parts(items: Sequence[object]) -> Iterable[Sequence[object]]:
    return (items[start : start + SLICE] for start in range(0, len(items), SLICE))


def _in_this_file(error: RuleError, rows_by_entry: dict[UUID, int]) -> RuleError:
    """Say the row instead of the entry when the time overlaps that of another row, whose entry may be rehearsed."""
    other = error.extra.get("other") if isinstance(error, domain.OverlappingService) else None
    if other and (row := rows_by_entry.get(UUID(str(other)))):
        return OverlappingRow(row).at(error.pointer or "/started_at")
    return error


def _refuse(examined: Examined, row: Row, error: RuleError) -> None:
    pointer = error.pointer or "/volunteer_id"
    columns = _CELLS.get(pointer, (pointer.removeprefix("/"),))
    if isinstance(error, domain.OutsideActivity) and not error.may_hold(row.started_at.date()):
        # The whole day is wrong, as when the year is mistyped: no other time of that day would do.
        columns = ("served_on",)
    cell = examined.reading.cell(row.number, *columns)
    examined.findings.append(Finding(row.number, cell, error.code, error.zh, error.en))


def _place(finding: Finding) -> tuple[int, int, str]:
    letters = re.sub("[0-9]+", "", finding.cell)
    return finding.row, len(letters), letters

"""What is read from a workbook and what became of each row: plain, typed, written as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class Row(msgspec.Struct, array_like=True):
    """One row that can be read: whose hours, at what, from when to when (office time, no zone)."""

    number: int
    """The row's number as the user sees it, from 1."""
    name: str
    id_number: str | None
    volunteer: str | None
    activity: str
    started_at: datetime
    ended_at: datetime
    minutes: int


class Finding(msgspec.Struct, array_like=True):
    """One mistake: the row, the cell to mark, the code, and what to tell the user in two languages."""

    row: int
    cell: str
    code: str
    zh: str
    en: str


class Warned(msgspec.Struct):
    """Something handled in a way the user should know of; ``places`` names the first rows, columns or ranges."""

    code: str
    zh: str
    en: str
    count: int
    places: list[str]


class Reading(msgspec.Struct):
    """A workbook as read: the sheet, where its columns are (letters by key), rows, mistakes and warnings."""

    sheet: str
    header_row: int
    columns: dict[str, str]
    total: int
    rows: list[Row]
    findings: list[Finding]
    warnings: list[Warned]

    def cell(self, row: int, *keys: str) -> str:
        """Return the name of the cell of a row in the first of the columns that the workbook has."""
        for key in keys:
            if key in self.columns:
                return f"{self.columns[key]}{row}"
        return f"A{row}"


class Outcome(msgspec.Struct, array_like=True):
    """What became of a row: entered, existing or refused (or valid, before anything is entered)."""

    row: int
    status: str
    findings: list[Finding]


class Outcomes(msgspec.Struct):
    """What became of all rows of one sheet, in the order of the rows."""

    sheet: str
    header_row: int
    rows: list[Outcome]


class Preview(msgspec.Struct):
    """What is shown of a file's findings at once: the first mistakes and all warnings."""

    sheet: str
    findings: list[Finding]
    warnings: list[Warned]


class FileProblem(msgspec.Struct):
    """Why a file as a whole was refused: the class of the error, its texts and what it adds to the answer."""

    error: str
    zh: str
    en: str
    extra: dict[str, Any]

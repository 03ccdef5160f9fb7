"""Workbooks of hours: the template, reading one, marking the user's own. Knows no database.

Reading and marking run in a process of their own; the libraries they need are loaded there.
"""

from __future__ import annotations

from datetime import date

import msgspec

from . import jail
from .results import Finding, Outcome, Outcomes, Preview, Reading, Row, Warned
from .writing import HoursRow, template, workbook_of, write_rows

__all__ = [
    "Finding",
    "HoursRow",
    "Outcome",
    "Outcomes",
    "Preview",
    "Reading",
    "Row",
    "Warned",
    "mark_workbook",
    "read_workbook",
    "template",
    "workbook_of",
    "write_rows",
]


def read_workbook(data: bytes, *, today: date) -> Reading:
    """Read a workbook of hours in a process of its own, with limits of time and memory.

    Raises one of the file errors of ``domain.workbooks``: the file is none, holds macros, lacks columns …
    """
    return msgspec.json.decode(jail.run("reader", data, today.isoformat()), type=Reading)


def mark_workbook(data: bytes, outcomes: Outcomes) -> bytes:
    """Return the user's own workbook with the mistaken cells marked and a column 导入结果."""
    marks = msgspec.json.encode(outcomes)
    return jail.run("marker", len(marks).to_bytes(8, "big") + marks + data)

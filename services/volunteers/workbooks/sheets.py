"""The sheets of a workbook: values from calamine, and what it does not tell from the XML itself.

Calamine gives dates of both systems, shared texts and stored results of formulas. It does not tell a formula
without a result from an empty cell, nor hidden rows, nor error values; these come from one pass over the XML,
which also says how far the sheet reaches, before calamine lays it out in memory.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

import defusedxml.ElementTree
from python_calamine import CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from ..domain.workbooks import (
    MOST_ROWS,
    TooManyRows,
    WorkbookTooComplex,
    WorkbookUnreadable,
)
from .cells import Value
from .columns import HEADER_ROWS

#: The most cells of a sheet from A1 to its last filled cell: calamine lays them all out (32 bytes each).
MOST_CELLS = 12_000_000
_RELATION_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_STRICT_RELATION_ID = "{http://purl.oclc.org/ooxml/officeDocument/relationships}id"
_TRUE = {"1", "true"}


@dataclass
class Facts:
    """What one pass over a sheet's XML tells; places are 0-based (row, column)."""

    last_row: int = -1
    last_column: int = -1
    rows_filled: int = 0
    last_row_there: int = -1
    hidden: set[int] = field(default_factory=set)
    uncalculated: set[tuple[int, int]] = field(default_factory=set)
    errors: set[tuple[int, int]] = field(default_factory=set)


@dataclass
class Sheet:
    """One visible sheet."""

    name: str
    facts: Facts
    merged: list[tuple[tuple[int, int], tuple[int, int]]]
    _values: Any

    def rows(self) -> Iterator[tuple[int, list[Value]]]:
        """Yield the number (0-based) and the values of each row, column A first, from the first filled row."""
        if self._values.start is None:
            return
        first_row, first_column = self._values.start
        margin: list[Value] = [""] * first_column
        for number, values in enumerate(self._values.iter_rows(), first_row):
            yield number, margin + values


class Book:
    """A checked workbook: its system of dates and its visible sheets in order."""

    def __init__(self, archive: zipfile.ZipFile, data: bytes) -> None:
        self._archive = archive
        try:
            root = defusedxml.ElementTree.fromstring(self._read("xl/workbook.xml"))
            relations = defusedxml.ElementTree.fromstring(self._read("xl/_rels/workbook.xml.rels"))
        except (defusedxml.ElementTree.ParseError, defusedxml.DefusedXmlException, KeyError):
            raise WorkbookUnreadable from None
        properties = root.find("{*}workbookPr")
        self.epoch_1904 = properties is not None and properties.get("date1904", "0").lower() in _TRUE
        targets = {item.get("Id"): item.get("Target", "") for item in relations}
        self._parts: dict[str, str] = {}
        for item in root.iterfind("{*}sheets/{*}sheet"):
            target = targets.get(item.get(_RELATION_ID) or item.get(_STRICT_RELATION_ID)) or ""
            path = target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"xl/{target}")
            self._parts[item.get("name", "")] = path
        self._calamine = CalamineWorkbook.from_filelike(io.BytesIO(data))

    def _read(self, name: str) -> bytes:
        names = {member.filename.lower(): member for member in self._archive.infolist()}
        return self._archive.read(names[name.lower()])

    def sheets(self) -> Iterator[Sheet]:
        """Yield the visible sheets, each read only when it is asked for."""
        for meta in self._calamine.sheets_metadata:
            if meta.typ != SheetTypeEnum.WorkSheet or meta.visible != SheetVisibleEnum.Visible:
                continue
            if meta.name not in self._parts:
                raise WorkbookUnreadable
            try:
                facts = scan(self._read(self._parts[meta.name]))
            except KeyError:
                raise WorkbookUnreadable from None
            if (facts.last_row + 1) * (facts.last_column + 1) > MOST_CELLS:
                raise WorkbookTooComplex
            values = self._calamine.get_sheet_by_name(meta.name)
            yield Sheet(meta.name, facts, list(values.merged_cell_ranges or []), values)


def scan(xml: bytes) -> Facts:
    """Read the facts of a sheet from its XML; raises TooManyRows or WorkbookUnreadable."""
    scanner = _Scanner()
    try:
        scanner.parser.Parse(xml, True)
    except expat.ExpatError:
        raise WorkbookUnreadable from None
    scanner.finish_cell()
    return scanner.facts


class _Scanner:
    def __init__(self) -> None:
        self.facts = Facts()
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = None
        self._row = self._column = -1
        self._row_text = ""
        self._row_filled = False
        self._columns: dict[str, int] = {}
        self._type = ""
        self._has_cell = self._has_formula = self._has_value = self._has_text = False

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        # Some programs write the names with a prefix.
        kind = name if ":" not in name else name.rpartition(":")[2]
        if kind == "c":
            self.finish_cell()
            self._begin_cell(attributes)
        elif kind == "v":
            self._has_value = True
            if self._has_formula:
                self.parser.CharacterDataHandler = self._text
        elif kind == "is":
            self._has_value = True
        elif kind == "f":
            self._has_formula = True
        elif kind == "row":
            self.finish_cell()
            self._begin_row(attributes)

    def _text(self, text: str) -> None:
        self._has_text = True

    def _begin_row(self, attributes: dict[str, str]) -> None:
        number = attributes.get("r")
        self._row = _number(number) if number else self._row + 1
        self._row_text = number or ""
        self._column, self._row_filled = -1, False
        self.facts.last_row_there = max(self.facts.last_row_there, self._row)
        if attributes.get("hidden") in _TRUE or attributes.get("zeroHeight") in _TRUE:
            self.facts.hidden.add(self._row)

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        self._column += 1
        if reference := attributes.get("r"):
            text = reference.rstrip("0123456789")
            if (column := self._columns.get(text)) is None:
                column = self._columns[text] = _column_number(text)
            self._column = column
            # A cell says itself where it is, and readers believe it rather than the row around it.
            if reference[len(text) :] != self._row_text:
                self._row = _number(reference[len(text) :])
        self._type = attributes.get("t", "")
        self._has_cell, self._has_formula, self._has_value, self._has_text = True, False, False, False

    def finish_cell(self) -> None:
        """Take what was seen of the cell that ended."""
        if not self._has_cell:
            return
        self._has_cell = False
        self.parser.CharacterDataHandler = None
        # An empty result is one only where the cell says that it is a text.
        no_result = self._has_formula and not self._has_text and self._type != "str"
        if not self._has_value and not no_result:
            return
        facts = self.facts
        facts.last_row = max(facts.last_row, self._row)
        facts.last_column = max(facts.last_column, self._column)
        if not self._row_filled:
            self._row_filled = True
            facts.rows_filled += 1
            if facts.rows_filled > MOST_ROWS + HEADER_ROWS:
                raise TooManyRows
        if no_result:
            facts.uncalculated.add((self._row, self._column))
        if self._type == "e":
            facts.errors.add((self._row, self._column))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 1_048_576):
        raise WorkbookUnreadable
    return int(text) - 1


def _column_number(text: str) -> int:
    number = 0
    for character in text:
        number = number * 26 + ord(character) - 64
    if not 1 <= number <= 16_384 or len(text) > 3:
        raise WorkbookUnreadable
    return number - 1

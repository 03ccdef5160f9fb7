"""Imports: where each stands, what was found in its file, and the file itself with what became of its rows."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.security import Keys
from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from .. import domain, reach, workbooks
from ..domain import ImportState, UndoWindow
from ..domain.workbooks import ImportExpired

_COLUMNS = """
    imports.id, state, mode, file_name, file_size, rows, valid, invalid, entered, existing, refused, problems, counts,
    failure, checked_at, confirmed_at, finished_at, undo_requested_at, undone_at, expires_at,
    workbook IS NULL AS expired, progress.done AS progress_done, progress.total AS progress_total
"""
_ONE = sa.text(
    f"""
    SELECT {_COLUMNS}, preview FROM imports LEFT JOIN import_progress AS progress ON progress.import_id = imports.id
    WHERE imports.id = :id
    """  # noqa: S608  (our own columns)
)
_MANY = sa.text(
    f"""
    SELECT {_COLUMNS} FROM imports LEFT JOIN import_progress AS progress ON progress.import_id = imports.id
    WHERE (CAST(:state AS text) IS NULL OR state = :state) AND (CAST(:before AS uuid) IS NULL OR imports.id < :before)
        AND (CAST(:units AS text[]) IS NULL OR unit_code = ANY(:units))
    ORDER BY imports.id DESC LIMIT :limit
    """  # noqa: S608
)
_ANY = sa.text("SELECT EXISTS (SELECT FROM imports WHERE state = :state)")
_FILE = sa.text("SELECT state, workbook, outcomes, file_name FROM imports WHERE id = :id")


def any_confirmed(session: Session) -> bool:
    """Tell whether some import waits to be entered."""
    return _any(session, ImportState.CONFIRMED)


def any_undo_requested(session: Session) -> bool:
    """Tell whether some import waits to be taken back."""
    return _any(session, ImportState.UNDOING)


def _any(session: Session, state: ImportState) -> bool:
    return bool(session.execute(_ANY, {"state": state.value}).scalar_one())


class ResultFile(NamedTuple):
    """A workbook to download, with the name it gets."""

    content: bytes
    name: str


def import_of(session: Session, keys: Keys, import_id: UUID, window: UndoWindow) -> dict[str, Any]:
    """Return one import with its first mistakes and all warnings; raises ``ImportNotFound``."""
    row = session.execute(_ONE, {"id": import_id}).mappings().one_or_none()
    if row is None or not reach.reaches_import(session, import_id):
        raise domain.ImportNotFound(str(import_id))
    shown = _shown(dict(row), keys, window)
    if row["preview"] is None:
        return shown | {"errors": [], "warnings": []}
    preview = msgspec.json.decode(keys.decrypt_bytes(bytes(row["preview"]), "imports.preview"), type=workbooks.Preview)
    shown["errors"] = [
        {
            "sheet": preview.sheet,
            "cell": finding.cell,
            "row": finding.row,
            "code": finding.code,
            "detail": finding.zh,
            "detail_en": finding.en,
        }
        for finding in preview.findings
    ]
    shown["warnings"] = [
        {
            "code": warned.code,
            "detail": warned.zh,
            "detail_en": warned.en,
            "count": warned.count,
            "places": warned.places,
        }
        for warned in preview.warnings
    ]
    return shown


def imports_list(session: Session, keys: Keys, query: Mapping[str, Any], window: UndoWindow) -> Listed:
    """Return a page of imports, the newest first, without their findings."""
    cursor = read_cursor(query["after"], UUID)
    found = session.execute(
        _MANY,
        {
            "state": query["state"],
            "before": cursor[0] if cursor else None,
            "units": reach.units(session),
            "limit": query["limit"] + 1,
        },
    ).mappings()
    return page_of([_shown(dict(row), keys, window) for row in found], query["limit"], lambda row: (row["id"],))


def result_file(session: Session, keys: Keys, import_id: UUID) -> ResultFile:
    """Return the user's own workbook, marked; raises ``ImportNotFound`` or ``ImportExpired``."""
    row = session.execute(_FILE, {"id": import_id}).one_or_none()
    if row is None or not reach.reaches_import(session, import_id):
        raise domain.ImportNotFound(str(import_id))
    if row.workbook is None or row.outcomes is None:
        raise ImportExpired
    packed = keys.decrypt_bytes(bytes(row.outcomes), "imports.outcomes")
    outcomes = msgspec.json.decode(zlib.decompress(packed), type=workbooks.Outcomes)
    if row.state == ImportState.UNDONE:
        for outcome in outcomes.rows:
            outcome.status = "undone" if outcome.status == "entered" else outcome.status
    data = keys.decrypt_bytes(bytes(row.workbook), "imports.workbook")
    name = keys.decrypt(row.file_name, "imports.file_name") if row.file_name else "时数.xlsx"
    stem = name[:-5] if name.lower().endswith(".xlsx") else name
    return ResultFile(workbooks.mark_workbook(data, outcomes), f"{stem}-导入结果.xlsx")


def _shown(row: Mapping[str, Any], keys: Keys, window: UndoWindow) -> dict[str, Any]:
    shown = dict(row)
    shown.pop("preview", None)
    done, total = shown.pop("progress_done"), shown.pop("progress_total")
    shown["progress"] = None if total is None else {"done": done, "total": total}
    if shown["file_name"] is not None:
        shown["file_name"] = keys.decrypt(shown["file_name"], "imports.file_name")
    shown["undo_until"] = _undo_until(row, window)
    shown["result"] = None if shown.pop("expired") else f"/v1/imports/{row['id']}/result.xlsx"
    return shown


def _undo_until(row: Mapping[str, Any], window: UndoWindow) -> datetime | None:
    if row["state"] != ImportState.DONE or row["confirmed_at"] is None:
        return None
    return window.closes_at(row["confirmed_at"])

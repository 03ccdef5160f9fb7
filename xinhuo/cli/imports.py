"""Imports of hours over the API: what the command and the sample share."""

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from .client import XLSX, Api, ApiProblem

#: Reports that ``done`` of ``total`` rows are through.
Report = Callable[[int, int], None]

#: What of a summary a script is given.
_SUMMARY = (
    "id", "state", "mode", "file_name", "rows", "valid", "invalid", "entered", "existing", "refused", "counts",
    "failure", "checked_at", "confirmed_at", "finished_at", "undone_at", "undo_until",
)  # fmt: skip
_STATES = {
    "checked": "已检查，未确认 / checked",
    "confirmed": "正在入账 / being entered",
    "done": "已入账 / entered",
    "failed": "未能入账 / failed",
    "undoing": "正在撤销 / being undone",
    "undone": "已撤销 / undone",
}
_CELLS_SHOWN = 3
_LOOK_EVERY = 0.1
_OFFICE_ZONE = ZoneInfo("Asia/Shanghai")


class NothingMoves(Exception):
    """The service neither finishes an import nor comes further with it."""


def check(api: Api, file: Path) -> dict[str, Any]:
    """Upload a workbook and return its check; nothing is entered. Raises ApiProblem ``import.seen_before`` …

    What is never confirmed stays a checked import until it expires and does not stand in the way of the file.
    """
    response = api.request(
        "volunteers",
        "POST",
        "/v1/imports",
        data=file.read_bytes(),
        headers={
            "Content-Type": XLSX,
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        },
        repeatable=True,
    )
    found: dict[str, Any] = response.json()
    return found


def confirm(api: Api, import_id: str, mode: str) -> None:
    """Let the service enter a checked import; confirming again in the same mode changes nothing."""
    api.post("volunteers", f"/v1/imports/{import_id}:confirm", {"mode": mode}, repeatable=True)


def _say_nothing(done: int, total: int) -> None:
    """Report to nobody."""


def finished(api: Api, import_id: str, report: Report = _say_nothing, *, patience: float = 60.0) -> dict[str, Any]:
    """Wait until the service is through with an import, reporting how far it is, and return the import.

    Raises NothingMoves when it comes no further for ``patience`` seconds.
    """
    last: tuple[str, int] | None = None
    moved_at = time.monotonic()
    while True:
        found = one(api, import_id)
        if found["state"] not in ("confirmed", "undoing"):
            report(found["valid"], found["valid"])
            return found
        progress = found["progress"] or {"done": 0, "total": found["valid"]}
        report(progress["done"], progress["total"])
        here = (found["state"], progress["done"])
        if here != last:
            last, moved_at = here, time.monotonic()
        elif time.monotonic() - moved_at > patience:
            raise NothingMoves(
                f"导入 {import_id} 在 {patience:.0f} 秒内没有进展，稍后用 xinhuo hours show {import_id} 查看。\n"
                f"The import has not moved for {patience:.0f} s; look again later: xinhuo hours show {import_id}"
            )
        time.sleep(_LOOK_EVERY)


def undo(api: Api, import_id: str) -> dict[str, Any]:
    """Take an import back and return it when its entries are reversed."""
    api.post("volunteers", f"/v1/imports/{import_id}:undo", repeatable=True)
    return finished(api, import_id)


def one(api: Api, import_id: str) -> dict[str, Any]:
    """Return one import."""
    found: dict[str, Any] = api.get("volunteers", f"/v1/imports/{import_id}")
    return found


def every(api: Api) -> list[dict[str, Any]]:
    """Return all imports, the newest first."""
    return api.pages("volunteers", "/v1/imports", limit=200)


def entered_before(api: Api, file: Path) -> dict[str, Any] | None:
    """Return the import by which a file entered the ledger, be it undone since; None when there is none.

    Looks at the names first and does not upload: the file is known to be ours.
    """
    for found in every(api):
        if found["file_name"] == file.name and found["state"] in ("confirmed", "done", "undoing", "undone"):
            return found
    return None


def first_import_of(api: Api, file: Path) -> dict[str, Any]:
    """Return the import of a file that is known to have been entered, by its bytes."""
    try:
        return check(api, file)
    except ApiProblem as problem:
        # One of another unit is not named.
        if problem.code != "import.seen_before" or "other" not in problem.body:
            raise
        return one(api, problem.body["other"])


def save_result(api: Api, import_id: str, to: Path) -> Path:
    """Save the user's own file with marked cells and the column of results."""
    return api.download("volunteers", f"/v1/imports/{import_id}/result.xlsx", to)


def save_template(api: Api, to: Path) -> Path:
    """Save the template."""
    return api.download("volunteers", "/v1/imports/template.xlsx", to)


# --- For people and scripts -----------------------------------------------------------------------------


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Return what a script is given of an import."""
    return {name: found.get(name) for name in _SUMMARY}


def state_label(found: dict[str, Any]) -> str:
    """Return the state in words."""
    return _STATES.get(found["state"], str(found["state"]))


def spoken(instant: str | None) -> str:
    """Return an instant of the API in office time, to the minute."""
    return f"{datetime.fromisoformat(instant).astimezone(_OFFICE_ZONE):%Y-%m-%d %H:%M}" if instant else "—"


def reasons_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return why rows were refused: code, title, count, and the first cells of each among those listed."""
    cells: dict[str, list[str]] = {}
    for mistake in found.get("errors") or ():
        listed = cells.setdefault(mistake["code"], [])
        if len(listed) < _CELLS_SHOWN:
            listed.append(mistake["cell"])
    counts: dict[str, int] = found.get("counts") or {}
    return [
        {"code": code, "title": title_of(code), "count": count, "cells": cells.get(code, [])}
        for code, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def title_of(code: str) -> str:
    """Return the Chinese title of an error code, or the code itself when this release does not know it."""
    import services.volunteers.domain.workbooks  # noqa: F401  (importing enters the titles)
    from xinhuo.chassis.errors import all_codes

    known = all_codes().get(code)
    return known.title if known else code

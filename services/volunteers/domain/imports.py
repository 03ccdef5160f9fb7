"""The rules of importing workbooks: a file once, confirmed whole or in part, undone within a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from xinhuo.chassis.errors import Conflict, NotFound

from .hours import as_instant, spoken


class Confirm(StrEnum):
    """What of a checked import is entered."""

    ALL = "all"
    """Everything, or nothing when a single row was refused."""
    VALID_ROWS = "valid_rows"
    """The rows without a mistake."""


class ImportState(StrEnum):
    """Where an import stands."""

    CHECKED = "checked"
    """Every row was tried; nothing is entered."""
    CONFIRMED = "confirmed"
    """Waits for a worker, or is being entered."""
    DONE = "done"
    """Its rows are in the ledger."""
    FAILED = "failed"
    """Nothing was entered; it can be confirmed again."""
    UNDOING = "undoing"
    """Waits for a worker to take its entries back."""
    UNDONE = "undone"
    """Its entries were taken back; the file can be imported again."""


class ImportNotFound(NotFound):
    """No import has this id."""

    code = "import.not_found"
    title = "导入不存在"

    def __init__(self, import_id: str) -> None:
        """Name the id."""
        super().__init__(
            f"没有编号为 {import_id} 的导入，请核对编号。",
            f"No import has the id {import_id}; check it.",
        )


class ImportSeenBefore(Conflict):
    """The same file was imported before."""

    code = "import.seen_before"
    title = "该文件已导入过"

    def __init__(self, first: str | None = None, confirmed_at: datetime | None = None) -> None:
        """Name the first import, when it was confirmed, and where to read it; nothing of one that is out of reach."""
        if first is None:
            super().__init__(
                "该文件已由其他单位导入过；如仍需导入，请将本单位的行另存为新文件。",
                "The file was imported before, by another unit; save your own rows as a new file.",
            )
            return
        when = f"于 {spoken(confirmed_at)} " if confirmed_at else ""
        super().__init__(
            f"该文件已{when}在导入 {first} 中导入过，请查看那次导入的结果；内容有变化时请另存为新文件再导入。",
            f"The file was imported before, as {first}; see its result, or save changed rows as a new file.",
            extra={
                "other": first,
                "link": f"/v1/imports/{first}",
                "confirmed_at": confirmed_at.isoformat() if confirmed_at else None,
            },
        )


class RowsRefused(Conflict):
    """An import with refused rows cannot be confirmed as a whole."""

    code = "import.rows_refused"
    title = "导入中有未通过的行"

    def __init__(self, refused: int) -> None:
        """Name how many rows were refused."""
        super().__init__(
            f"有 {refused} 行未通过检查，请更正文件后重新导入，或选择只导入通过的行（valid_rows）。",
            f"{refused} row(s) were refused; correct the file and import it again, or confirm valid_rows.",
            pointer="/mode",
            extra={"refused": refused},
        )


class NothingToImport(Conflict):
    """No row of the file passed the check."""

    code = "import.nothing_valid"
    title = "没有可导入的行"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "文件中没有通过检查的行，请按标注更正后重新导入。",
            "No row of the file passed the check; correct the marked cells and import it again.",
        )


class ImportNotOpen(Conflict):
    """Only a checked import can be confirmed, and only one that is done undone."""

    code = "import.wrong_state"
    title = "导入状态不允许该操作"


class WindowClosed(Conflict):
    """The time in which an import can be undone has passed."""

    code = "import.undo_window_closed"
    title = "已超过撤销期限"


@dataclass(frozen=True, slots=True)
class UndoWindow:
    """For how many hours after its confirmation an import can be undone."""

    hours: int
    clause: str | None = None

    def __post_init__(self) -> None:
        """Refuse a window that is none."""
        if self.hours < 1:
            raise ValueError("hours must be at least 1")

    @classmethod
    def of(cls, values: Mapping[str, Any], clause: str | None = None) -> UndoWindow:
        """Read the values of a rule file."""
        return cls(values["hours"], clause)

    def closes_at(self, confirmed_at: datetime) -> datetime:
        """Return the last instant at which an import confirmed then can be undone."""
        return as_instant(confirmed_at) + timedelta(hours=self.hours)


_WRONG_STATE = {
    ImportState.CHECKED: ("尚未确认", "is not confirmed yet"),
    ImportState.CONFIRMED: ("已经确认，正在导入", "is confirmed and being entered"),
    ImportState.DONE: ("已经完成", "is done already"),
    ImportState.FAILED: ("没有完成", "did not succeed"),
    ImportState.UNDOING: ("正在撤销", "is being undone"),
    ImportState.UNDONE: ("已经撤销", "has been undone"),
}


def _refuse_state(state: ImportState) -> ImportNotOpen:
    zh, en = _WRONG_STATE[state]
    return ImportNotOpen(
        f"该导入{zh}，请刷新后查看最新状态。",
        f"The import {en}; read its present state.",
        extra={"state": state.value},
    )


def _refuse_nothing_to_undo(state: ImportState) -> ImportNotOpen:
    zh, en = _WRONG_STATE[state]
    return ImportNotOpen(
        f"该导入{zh}，没有任何时数入账，无需撤销。如要导入，请先确认。",
        f"The import {en}: nothing was entered, so there is nothing to undo. Confirm it if it is to be entered.",
        extra={"state": state.value},
    )


def check_confirm(state: ImportState, confirm: Confirm, *, valid: int, refused: int) -> None:
    """Check that an import can be entered: ``all`` bears no refused row, and some row must be valid."""
    if state not in {ImportState.CHECKED, ImportState.FAILED}:
        raise _refuse_state(state)
    if confirm is Confirm.ALL and refused:
        raise RowsRefused(refused)
    if not valid:
        raise NothingToImport


def check_undo(state: ImportState, confirmed_at: datetime | None, *, now: datetime, window: UndoWindow) -> None:
    """Check that an import can still be undone; the last instant of the window is within (以内) it."""
    if state in {ImportState.CHECKED, ImportState.FAILED}:
        raise _refuse_nothing_to_undo(state)
    if state is not ImportState.DONE or confirmed_at is None:
        raise _refuse_state(state)
    # 《民法典》第一千二百五十九条: “以内”包括本数。
    closes_at = window.closes_at(confirmed_at)
    if as_instant(now) > closes_at:
        closes = spoken(closes_at)
        raise WindowClosed(
            f"导入确认后{window.hours}小时内可以撤销，已于 {closes} 截止；请逐条冲正有误的记录。",
            f"An import can be undone for {window.hours} hours, here until {closes}; reverse the wrong entries singly.",
            extra={"closed_at": closes_at.isoformat(), "hours": window.hours},
            clause=window.clause,
        )

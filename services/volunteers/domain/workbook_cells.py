"""What can be wrong with a single cell or row of a workbook of hours."""

from __future__ import annotations

from xinhuo.chassis.errors import RuleError

from .hours import OverlappingService


class CellRequired(RuleError):
    """A cell that must be filled is empty."""

    code = "cell.required"
    title = "必填项为空"

    def __init__(self, column: str) -> None:
        """Name the column."""
        super().__init__(f"“{column}”不能为空，请填写。", f"{column} may not be empty; fill it in.")


class PersonRequired(RuleError):
    """A row must say whose hours it holds."""

    code = "cell.person_required"
    title = "缺少身份证号或志愿者编号"

    def __init__(self) -> None:
        """Name the columns."""
        super().__init__(
            "“身份证号”和“志愿者编号”至少填写一项。",
            "Fill in the identity number (身份证号) or the volunteer's id (志愿者编号).",
        )


class CellNotDate(RuleError):
    """A cell holds no date."""

    code = "cell.not_date"
    title = "日期无法识别"

    def __init__(self) -> None:
        """Show how a date may be written."""
        super().__init__(
            "日期无法识别或不存在，请填写如 2020-03-05、2020/3/5 或 2020年3月5日。",
            "This is no date that exists; write it like 2020-03-05, 2020/3/5 or 2020年3月5日.",
        )


class CellNotTime(RuleError):
    """A cell holds no time of day."""

    code = "cell.not_time"
    title = "时间无法识别"

    def __init__(self) -> None:
        """Show how a time may be written."""
        super().__init__(
            "时间无法识别，请填写 24 小时制的时间，如 9:00 或 14:30。",
            "This is no time of day; write it like 9:00 or 14:30.",
        )


class CellOnOtherDay(RuleError):
    """A time cell names another day than the date of its row."""

    code = "cell.other_day"
    title = "时间中的日期与服务日期不一致"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "时间中带有日期，且与“服务日期”不是同一天；跨天的服务请按日期拆成两行。",
            "The time names another day than the date of the row; split service over two days into two rows.",
        )


class EndsNextDay(RuleError):
    """A row covers one day; service past midnight needs two."""

    code = "cell.crosses_midnight"
    title = "结束时间不晚于开始时间"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "结束时间应晚于开始时间；如服务跨过零点，请拆成两行（前一天到 24:00，后一天从 0:00 起）。",
            "The end must be after the start; split service past midnight into two rows (until 24:00, from 0:00).",
        )


class FormulaNotCalculated(RuleError):
    """A formula without a stored result."""

    code = "cell.formula_not_calculated"
    title = "公式没有计算结果"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "公式没有保存计算结果，请在 Excel 或 WPS 中打开并保存，或把公式粘贴为值。",
            "The formula has no stored result; open and save the file in Excel or WPS, or paste it as a value.",
        )


class CellHasError(RuleError):
    """A cell shows an error such as #N/A."""

    code = "cell.error_value"
    title = "单元格是错误值"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "单元格是错误值（如 #N/A、#REF!），请更正公式或直接填写。",
            "The cell holds an error such as #N/A or #REF!; correct the formula or type the value.",
        )


class CellTooLong(RuleError):
    """The text of a cell is longer than any value of its column."""

    code = "cell.too_long"
    title = "单元格内容过长"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "单元格内容过长，请核对是否填错列。", "The text of the cell is too long; is it the right column?"
        )


class NameMismatch(RuleError):
    """The person with this number is registered under another name."""

    code = "import.name_mismatch"
    title = "姓名与登记信息不一致"

    def __init__(self) -> None:
        """Say what to do; the registered name is not told."""
        super().__init__(
            "姓名与该号码登记的姓名不一致，请核对姓名和号码。",
            "The name is not the one registered for this number; check name and number.",
        )


class PersonMismatch(RuleError):
    """Identity number and volunteer id belong to different people."""

    code = "import.person_mismatch"
    title = "身份证号与志愿者编号不一致"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "身份证号与志愿者编号不是同一个人，请核对，或只填其中一项。",
            "Identity number and volunteer id belong to different people; check them, or give only one.",
        )


class OverlappingRow(OverlappingService):
    """The person serves elsewhere at the same time by another row of the same file."""

    def __init__(self, row: int) -> None:
        """Name the row."""
        super().__init__("")
        self.zh = f"与本文件第 {row} 行同一人的服务时间重叠，请核对起止时间。"
        self.en = f"The time overlaps that of the same person in row {row} of this file; check start and end."
        self.extra = {"row": row}

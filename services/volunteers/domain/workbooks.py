"""What can be wrong with a workbook of hours as a whole: the file, and its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xinhuo.chassis.errors import Conflict, Json, RuleError, TooLarge

MOST_ROWS = 100_000

# --- The file -------------------------------------------------------------------------------------------


class NotAWorkbook(RuleError):
    """The file is no .xlsx workbook."""

    code = "import.not_xlsx"
    title = "文件不是 .xlsx 工作簿"

    def __init__(self, content: str = "unknown") -> None:
        """Name what the content seems to be: text, html, archive, unknown."""
        zh, en = _CONTENTS.get(content, _CONTENTS["unknown"])
        super().__init__(
            f"{zh}，请用 Excel 或 WPS 打开后另存为 .xlsx 再导入。",
            f"{en}; open it in Excel or WPS, save it as .xlsx and import that.",
            extra={"content": content},
        )


_CONTENTS = {
    "text": ("文件内容是文本（如 CSV），不是 .xlsx 工作簿", "The content is text (such as CSV), no .xlsx workbook"),
    "html": ("文件内容是网页，不是 .xlsx 工作簿", "The content is a web page, no .xlsx workbook"),
    "archive": ("文件是压缩包，不是 .xlsx 工作簿", "The file is an archive, no .xlsx workbook"),
    "empty": ("文件是空的", "The file is empty"),
    "unknown": ("文件不是 .xlsx 工作簿", "The file is no .xlsx workbook"),
}


class LegacyWorkbook(RuleError):
    """The file is a workbook of Excel 97-2003."""

    code = "import.legacy_xls"
    title = "不支持旧版 .xls 文件"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "这是旧版 .xls 文件，请在 Excel 或 WPS 中另存为 .xlsx 再导入。",
            "This is a legacy .xls file; save it as .xlsx in Excel or WPS and import that.",
        )


class EncryptedWorkbook(RuleError):
    """The file is protected by a password."""

    code = "import.encrypted"
    title = "文件已加密"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "文件设有打开密码，无法读取；请取消密码后另存为 .xlsx 再导入。",
            "The file needs a password to open; remove it, save the file as .xlsx and import that.",
        )


class MacrosRefused(RuleError):
    """The workbook holds macros."""

    code = "import.macros"
    title = "文件含有宏"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "文件含有宏，不予接收；请另存为“Excel 工作簿（.xlsx）”再导入。",
            "The file holds macros, which are not taken; save it as an Excel workbook (.xlsx) and import that.",
        )


class ExternalLinksRefused(RuleError):
    """The workbook refers to other files or data connections."""

    code = "import.external_links"
    title = "文件含有外部链接"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "文件含有外部链接、数据连接或嵌入对象，不予接收；请在“数据—编辑链接”中断开，或把数据以“值”粘贴到模板中再导入。",
            "The file holds external links, data connections or embedded objects; break the links, or paste the "
            "values into the template and import that.",
        )


class ZipBomb(RuleError):
    """The parts of the workbook are too many, too large or nested."""

    code = "import.zip_bomb"
    title = "文件结构异常"

    def __init__(self, reason: str) -> None:
        """Name the limit that was passed: entries, ratio, size, nested, names."""
        super().__init__(
            "文件内部结构异常（内含部件过多、过大或嵌套压缩包），不予接收；请把数据粘贴到模板中再导入。",
            "The inside of the file is out of the ordinary (too many or too large parts, or archives inside); "
            "paste the data into the template and import that.",
            extra={"reason": reason},
        )


class WorkbookUnreadable(RuleError):
    """The workbook is damaged."""

    code = "import.unreadable"
    title = "文件无法读取"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "文件已损坏或不完整，无法读取；请在 Excel 或 WPS 中打开并另存后再导入。",
            "The file is damaged or incomplete; open it in Excel or WPS, save it again and import that.",
        )


class WorkbookTooComplex(RuleError):
    """Reading the workbook takes more time or memory than one file may."""

    code = "import.too_complex"
    title = "文件过于复杂"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "文件过于复杂，读取超出了时间或内存限制；请只保留数据，粘贴到模板中或拆成几个文件再导入。",
            "Reading the file takes too much time or memory; paste the data alone into the template or split it.",
        )


class TooManyRows(TooLarge):
    """A workbook has at most 100000 rows of data."""

    code = "import.too_many_rows"
    title = "行数过多"

    def __init__(self) -> None:
        """Name the limit."""
        super().__init__(
            f"一个文件最多 {MOST_ROWS} 行数据，请拆成几个文件分别导入。",
            f"One file has at most {MOST_ROWS} rows of data; split it into several files.",
            extra={"limit": MOST_ROWS},
        )


class NoRows(RuleError):
    """The workbook has headers and nothing below them."""

    code = "import.no_rows"
    title = "文件中没有数据"

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "表头下面没有数据，请填写后再导入。",
            "There is nothing below the headers; fill in the rows and import the file again.",
        )


class ImportExpired(Conflict):
    """The stored workbook of an import is removed after some time."""

    code = "import.expired"
    title = "导入文件已过保存期"

    def __init__(self) -> None:
        """Say what remains."""
        super().__init__(
            "该次导入的文件已过保存期并删除，仅保留数量统计；需要时请重新导入。",
            "The file of this import has expired and was removed; its counts remain. Import it again if needed.",
        )


# --- Columns --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ColumnProblem:
    """A column that is missing or there twice, and where in the sheet to look."""

    column: str
    problem: str
    """``missing`` or ``duplicated``."""
    cells: tuple[str, ...] = ()
    """Where the duplicates are."""
    nearest: str | None = None
    """The text of the header most like the missing one."""
    nearest_cell: str | None = None


class HeaderMissing(RuleError):
    """None of the first ten rows of a sheet is a header row."""

    code = "import.no_header"
    title = "没有找到表头"

    def __init__(self, wanted: Sequence[str]) -> None:
        """Name the columns that are needed."""
        super().__init__(
            f"前十行中没有找到表头，请使用模板，或在表中写明各列：{'、'.join(wanted)}。",
            f"There is no header row in the first ten rows; use the template, or name the columns: "
            f"{', '.join(wanted)}.",
            extra={"columns": list(wanted)},
        )


class ColumnsWrong(RuleError):
    """A column of the workbook is missing, renamed or there twice."""

    code = "import.columns"
    title = "列缺失或重复"

    def __init__(self, problems: Sequence[ColumnProblem]) -> None:
        """Name every column with what is wrong and the header that is most like it."""
        shown: list[Json] = [
            {
                "column": found.column,
                "problem": found.problem,
                "cells": list(found.cells),
                "nearest": found.nearest,
                "nearest_cell": found.nearest_cell,
            }
            for found in problems
        ]
        super().__init__(
            "；".join(_column_zh(found) for found in problems) + "。请更正表头后再导入。",
            "; ".join(_column_en(found) for found in problems) + ". Correct the headers and import again.",
            extra={"columns": shown},
        )


def _column_zh(found: ColumnProblem) -> str:
    if found.problem == "duplicated":
        return f"列“{found.column}”重复出现（{'、'.join(found.cells)}）"
    hint = f"（{found.nearest_cell} 的“{found.nearest}”是否就是这一列？）" if found.nearest else ""
    return f"缺少列“{found.column}”{hint}"


def _column_en(found: ColumnProblem) -> str:
    if found.problem == "duplicated":
        return f"the column {found.column} is there more than once ({', '.join(found.cells)})"
    hint = f" (is it {found.nearest} in {found.nearest_cell}?)" if found.nearest else ""
    return f"the column {found.column} is missing{hint}"

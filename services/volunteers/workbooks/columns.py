"""The columns of a workbook of hours: their headers in all the ways people write them."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ..domain.workbooks import ColumnProblem, ColumnsWrong, HeaderMissing

HEADER_ROWS = 10
MOST_COLUMNS = 200


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its key in the code, its header in the template, and what else people call it."""

    key: str
    header: str
    variants: tuple[str, ...]
    required: bool
    width: int
    example: str
    help: str


COLUMNS = (
    Column(
        "name", "姓名", ("志愿者姓名", "志愿者", "名字"), True, 14, "示例（导入时跳过本行）",
        "与志愿者登记的姓名一致。",
    ),
    Column(
        "id_number", "身份证号",
        ("身份证号码", "身份证", "证件号", "证件号码", "身份证件号码", "公民身份号码", "居民身份证号码"),
        False, 22, "440700200002300000",
        "18 位，按文本填写（本列已设为文本格式）。与“志愿者编号”至少填一项。",
    ),
    Column(
        "volunteer", "志愿者编号", ("志愿者号", "志愿者ID", "义工编号", "义工号"), False, 18, "",
        "登记志愿者时系统给出的编号（V 开头）。填了身份证号可不填。",
    ),
    Column(
        "activity", "活动编号", ("活动ID", "活动号", "活动代码", "项目编号"), True, 20, "HD-2020-0001",
        "登记活动时给出的编号，如 HD-2020-0001。",
    ),
    Column(
        "served_on", "服务日期", ("日期", "活动日期", "志愿服务日期"), True, 14, "2020-03-05",
        "日期格式，或 2020-03-05、2020/3/5、2020年3月5日。",
    ),
    Column(
        "starts", "开始时间", ("开始", "起始时间", "服务开始时间", "签到时间", "开始服务时间"), True, 12, "9:00",
        "24 小时制，如 9:00。",
    ),
    Column(
        "ends", "结束时间", ("结束", "终止时间", "服务结束时间", "签退时间", "结束服务时间"), True, 12, "11:00",
        "24 小时制，如 11:00；应晚于开始时间，跨过零点的服务拆成两行。",
    ),
    Column(
        "minutes", "服务分钟",
        ("服务分钟数", "分钟", "分钟数", "时长(分钟)", "服务时长(分钟)", "服务时间(分钟)", "时数(分钟)"),
        False, 12, "120",
        "整数分钟；不填按起止时间计算；扣除休息的，填实际分钟数。",
    ),
    Column("note", "备注", ("说明", "附注"), False, 24, "", "只留在您自己的文件里，不会导入。"),
)  # fmt: skip
BY_KEY = {column.key: column for column in COLUMNS}
#: One of these two says whose hours a row holds.
PERSON = ("id_number", "volunteer")
#: What the reader of the file gets back beside each row.
RESULT_HEADER = "导入结果"
_IGNORED = {"序号", "编号", "no", "no.", RESULT_HEADER}
_MARKS = re.compile(r"[\s*＊※★:\u200b\ufeff]+")
_ASIDE = re.compile(r"\((?:必填|选填|可选|必填项|选填项|文本|文本格式)\)")
_BRACKETS = re.compile(r"\([^()]*\)")


def normalise_header(text: str) -> str:
    """Return a header without stars, spaces, remarks such as （必填） and differences of width."""
    return _ASIDE.sub("", _MARKS.sub("", unicodedata.normalize("NFKC", text))).lower()


_KNOWN = {normalise_header(name): column.key for column in COLUMNS for name in (column.header, *column.variants)}


def column_of(header: str) -> str | None:
    """Return the key of the column that a header means; a remark in brackets is tried away last."""
    name = normalise_header(header)
    return _KNOWN.get(name) or _KNOWN.get(_BRACKETS.sub("", name))


@dataclass(frozen=True, slots=True)
class Header:
    """A header row: its place (0-based), the place of each known column, and headers that mean nothing here."""

    row: int
    places: dict[str, int]
    ignored: dict[int, str]


def cell_name(row: int, column: int) -> str:
    """Return the name of a cell from its 0-based place: (6, 2) is C7."""
    return f"{letters(column)}{row + 1}"


def letters(column: int) -> str:
    """Return the letters of a column from its 0-based place: 0 is A, 26 is AA."""
    text = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        text = chr(65 + rest) + text
    return text


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that may be the header row, with what keeps it from being one."""

    header: Header
    problems: tuple[ColumnProblem, ...]


def examine(cells: Sequence[str], row: int) -> Candidate:
    """Look at the texts of a row as if they were headers."""
    found: dict[str, list[int]] = {}
    unknown: dict[int, str] = {}
    for place, text in enumerate(cells):
        if not text.strip():
            continue
        if key := column_of(text):
            found.setdefault(key, []).append(place)
        elif normalise_header(text) not in _IGNORED:
            unknown[place] = " ".join(text.split())[:40]
    problems = [
        ColumnProblem(BY_KEY[key].header, "duplicated", tuple(cell_name(row, place) for place in places))
        for key, places in found.items()
        if len(places) > 1 and key != "note"
    ]
    wanted = [column.key for column in COLUMNS if column.required and column.key not in found]
    if not any(key in found for key in PERSON):
        wanted.append("id_number")
    problems += [_missing(key, unknown, row) for key in wanted]
    return Candidate(Header(row, {key: places[0] for key, places in found.items()}, unknown), tuple(problems))


def _missing(key: str, unknown: dict[int, str], row: int) -> ColumnProblem:
    """Name a missing column and the unused header that is most like it."""
    column = BY_KEY[key]
    scores = {
        place: max(
            difflib.SequenceMatcher(None, normalise_header(text), normalise_header(name)).ratio()
            for name in (column.header, *column.variants)
        )
        for place, text in unknown.items()
    }
    best = max(scores, key=lambda place: scores[place], default=None)
    if best is None or scores[best] < 0.5:
        return ColumnProblem(column.header, "missing")
    return ColumnProblem(column.header, "missing", nearest=unknown[best], nearest_cell=cell_name(row, best))


def nearest_problem(candidates: Sequence[Candidate]) -> HeaderMissing | ColumnsWrong:
    """Return what to tell the user when no row is a complete header row."""
    nearest = max(candidates, key=lambda candidate: len(candidate.header.places), default=None)
    # One word alone may stand anywhere in a title; two of ours in one row are meant as headers.
    if nearest is None or len(nearest.header.places) < 2:
        return HeaderMissing([column.header for column in COLUMNS if column.required or column.key in PERSON])
    return ColumnsWrong(nearest.problems)

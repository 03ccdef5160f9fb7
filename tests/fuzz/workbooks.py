"""Workbooks for the route that takes them: sound ones, ones with odd cells, cut off ones, and no workbooks at all."""

from typing import Any

import schemathesis
from hypothesis import strategies as st

from services.volunteers.imports_service import XLSX
from services.volunteers.workbooks import HoursRow, workbook_of
from tests.support.hours import id_number

_CELLS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=30),
    st.dates().map(str),
    st.times().map(str),
    st.sampled_from(["2026-01-05", "2026/1/5", "09:00", "9点", "=1+1", "#N/A", "", " ", "4.40781E+17", "测试员甲"]),
)
_ROWS = st.builds(
    HoursRow,
    name=_CELLS,
    id_number=st.one_of(_CELLS, st.builds(id_number), st.floats(allow_nan=False, allow_infinity=False)),
    volunteer=_CELLS,
    activity=st.one_of(_CELLS, st.sampled_from(["HD-2026-0001", "HD-2025-0001"])),
    served_on=st.one_of(_CELLS, st.dates()),
    starts=st.one_of(_CELLS, st.times().map(lambda one: one.replace(microsecond=0))),
    ends=st.one_of(_CELLS, st.times().map(lambda one: one.replace(microsecond=0))),
    minutes=st.one_of(st.none(), _CELLS, st.integers(-(10**6), 10**6)),
    note=_CELLS,
)
_WORKBOOKS = st.lists(_ROWS, min_size=1, max_size=4).map(workbook_of)
_BODIES = st.one_of(
    _WORKBOOKS,
    _WORKBOOKS,
    st.tuples(_WORKBOOKS, st.integers(1, 4000)).map(lambda pair: pair[0][: pair[1]]),
    st.binary(max_size=200),
    st.binary(max_size=200).map(lambda data: b"PK\x03\x04" + data),
)

schemathesis.openapi.media_type(XLSX, _BODIES)


@schemathesis.serializer(XLSX)
def as_it_is(_context: Any, value: Any) -> Any:
    """Send the bytes of a workbook as they are, and anything else as its text."""
    return value if isinstance(value, bytes) else str(value).encode()

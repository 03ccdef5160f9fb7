"""Columns of a batch reach the database byte for byte as psycopg would write them, whatever they hold."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from psycopg import DataError
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.array import ListBinaryDumper

from xinhuo.chassis.arrays import ColumnDumper

BEIJING = timezone(timedelta(hours=8))
COLUMNS = {
    "uuids": [UUID(int=0), UUID(int=2**128 - 1), UUID("0195630c-a000-7abc-8def-0123456789ab")],
    "texts": ["", "薪火相传", "a" * 70_000, "tab\tand\nline", "\U0001f525"],
    "bytes": [b"", b"\x00\xff", b"x" * 70_000],
    "truth": [True, False, True],
    "dates": [date(2000, 1, 1), date(1999, 12, 31), date(1900, 2, 28), date.max, date.min],
    "instants": [
        datetime(2000, 1, 1, tzinfo=UTC),
        datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 3, 5, 9, 30, tzinfo=BEIJING),
        datetime(9999, 12, 30, tzinfo=UTC),
    ],
    "small numbers": [0, -1, 32_767, -32_768],
    "numbers": [0, 2**31 - 1, -(2**31)],
    "large numbers": [0, 2**63 - 1, -(2**63)],
    "one": [7],
    "one id": [UUID(int=7)],
}
OTHERS = {
    "with nothing among them": [1, None, 3],
    "nothing but nothing": [None, None],
    "empty": [],
    "lists of lists": [[1, 2], [3, 4]],
    "numbers too large for eight bytes": [2**70, 1],
    "decimals": [Decimal("1.50"), Decimal("-3")],
    "instants without a zone": [datetime(2026, 3, 5), datetime(2026, 3, 6)],
}


def dumped(dumper_class, values):
    transformer = Transformer()
    transformer.adapters.register_dumper(list, dumper_class)
    dumper = transformer.get_dumper(values, PyFormat.BINARY)
    return type(dumper), dumper.oid, bytes(dumper.dump(values))


@pytest.mark.parametrize("values", COLUMNS.values(), ids=COLUMNS.keys())
def test_a_column_of_one_type_is_written_as_psycopg_writes_it(values):
    kind, oid, written = dumped(ColumnDumper, values)

    assert kind is ColumnDumper
    assert (oid, written) == dumped(ListBinaryDumper, values)[1:]


@pytest.mark.parametrize("values", OTHERS.values(), ids=OTHERS.keys())
def test_everything_else_is_left_to_psycopg(values):
    assert dumped(ColumnDumper, values)[1:] == dumped(ListBinaryDumper, values)[1:]


@pytest.mark.parametrize("mixed", [["text", 5], [1, True], [True, 1]])
def test_a_column_of_two_types_is_refused(mixed):
    with pytest.raises(DataError):
        dumped(ColumnDumper, mixed)

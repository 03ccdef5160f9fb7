"""Lists as binary arrays, with less looking at every item than psycopg's own.

A batch of 500 records goes to the database in some fifty columns. psycopg looks through each of them three times to
find its type, and calls a method for every item; of ids, days and truth values, which most columns are, both can be had
for a half of the time, and a list of one costs a third less.
"""

from collections.abc import Callable
from datetime import date
from struct import Struct, pack
from types import NoneType
from typing import Any
from uuid import UUID

from psycopg.abc import Buffer, DumperKey
from psycopg.adapt import PyFormat
from psycopg.postgres import types
from psycopg.types.array import BaseListDumper, ListBinaryDumper

_HEAD = Struct("!IiIII")
_FIRST_DAY = date(2000, 1, 1).toordinal()
_BOOLEANS = {True: b"\x00\x00\x00\x01\x01", False: b"\x00\x00\x00\x01\x00"}
#: Types whose items go into one type of column, whatever their values are.
_ELEMENTS = {
    kind: types[name] for kind, name in {UUID: "uuid", str: "text", bytes: "bytea", bool: "bool", date: "date"}.items()
}


def _uuids(items: list[UUID]) -> bytes:
    return b"".join([b"\x00\x00\x00\x10" + item.int.to_bytes(16, "big") for item in items])


def _booleans(items: list[bool]) -> bytes:
    return b"".join([_BOOLEANS[item] for item in items])


def _dates(items: list[date]) -> bytes:
    mixed = [4] * (2 * len(items))
    mixed[1::2] = [item.toordinal() - _FIRST_DAY for item in items]
    return pack(f"!{len(mixed)}i", *mixed)


_AT_ONCE: dict[type, Callable[[Any], bytes]] = {UUID: _uuids, bool: _booleans, date: _dates}


class ColumnDumper(ListBinaryDumper):
    """Writes a list whose items are of one type as a column, any other as psycopg does."""

    def get_key(self, obj: list[Any], format: PyFormat) -> DumperKey:
        """Return what lists of this type share."""
        if obj and (kind := type(obj[0])) in _ELEMENTS:
            return (self.cls, kind)
        return super().get_key(obj, format)

    def upgrade(self, obj: list[Any], format: PyFormat) -> BaseListDumper:
        """Return the dumper for lists of this type."""
        if not obj or (kind := type(obj[0])) not in _ELEMENTS:
            return super().upgrade(obj, format)
        dumper = type(self)(self.cls, self._tx)
        dumper.sub_dumper = self._tx.get_dumper(obj[0], PyFormat.BINARY)
        dumper.oid = _ELEMENTS[kind].array_oid
        return dumper

    def dump(self, obj: list[Any]) -> Buffer | None:
        """Return the array as PostgreSQL takes it; raises DataError for items that do not go together."""
        if obj and (kind := type(obj[0])) in _ELEMENTS:
            kinds = set(map(type, obj))
            if kinds == {kind} and kind in _AT_ONCE:
                return _HEAD.pack(1, 0, _ELEMENTS[kind].oid, len(obj), 1) + _AT_ONCE[kind](obj)
            if not kinds <= {kind, NoneType}:
                self._find_list_element(obj, PyFormat.BINARY)
        return super().dump(obj)

"""A validator for the part of JSON Schema that the generated schemas use; it refuses words it does not know."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any
from uuid import UUID

_TYPES = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
    "boolean": bool, "null": type(None),
}  # fmt: skip
_FORMATS = {"uuid": UUID, "date": date.fromisoformat}
_SAYS_NOTHING = {"$schema", "$id", "$defs", "title", "description", "default", "x-internal"}


def violations(value: Any, schema: dict[str, Any], at: str = "", root: dict[str, Any] | None = None) -> Iterator[str]:
    """Yield what in a value breaks the schema, each with its place."""
    root = schema if root is None or "$id" in schema else root
    for word, wanted in schema.items():
        if word in _SAYS_NOTHING:
            continue
        check = _CHECKS.get(word)
        if check is None:
            raise NotImplementedError(f"{at or '/'}: the schema word {word}")
        if isinstance(value, _APPLIES_TO.get(word, object)):
            yield from check(value, wanted, schema, at, root)


#: Words that say nothing about a value of another type.
_APPLIES_TO = {
    "format": str, "required": dict, "properties": dict, "additionalProperties": dict, "items": list,
}  # fmt: skip


def _type(value, wanted, schema, at, root):
    is_boolean = isinstance(value, bool) and wanted != "boolean"
    if is_boolean or not isinstance(value, _TYPES[wanted]):
        yield f"{at}: not of type {wanted}"


def _format(value, wanted, schema, at, root):
    try:
        if wanted == "date-time":
            if datetime.fromisoformat(value).tzinfo is None:
                raise ValueError
        else:
            _FORMATS[wanted](value)
    except ValueError:
        yield f"{at}: no {wanted}"


def _const(value, wanted, schema, at, root):
    if value != wanted:
        yield f"{at}: not {wanted!r}"


def _required(value, wanted, schema, at, root):
    for name in wanted:
        if name not in value:
            yield f"{at}/{name}: missing"


def _properties(value, wanted, schema, at, root):
    for name, part in wanted.items():
        if name in value:
            yield from violations(value[name], part, f"{at}/{name}", root)


def _additional(value, wanted, schema, at, root):
    assert wanted is False
    for name in value.keys() - schema["properties"].keys():
        yield f"{at}/{name}: not allowed"


def _items(value, wanted, schema, at, root):
    for index, item in enumerate(value):
        yield from violations(item, wanted, f"{at}/{index}", root)


def _any_of(value, wanted, schema, at, root):
    if all(list(violations(value, part, at, root)) for part in wanted):
        yield f"{at}: none of the alternatives"


def _ref(value, wanted, schema, at, root):
    part = root
    for step in wanted.removeprefix("#/").split("/"):
        part = part[step]
    yield from violations(value, part, at, root)


_CHECKS = {
    "type": _type, "format": _format, "const": _const, "required": _required, "properties": _properties,
    "additionalProperties": _additional, "items": _items, "anyOf": _any_of, "$ref": _ref,
}  # fmt: skip

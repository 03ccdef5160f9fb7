"""Marshmallow at the boundary: strict schemas whose messages a person can use, in Chinese and English.

Messages of fields are written ``code|Chinese|English``; ``problems`` turns marshmallow's nested answer into a
flat list with JSON pointers.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import marshmallow as ma
from marshmallow import fields as mf

from ..errors import Problem, RuleError
from .names import repeatable

OFFICE_ZONE = ZoneInfo("Asia/Shanghai")

_COMMON = {
    "required": "field.required|必填|This field is required.",
    "null": "field.null|不能为 null，请填写或去掉该字段|This field may not be null; fill it or leave it out.",
}


class Schema(ma.Schema):
    """Base of all schemas: unknown fields are refused by name."""

    error_messages = {  # noqa: RUF012  (marshmallow's own form)
        "unknown": "field.unknown|没有这个字段|There is no such field.",
        "type": "field.wrong_type|应为 JSON 对象|This must be a JSON object.",
    }

    class Meta:
        """Refuse what is not declared."""

        unknown = ma.RAISE


#: Control, zero-width, direction-changing and tag characters, fillers, soft hyphens, halves of surrogate pairs,
#: and what is no character at all, which XML, and so a workbook, cannot hold.
_INVISIBLE = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180e\\u200b-\\u200f\\u2028-\\u202e"
    "\\u2060-\\u206f\\u3164\\ud800-\\udfff\\ufdd0-\\ufdef\\ufeff\\uffa0\\ufff9-\\ufffb\\U000e0000-\\U000e007f"
    + "".join(f"\\U{plane:04x}fffe\\U{plane:04x}ffff" for plane in range(17))
    + "]"
)
_INVISIBLE_IN_LINES = re.compile(_INVISIBLE.pattern.replace("\\x00-\\x1f", "\\x00-\\x08\\x0b-\\x1f"))

#: Full-width forms of ASCII, as Chinese input methods write them, to ASCII.
_HALF_WIDTH = {0xFEE0 + code: code for code in range(0x21, 0x7F)} | {0x3000: 0x20}

#: Years beyond these are typing mistakes, and the last ones of the calendar cannot be reckoned with.
_YEARS = range(1900, 3000)


def half_width(value: Any) -> Any:
    """Return text with full-width digits, letters and signs as ASCII; anything else as it is."""
    return value.translate(_HALF_WIDTH) if isinstance(value, str) else value


def _in_years(value: Any) -> Any:
    if value.year not in _YEARS:
        span = f"{_YEARS.start}–{_YEARS.stop - 1}"
        raise ma.ValidationError(f"field.out_of_range|年份应在 {span} 之间|The year must be within {span}.")
    return value


class Text(mf.String):
    """Text of bounded length without control, zero-width or direction-changing characters; trimmed.

    It is one line, unless ``lines`` allows line breaks and tabs. What is trimmed counts for the greatest length, so
    that the bound published in the OpenAPI document is the one that holds.
    """

    default_error_messages = {  # noqa: RUF012
        **_COMMON,
        "invalid": "field.wrong_type|应为文字|This must be text.",
        "invalid_utf8": "field.wrong_type|应为文字|This must be text.",
    }

    def __init__(self, *, max: int = 200, min: int = 1, lines: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._min, self._max, self._lines = min, max, lines

    @property
    def bounds(self) -> dict[str, Any]:
        """Return the bounds in the words of JSON Schema."""
        return {"minLength": self._min, "maxLength": self._max}

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        given = str(super()._deserialize(value, attr, data, **kwargs))
        text = given.strip()
        if self._lines:
            text = text.replace("\r\n", "\n")
        if found := (_INVISIBLE_IN_LINES if self._lines else _INVISIBLE).search(text):
            number = f"U+{ord(found[0]):04X}"
            raise ma.ValidationError(
                f"text.invisible|含有不可见字符 {number}，请删除|It holds the invisible character {number}; remove it."
            )
        if len(text) < self._min or len(given) > self._max:
            raise ma.ValidationError(
                f"text.length|长度应为 {self._min} 至 {self._max} 字；首尾空格会去掉，但计入上限|"
                f"The length must be {self._min} to {self._max}; spaces around it are removed, but count for the most."
            )
        return text


class Code(Text):
    """A code: letters, digits, hyphen and underscore; full-width ones are read as ASCII."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(half_width(value), attr, data, **kwargs)
        if not all(character.isascii() and (character.isalnum() or character in "-_") for character in text):
            raise ma.ValidationError("code.malformed|只能用字母、数字、- 和 _|Use letters, digits, - and _ only.")
        return text

    def __init__(self, *, max: int = 40, **options: Any) -> None:
        super().__init__(max=max, **options)


class Integer(mf.Integer):
    """A whole number between bounds, those of four bytes if none are given; 12.5, "3" and true are refused."""

    default_error_messages = {  # noqa: RUF012
        **_COMMON,
        "invalid": "field.not_integer|应为整数|This must be a whole number.",
        "too_large": "field.out_of_range|数字过大|The number is too large.",
    }

    def __init__(self, *, min: int = -(2**31), max: int = 2**31 - 1, **options: Any) -> None:
        options.setdefault("strict", True)
        super().__init__(**options)
        self._min, self._max = min, max

    @property
    def bounds(self) -> dict[str, Any]:
        """Return the bounds in the words of JSON Schema."""
        return {"minimum": self._min, "maximum": self._max}

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, bool | str):
            raise self.make_error("invalid", input=value)
        return self._in_range(super()._deserialize(value, attr, data, **kwargs))

    def _in_range(self, number: Any) -> Any:
        if not self._min <= number <= self._max:
            span = f"{self._min}–{self._max}"
            raise ma.ValidationError(f"field.out_of_range|应在 {span} 之间|It must be within {span}.")
        return number


class QueryInteger(Integer):
    """A whole number written in a query string, full-width digits included."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        text = half_width(value)
        if not (isinstance(text, str) and re.fullmatch(r"-?[0-9]{1,18}", text)):
            raise self.make_error("invalid", input=value)
        return self._in_range(int(text))


class Uuid(mf.UUID):
    """A UUID."""

    default_error_messages = {  # noqa: RUF012
        **_COMMON,
        "invalid_uuid": "field.not_uuid|应为 UUID|This must be a UUID.",
    }


class Date(mf.Date):
    """A calendar date, YYYY-MM-DD, from 1900 to 2999; full-width digits are read as ASCII."""

    default_error_messages = {  # noqa: RUF012
        **_COMMON,
        "invalid": "field.not_date|应为存在的日期，如 2026-03-05|This must be a date that exists, like 2026-03-05.",
        "format": "field.not_date|应为日期，如 2026-03-05|This must be a date like 2026-03-05.",
    }

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        text = half_width(value)
        if not (isinstance(text, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text)):
            raise self.make_error("invalid", input=value, obj_type="date")
        return _in_years(super()._deserialize(text, attr, data, **kwargs))


class Month(Text):
    """A month, YYYY-MM, from 1900 to 2999, loaded as its first day; full-width digits are read as ASCII."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(half_width(value), attr, data, **kwargs)
        try:
            return _in_years(datetime.strptime(text, "%Y-%m").date())
        except ValueError:
            raise ma.ValidationError(
                "field.not_month|应为月份，如 2026-03|This must be a month like 2026-03."
            ) from None

    def _serialize(self, value: Any, attr: Any, obj: Any, **kwargs: Any) -> Any:
        return None if value is None else f"{value:%Y-%m}"


_NOT_INSTANT = (
    "field.not_instant|应为时间，如 2026-03-05T09:00:00+08:00|This must be a time like 2026-03-05T09:00:00+08:00."
)


class Instant(mf.DateTime):
    """An instant in ISO 8601, from 1900 to 2999, loaded and dumped in UTC; one without a zone is Asia/Shanghai's."""

    default_error_messages = {  # noqa: RUF012
        **_COMMON,
        "invalid": _NOT_INSTANT,
        "format": _NOT_INSTANT,
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(format="iso", **options)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str) or "T" not in value:
            raise self.make_error("invalid", input=value, obj_type="datetime")
        instant: datetime = super()._deserialize(value, attr, data, **kwargs)
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=OFFICE_ZONE)
        return _in_years(instant).astimezone(UTC)

    def _serialize(self, value: Any, attr: Any, obj: Any, **kwargs: Any) -> Any:
        return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Boolean(mf.Boolean):
    """True or false."""

    default_error_messages = {  # noqa: RUF012
        **_COMMON,
        "invalid": "field.not_boolean|应为 true 或 false|This must be true or false.",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(truthy={True, "true"}, falsy={False, "false"}, **options)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool | str):  # 1 equals True
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class Choice(mf.String):
    """One word of a closed list."""

    default_error_messages = {**_COMMON, "invalid": "field.wrong_type|应为文字|This must be text."}  # noqa: RUF012

    def __init__(self, words: Any, **options: Any) -> None:
        self.words = tuple(words)
        super().__init__(metadata={"enum": list(self.words)}, **options)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        if text not in self.words:
            listed = "、".join(self.words)
            raise ma.ValidationError(
                f"field.not_listed|应为其中之一：{listed}|It must be one of: {', '.join(self.words)}."
            )
        return text


class Nested(mf.Nested):
    """An object of another schema."""

    default_error_messages = {  # noqa: RUF012
        **_COMMON,
        "type": "field.wrong_type|应为 JSON 对象|This must be a JSON object.",
    }


class ListOf(mf.List[Any]):
    """A list of bounded length."""

    default_error_messages = {**_COMMON, "invalid": "field.not_list|应为列表|This must be a list."}  # noqa: RUF012

    def __init__(self, inner: Any, *, min: int = 0, max: int = 1000, **options: Any) -> None:
        super().__init__(inner, **options)
        self._min, self._max = min, max

    @property
    def bounds(self) -> dict[str, Any]:
        """Return the bounds in the words of JSON Schema."""
        return {"minItems": self._min, "maxItems": self._max}

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, list) and not self._min <= len(value) <= self._max:
            raise ma.ValidationError(
                f"list.length|应有 {self._min} 至 {self._max} 项|It must have {self._min} to {self._max} items."
            )
        return super()._deserialize(value, attr, data, **kwargs)


class Page(Schema):
    """The query parameters of every list: ``limit`` up to 200, ``after`` from the answer before."""

    limit = QueryInteger(min=1, max=200, load_default=50)
    after = Text(max=500, load_default=None)


def by_rule(check: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Return a marshmallow validator that asks a rule of the domain, which raises a RuleError."""

    def validate(value: Any) -> None:
        try:
            check(value)
        except RuleError as error:
            raise ma.ValidationError([error]) from None

    return validate


def problems(error: ma.ValidationError, schema: ma.Schema) -> list[Problem]:
    """Return marshmallow's nested messages as a flat list, unknown fields with the nearest known name."""
    return list(_flatten(error.messages, "", schema))


def _flatten(messages: Any, pointer: str, schema: ma.Schema | None) -> Iterator[Problem]:
    if isinstance(messages, Mapping):
        for key, inner in messages.items():
            name = str(key)
            if name == "_schema":
                yield from _flatten(inner, pointer, schema)
                continue
            shown = name if isinstance(key, int) else repeatable(name)
            escaped = shown.replace("~", "~0").replace("/", "~1")
            below = schema if isinstance(key, int) else _schema_below(schema, name)
            for problem in _flatten(inner, f"{pointer}/{escaped}", below):
                if problem.code == "field.unknown" and schema is not None and problem.pointer == f"{pointer}/{escaped}":
                    yield _with_nearest(problem, name, schema)
                else:
                    yield problem
        return
    for message in messages if isinstance(messages, list) else [messages]:
        if isinstance(message, RuleError):
            yield Problem(pointer, message.code, message.zh, message.en)
        elif isinstance(message, Mapping):
            yield from _flatten(message, pointer, schema)
        else:
            code, _, texts = str(message).partition("|")
            zh, _, en = texts.partition("|")
            yield (
                Problem(pointer, code, zh, en) if en else Problem(pointer, "field.invalid", "内容有误", str(message))
            )


def _schema_below(schema: ma.Schema | None, name: str) -> ma.Schema | None:
    field = schema.fields.get(name) if schema is not None else None
    if isinstance(field, mf.List):
        field = field.inner
    return field.schema if isinstance(field, mf.Nested) else None


def _with_nearest(problem: Problem, name: str, schema: ma.Schema) -> Problem:
    known = [field.data_key or of for of, field in schema.load_fields.items()]
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not nearest:
        return problem
    return Problem(
        problem.pointer,
        problem.code,
        f"没有这个字段，是否指 {nearest[0]}？",
        f"There is no such field; did you mean `{nearest[0]}`?",
    )

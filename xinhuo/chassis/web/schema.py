"""Marshmallow at the boundary: strict schemas whose messages a person can use, in Chinese and English.

Messages of fields are written ``code|Chinese|English``; ``problems`` turns marshmallow's nested answer into a
flat list with JSON pointers.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import marshmallow as ma
from marshmallow import fields as mf

from ..errors import Problem, RuleError

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


def _check_text(value: str) -> str:
    for character in value:
        if (
            ord(character) < 32 and character not in "\n\t"
        ) or character in "\u200b\u200c\u200d\u2060\ufeff\u202d\u202e":
            raise ma.ValidationError(
                f"text.invisible|含有不可见字符 U+{ord(character):04X}，请删除"
                f"|It holds the invisible character U+{ord(character):04X}; remove it."
            )
    return value


class Text(mf.String):
    """Text of bounded length without control, zero-width or direction-changing characters; trimmed."""

    default_error_messages = {  # noqa: RUF012
        **_COMMON,
        "invalid": "field.wrong_type|应为文字|This must be text.",
        "invalid_utf8": "field.wrong_type|应为文字|This must be text.",
    }

    def __init__(self, *, max: int = 200, min: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self._min, self._max = min, max

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        text = _check_text(str(super()._deserialize(value, attr, data, **kwargs)).strip())
        if not self._min <= len(text) <= self._max:
            raise ma.ValidationError(
                f"text.length|长度应为 {self._min} 至 {self._max} 字|The length must be {self._min} to {self._max}."
            )
        return text


class Code(Text):
    """A code: letters, digits, hyphen and underscore."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        if not all(character.isascii() and (character.isalnum() or character in "-_") for character in text):
            raise ma.ValidationError("code.malformed|只能用字母、数字、- 和 _|Use letters, digits, - and _ only.")
        return text

    def __init__(self, *, max: int = 40, **options: Any) -> None:
        super().__init__(max=max, **options)


class Integer(mf.Integer):
    """A whole number between bounds; 12.5, "3" and true are refused."""

    default_error_messages = {  # noqa: RUF012
        **_COMMON,
        "invalid": "field.not_integer|应为整数|This must be a whole number.",
        "too_large": "field.out_of_range|数字过大|The number is too large.",
    }

    def __init__(self, *, min: int | None = None, max: int | None = None, **options: Any) -> None:
        options.setdefault("strict", True)
        super().__init__(**options)
        self._min, self._max = min, max

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, bool | str):
            raise self.make_error("invalid", input=value)
        return self._in_range(super()._deserialize(value, attr, data, **kwargs))

    def _in_range(self, number: Any) -> Any:
        low, high = self._min, self._max
        if (low is not None and number < low) or (high is not None and number > high):
            span = f"{'' if low is None else low}–{'' if high is None else high}"
            raise ma.ValidationError(f"field.out_of_range|应在 {span} 之间|It must be within {span}.")
        return number


class QueryInteger(Integer):
    """A whole number written in a query string."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not (
            isinstance(value, str) and value.lstrip("-").isascii() and value.lstrip("-").isdigit() and len(value) < 19
        ):
            raise self.make_error("invalid", input=value)
        return self._in_range(int(value))


class Uuid(mf.UUID):
    """A UUID."""

    default_error_messages = {  # noqa: RUF012
        **_COMMON,
        "invalid_uuid": "field.not_uuid|应为 UUID|This must be a UUID.",
    }


class Date(mf.Date):
    """A calendar date, YYYY-MM-DD."""

    default_error_messages = {  # noqa: RUF012
        **_COMMON,
        "invalid": "field.not_date|应为存在的日期，如 2026-03-05|This must be a date that exists, like 2026-03-05.",
        "format": "field.not_date|应为日期，如 2026-03-05|This must be a date like 2026-03-05.",
    }


class Month(Text):
    """A month, YYYY-MM, loaded as its first day."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            return datetime.strptime(text, "%Y-%m").date()
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
    """An instant in ISO 8601; one without a zone is read as Asia/Shanghai; loaded and dumped in UTC."""

    default_error_messages = {  # noqa: RUF012
        **_COMMON,
        "invalid": _NOT_INSTANT,
        "format": _NOT_INSTANT,
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(format="iso", **options)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str) or "T" not in value.upper():
            raise self.make_error("invalid", input=value, obj_type="datetime")
        instant: datetime = super()._deserialize(value, attr, data, **kwargs)
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=OFFICE_ZONE)
        try:
            return instant.astimezone(UTC)
        except OverflowError:
            raise self.make_error("invalid", input=value, obj_type="datetime") from None

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
            escaped = name.replace("~", "~0").replace("/", "~1")
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
    nearest = difflib.get_close_matches(name, list(schema.load_fields), n=1, cutoff=0.5)
    if not nearest:
        return problem
    return Problem(
        problem.pointer,
        problem.code,
        f"没有这个字段，是否指 {nearest[0]}？",
        f"There is no such field; did you mean `{nearest[0]}`?",
    )

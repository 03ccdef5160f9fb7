"""Errors named after the rule that was broken, each with one stable code and one HTTP status.

A service subclasses ``RuleError`` or one of the bases below it and gives the class a ``code`` and a
Chinese ``title``; the first line of the docstring is the English title. Status codes are decided here and
nowhere else.

``str()``, ``repr()`` and ``args`` of a ``RuleError`` hold the code, the pointer and the fixed title only.
The texts for the user (``zh``, ``en``, ``extra``) may quote what the user typed, so they go into the answer,
never into a log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

_CODE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


class DuplicateCode(TypeError):
    """Two error classes claim one code, which would make the code useless to those who rely on it."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """What the documentation says about one error code."""

    code: str
    name: str
    """The class, as ``module.Class``."""
    status: int | None
    """The HTTP status, or None for an error that only an event can cause."""
    title: str
    title_en: str
    clause: str | None


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one field of an input."""

    pointer: str | None
    code: str
    zh: str
    en: str


_registry: dict[str, ErrorInfo] = {}


def all_codes() -> dict[str, ErrorInfo]:
    """Return every code of the modules imported so far, in alphabetical order."""
    return dict(sorted(_registry.items()))


def _register(cls: type[Any], status: int | None) -> None:
    """Enter a class that declares a code of its own; a class without one is a base for others."""
    if "code" not in vars(cls):
        return
    code: str = cls.code
    if not _CODE.fullmatch(code):
        raise TypeError(f"{cls.__qualname__}: the code {code!r} is not of the form subject.rule")
    title = vars(cls).get("title")
    if not title:
        raise TypeError(f"{cls.__qualname__}: an error with a code needs a Chinese title")
    name = f"{cls.__module__}.{cls.__qualname__}"
    # The same class again is a reloaded module (or a dataclass with slots, made twice), not a second owner.
    if code in _registry and _registry[code].name != name:
        raise DuplicateCode(f"{name}: the code {code!r} belongs to {_registry[code].name}")
    _registry[code] = ErrorInfo(code, name, status, title, _english_title(cls), getattr(cls, "clause", None))


def _english_title(cls: type[Any]) -> str:
    """Return the first line of the docstring, or the class name where ``-OO`` strips docstrings."""
    lines = (vars(cls).get("__doc__") or cls.__name__).strip().splitlines()
    return str(lines[0])


class RuleError(Exception):
    """A rule of the field was broken.

    ``zh`` and ``en`` say what is wrong and what to do; ``pointer`` is the JSON pointer of the place
    ("/minutes"); ``extra`` is added to the answer (``{"other": "<id>"}``, ``{"allowed": [...]}``,
    ``{"deadline": ...}``); ``clause`` cites the rule, by default the one of the class.
    """

    code: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[int] = 422
    clause: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Enter the subclass under its code; a code that another class has raises ``DuplicateCode``."""
        super().__init_subclass__(**kwargs)
        _register(cls, cls.status)

    def __init__(
        self,
        zh: str,
        en: str,
        *,
        pointer: str | None = None,
        extra: Mapping[str, Json] | None = None,
        clause: str | None = None,
    ) -> None:
        """Make the error; a base class without a code refuses with ``TypeError``."""
        if not hasattr(type(self), "code"):
            raise TypeError(f"{type(self).__name__} is a base class: raise an error that has a code")
        super().__init__(self.code)
        self.zh = zh
        self.en = en
        self.pointer = pointer
        self.extra: dict[str, Json] = dict(extra or {})
        if clause is not None:
            self.clause = clause

    @property
    def problems(self) -> list[Problem]:
        """The problems with fields: one for an error that knows its place, none for an error about state."""
        if self.pointer is None:
            return []
        return [Problem(self.pointer, self.code, self.zh, self.en)]

    def at(self, pointer: str) -> RuleError:
        """Set where in the input the error is, and return the error itself."""
        self.pointer = pointer
        return self

    def __str__(self) -> str:
        """Return code, place and fixed title, never what the user typed."""
        place = f" at {self.pointer}" if self.pointer is not None else ""
        return f"{self.code}{place}: {_english_title(type(self))}"

    def __repr__(self) -> str:
        """Return the class and the text of ``str``, never what the user typed."""
        return f"<{type(self).__name__} {self}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error cross a process boundary whatever the arguments of the subclass are."""
        return _rebuilt, (type(self), self.__dict__.copy(), self.args)


def _rebuilt(cls: type[RuleError], state: dict[str, Any], args: tuple[Any, ...]) -> RuleError:
    """Return an unpickled error without calling its initialiser."""
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class BadRequest(RuleError):
    """The request cannot be understood (400)."""

    status = 400


class NotFound(RuleError):
    """What the request names does not exist for this caller (404)."""

    status = 404


class Conflict(RuleError):
    """The input is sound, but not in the present state of things (409)."""

    status = 409


class PreconditionFailed(RuleError):
    """Somebody changed the object since the caller read it (412)."""

    status = 412


class ChangedMeanwhile(PreconditionFailed):
    """If-Match does not name the present state of the object."""

    code = "precondition.stale"
    title = "内容已被他人修改"

    def __init__(self, revision: int) -> None:
        """Name the present revision, which is also the ETag."""
        super().__init__(
            f"该内容已被修改（当前版本 {revision}），请重新读取、核对后再提交。",
            f"This was changed in the meantime (revision {revision} now); read it again before you change it.",
            extra={"revision": revision},
        )


def check_revision(revision: int, if_match: str) -> None:
    """Raise ``ChangedMeanwhile`` unless ``if_match`` is the present revision, or ``*`` for any."""
    if if_match not in ("*", str(revision)):
        raise ChangedMeanwhile(revision)


class TooLarge(RuleError):
    """The body or file is larger than this route takes (413)."""

    status = 413


class UnsupportedMediaType(RuleError):
    """The body is not of a type this route takes (415)."""

    status = 415


class Unavailable(RuleError):
    """Something the service needs is away; the same request may succeed later (503)."""

    status = 503


class InvalidInput(RuleError):
    """Several fields of an input are wrong at once."""

    code = "input.invalid"
    title = "输入有误"

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Make one error of the given problems."""
        self._problems = list(problems)
        count = len(self._problems)
        super().__init__(
            f"输入有 {count} 处错误，请按 errors 逐项更正后重新提交。",
            f"The input has {count} problem(s); correct each one listed in errors and send it again.",
        )

    @classmethod
    def of(cls, errors: Iterable[RuleError]) -> InvalidInput:
        """Return one error for all the given ones, an error without a place included."""
        return cls(Problem(error.pointer, error.code, error.zh, error.en) for error in errors)

    @property
    def problems(self) -> list[Problem]:
        """All the problems, in the order they were found."""
        return list(self._problems)


class PermanentEventError(Exception):
    """An event that no retry can make right: it goes straight to the dead letters under its code.

    Subclasses set ``code`` and ``title``. ``reason`` is one English sentence for the dead-letter table; it
    holds ids and numbers only, never personal data.
    """

    code: ClassVar[str]
    title: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Enter the subclass under its code; a code that another class has raises ``DuplicateCode``."""
        super().__init_subclass__(**kwargs)
        _register(cls, None)

    def __init__(self, reason: str) -> None:
        """Make the error; a base class without a code refuses with ``TypeError``."""
        if not hasattr(type(self), "code"):
            raise TypeError(f"{type(self).__name__} is a base class: raise an error that has a code")
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        """Return the code and the reason."""
        return f"{self.code}: {self.reason}"


class RetryEventLater(Exception):
    """An event that came too early, for example before the one it corrects: park it and try again.

    ``delay_seconds`` asks for a wait of that length; None leaves the wait to the ladder. A handler that
    still asks after the last step of the ladder sends the event to the dead letters.
    """

    def __init__(self, reason: str, *, delay_seconds: float | None = None) -> None:
        """Make the request; a negative wait refuses with ``ValueError``."""
        if delay_seconds is not None and delay_seconds < 0:
            raise ValueError(f"delay_seconds is {delay_seconds}, it cannot be negative")
        super().__init__(reason)
        self.reason = reason
        self.delay_seconds = delay_seconds

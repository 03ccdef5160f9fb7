"""Texts in Chinese from versioned templates; a text holds no personal data and says 您, never a name.

The first line of a template is ``{# version: 1; title: … #}``. Whoever changes the words of a template counts
its version up: a message keeps the version it was written from.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from .domain import spoken_date, spoken_minutes, star_name

_FOLDER = Path(__file__).parent / "templates"
_HEAD = re.compile(r"\{# version: ([1-9][0-9]*); title: (\S+) #\}\n")


class BadTemplate(ValueError):
    """A template does not begin with its version and title."""


@dataclass(frozen=True)
class Text:
    """A text ready to be read, and the template it was written from (``hours_logged@1``)."""

    title: str
    text: str
    template: str


@dataclass(frozen=True)
class _Compiled:
    title: str
    reference: str
    body: Template


def write(occasion: str, **facts: Any) -> Text:
    """Put facts into the words of an occasion; raises ``jinja2.UndefinedError`` when one is missing."""
    return _written(occasion, tuple(facts.items()))


@lru_cache(maxsize=4096)  # many served the same day for as long
def _written(occasion: str, facts: tuple[tuple[str, Any], ...]) -> Text:
    template = _compiled(occasion)
    return Text(template.title, template.body.render(facts), template.reference)


@cache
def _compiled(occasion: str) -> _Compiled:
    source = (_FOLDER / f"{occasion}.j2").read_text(encoding="utf-8")
    head = _HEAD.match(source)
    if head is None:
        raise BadTemplate(f"{occasion}.j2: the first line must be {{# version: 1; title: … #}}")
    version, title = head.groups()
    body = _environment().from_string(source[head.end() :])
    return _Compiled(title, f"{occasion}@{version}", body)


@cache
def _environment() -> Environment:
    # Plain text: whoever shows it in a page escapes it there.
    environment = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701
    environment.filters |= {
        "spoken_date": spoken_date,
        "spoken_minutes": spoken_minutes,
        "star_name": star_name,
    }
    return environment

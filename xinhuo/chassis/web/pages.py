"""Pages of lists: a cursor names the last row of a page, so that a page costs the same at any depth."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from ..errors import BadRequest


class CursorInvalid(BadRequest):
    """The page cursor is not one that this list gave"""

    code = "page.cursor_invalid"
    title = "分页游标无效"


@dataclass
class Answer:
    """What a method returns when a plain value is not enough: another status, headers, or raw bytes."""

    value: Any = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    content_type: str = "application/json"


@dataclass(frozen=True)
class Listed:
    """One page of a list and, when there are more rows, the cursor of the next one."""

    items: Sequence[Any]
    after: str | None = None
    totals: dict[str, Any] = field(default_factory=dict)


def cursor_of(*key: Any) -> str:
    """Return the cursor that names a row by its sort key."""
    return base64.urlsafe_b64encode(json.dumps([str(part) for part in key]).encode()).decode().rstrip("=")


def read_cursor(after: str | None, *parts: Callable[[str], Any]) -> tuple[Any, ...] | None:
    """Return the sort key in a cursor, each part read by its function; raises CursorInvalid."""
    if after is None:
        return None
    try:
        raw = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
        if not isinstance(raw, list) or len(raw) != len(parts):
            raise ValueError
        if not all(isinstance(text, str) and b"\0" not in text.encode() for text in raw):
            raise ValueError  # as for half a surrogate pair: no database takes it
        return tuple(read(text) for read, text in zip(parts, raw, strict=True))
    except (ValueError, binascii.Error):
        raise CursorInvalid(
            "分页游标 after 无效，请使用上一页返回的值，或从第一页开始。",
            "The cursor 'after' is not valid; use the one from the page before, or start anew.",
            pointer="/after",
        ) from None


def row_number(text: str) -> int:
    """Read the number of a row in a cursor; raises ValueError for one that no column holds."""
    number = int(text)
    if not 0 <= number < 2**63:
        raise ValueError
    return number


def page_of(found: Sequence[Any], limit: int, key: Callable[[Any], tuple[Any, ...]]) -> Listed:
    """Make a page from ``limit + 1`` rows read, the last one telling only that there is a next page."""
    if len(found) <= limit:
        return Listed(found)
    return Listed(found[:limit], cursor_of(*key(found[limit - 1])))


def next_link(path: str, query: dict[str, Any], after: str) -> str:
    """Return the Link header of the next page; a parameter given several times is a list."""
    return f'<{path}?{urlencode({**query, "after": after}, doseq=True)}>; rel="next"'

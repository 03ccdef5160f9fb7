"""What every refusal must be, and what must never be in it or in the log."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

HAN = re.compile(r"[\u4e00-\u9fff]")
ENGLISH = re.compile(r"[A-Za-z]{2}")
KEYS = {"type", "title", "status", "code", "detail", "detail_en", "trace_id"}
#: How the inside would show: SQL, drivers, stacks, places on disk.
INSIDE = re.compile(
    r"\bSELECT\b|\bINSERT INTO\b|\bUPDATE\b.*\bSET\b|DELETE FROM|violates|constraint|psycopg|sqlalchemy|marshmallow"
    r"|werkzeug|Traceback|\.py\b|site-packages|/(?:usr|home|opt|tmp|var|root|srv|work)/"
)
#: Fields whose values are about a person, whoever typed them, right or wrong.
PERSONAL = {"id_number", "phone", "guardian_name", "guardian_phone", "born_on", "name"}


def personal_values(body: Any, names: Iterable[str] = PERSONAL) -> list[str]:
    """Return the values of personal fields in a body, at any depth."""
    wanted, found = set(names), []
    todo = [body]
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            todo += item
        elif isinstance(item, Mapping):
            todo += item.values()
            # One character stands in any text.
            found += [str(v).strip() for k, v in item.items() if k in wanted and len(str(v).strip()) > 1]
    return found


def check_problem(
    status: int,
    content_type: str | None,
    text: str,
    *,
    expected: int,
    code: str,
    pointers: Mapping[str, str] | None = None,
    says: Iterable[str] = (),
    hidden: Iterable[str] = (),
) -> dict[str, Any]:
    """Check an answer to be this refusal, in both languages and without the inside; return it."""
    assert status == expected, text
    assert content_type == "application/problem+json"
    found: dict[str, Any] = json.loads(text)
    assert found.keys() >= KEYS
    assert (found["status"], found["code"]) == (expected, code), text
    assert found["type"] == f"urn:xinhuo:error:{code}"
    assert re.fullmatch(r"[0-9a-f]{32}", found["trace_id"])
    assert HAN.search(found["title"])
    for part in (found, *found.get("errors", [])):
        assert HAN.search(part["detail"]), part
        assert ENGLISH.search(part["detail_en"]), part
        assert len(part["detail"]) < 1000
        assert len(part["detail_en"]) < 1000
    if pointers is not None:
        assert {error["pointer"]: error["code"] for error in found.get("errors", [])} == pointers
    for part in says:
        assert part in text, text
    assert not INSIDE.search(text), text
    for value in hidden:
        assert value not in text, text
    return found

"""What every error must be: problem+json, of a code that the route documents, in both languages, about nobody else."""

import json
import re
from typing import Any
from urllib.parse import unquote

import schemathesis

from tests.fuzz.target import Target
from tests.integration.bad_inputs.problems import ENGLISH, HAN, INSIDE, KEYS
from tests.support.documents import ROOT

PROBLEM = "application/problem+json"
_ROW = re.compile(r"^\| `([a-z_.0-9]+)` \| (\d{3}) \| ([^|]+) \|", re.M)
#: Of any address, whether there is a route or not.
_ANYWHERE = {"route.not_found", "route.method_not_allowed"}
#: What the form of a field says: a request that is true to the schema is not refused for these.
_FORM = {
    "field.required", "field.null", "field.unknown", "field.wrong_type", "field.not_integer", "field.not_uuid",
    "field.not_boolean", "field.not_listed", "field.not_list", "field.not_date", "list.length",
}  # fmt: skip


def documented() -> dict[str, int]:
    """Return the codes of docs/errors.md with their status."""
    found = {code: int(status) for code, status, _ in _ROW.findall((ROOT / "docs/errors.md").read_text())}
    assert len(found) > 100
    return found


_CODES = documented()


@schemathesis.check
def documented_problem(_context: Any, response: Any, case: Any) -> None:
    """Check that an error is one of those that the route says it has."""
    if response.status_code < 400 or case.method.upper() == "HEAD":
        return
    assert response.headers.get("content-type") == [PROBLEM], f"not {PROBLEM}: {response.headers.get('content-type')}"
    found = json.loads(response.content)
    assert found.keys() >= KEYS, f"missing: {KEYS - found.keys()}"
    code = found["code"]
    assert _CODES.get(code) == response.status_code == found["status"], f"{code} is not {response.status_code} in docs"
    assert found["type"] == f"urn:xinhuo:error:{code}"
    assert re.fullmatch(r"[0-9a-f]{32}", found["trace_id"])
    answers = case.operation.definition.raw["responses"]
    known = answers.get(str(response.status_code), {}).get("x-codes", [])
    assert code in known or code in _ANYWHERE, f"{code} is not among the errors of the route"


@schemathesis.check
def both_languages(_context: Any, response: Any, case: Any) -> None:
    """Check that an error says what it is in Chinese and in English, and nothing of the inside."""
    if response.status_code < 400 or case.method.upper() == "HEAD":
        return
    found = json.loads(response.content)
    assert HAN.search(found["title"]), found["title"]
    for part in (found, *found.get("errors", [])):
        assert HAN.search(part["detail"]), f"no Chinese: {part}"
        assert ENGLISH.search(part["detail_en"]), f"no English: {part}"
        assert len(part["detail"]) < 1000, f"too long: {part['detail'][:200]}"
        assert len(part["detail_en"]) < 1000, f"too long: {part['detail_en'][:200]}"
    sent = _sent(response)
    if leaked := INSIDE.search(response.text):
        assert leaked[0] in sent, f"shows the inside: {leaked[0]}"


@schemathesis.check
def about_nobody_else(_context: Any, response: Any, case: Any) -> None:
    """Check that no error tells a number of anybody that was not in the request."""
    target = case.operation.app
    if response.status_code < 400 or not isinstance(target, Target):
        return
    sent = _sent(response)
    told = [number for number in target.persons() if number in response.text and number not in sent]
    assert not told, "an error tells the identity number of a person"


@schemathesis.check
def form_is_in_the_schema(_context: Any, response: Any, case: Any) -> None:
    """Check that a request true to the schema is refused by rules of the field only, not for its form."""
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or response.status_code not in {400, 415, 422}:
        return
    found = json.loads(response.content)
    wrong = [
        one
        for one in found.get("errors", [found])
        if one["code"] in _FORM and not (one["code"] == "field.not_integer" and _is_whole(case, one["pointer"]))
    ]
    assert not wrong, f"the schema allows what is refused: {wrong[:3]}"


def _is_whole(case: Any, pointer: str) -> bool:
    """Tell whether there is a number like 60.0: we refuse it, and JSON Schema has no word for that."""
    value = case.body
    for step in pointer.strip("/").split("/"):
        value = value[int(step)] if isinstance(value, list) else value.get(step) if isinstance(value, dict) else None
    return isinstance(value, float) and value.is_integer()


def _sent(response: Any) -> str:
    body = response.request.body or b""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
    return unquote(response.request.url) + text

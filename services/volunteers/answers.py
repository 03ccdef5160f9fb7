"""Answers of the hot routes, written without a schema: a thousand items take a millisecond, not fifty."""

from collections.abc import Sequence
from typing import Any

import msgspec

from xinhuo.chassis.errors import RuleError
from xinhuo.chassis.web import app
from xinhuo.chassis.web.pages import Answer

from .models import Entered, Existing


def of_batch(outcomes: Sequence[Entered | Existing | RuleError]) -> Answer:
    """Return ``{"items": [{"status", "entry" | "problem"}], "entered", "existing", "refused"}``."""
    items: list[dict[str, Any]] = []
    for outcome in outcomes:
        if isinstance(outcome, RuleError):
            items.append({"status": "refused", "problem": msgspec.Raw(app.problem(outcome).get_data())})
        else:
            status = "entered" if isinstance(outcome, Entered) else "existing"
            items.append({"status": status, "entry": outcome.entry})
    counts = {status: sum(item["status"] == status for item in items) for status in ("entered", "existing", "refused")}
    return Answer(raw=msgspec.json.encode({"items": items, **counts}))


def of_one(outcome: Entered | Existing | RuleError) -> Answer | RuleError:
    """Return 201 with a new entry, 200 with an existing one, or the error itself."""
    if isinstance(outcome, RuleError):
        return outcome
    status = 201 if isinstance(outcome, Entered) else 200
    return Answer(raw=msgspec.json.encode(outcome.entry), status=status)

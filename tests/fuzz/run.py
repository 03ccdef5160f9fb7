"""Rounds of schemathesis on one service until enough requests were sent, and what came of them."""

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any
from unittest.mock import patch

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.transport.wsgi import WSGI_TRANSPORT, WSGITransport
from werkzeug.test import Client

from tests.fuzz import checks, workbooks
from tests.fuzz.target import Target, bearer_of

REGISTERED = (checks, workbooks)  # by being imported
#: More rounds than any service needs; with fewer requests than asked after them the run has failed.
MOST_ROUNDS = 40
_REFUSED = ["400", "401", "403", "404", "405", "406", "409", "412", "413", "415", "422", "428", "429"]
_CHECKS = {
    "negative_data_rejection": {"expected-statuses": [*_REFUSED, "5xx"]},
    # That what is true to the schema is refused by rules only is checked by `form_is_in_the_schema`.
    "positive_data_acceptance": {"expected-statuses": ["2xx", "3xx", *_REFUSED, "5xx"]},
    "missing_required_header": {"expected-statuses": ["400", "401", "403", "404", "415", "422", "428"]},
}


@dataclass
class Failure:
    """One thing that is wrong at one route, with the first request that showed it."""

    check: str
    route: str
    what: str
    request: str
    times: int = 1


@dataclass
class Report:
    """What came of fuzzing one service."""

    service: str
    seed: int
    asked: int
    requests: int = 0
    by_class: dict[str, int] = field(default_factory=dict)
    server_errors: int = 0
    rounds: int = 0
    seconds: float = 0
    failures: list[Failure] = field(default_factory=list)
    #: Of each route, how many requests were answered with 2xx, and how many there were.
    routes: dict[str, list[int]] = field(default_factory=dict)

    @property
    def fine(self) -> bool:
        """Tell whether enough was sent and nothing was wrong."""
        return not self.failures and not self.server_errors and self.requests >= self.asked

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "fine": self.fine}


def fuzz(target: Target, *, asked: int, quick: bool = False) -> Report:
    """Send at least so many requests, in rounds.

    The first round goes through the edges of every field, unless it is to be ``quick``; all draw by chance and follow
    what answers lead to.
    """
    report = Report(target.service, target.seed, asked)
    started = time.monotonic()
    while report.rounds < MOST_ROUNDS and (not report.rounds or target.requests < asked):
        if report.rounds:
            target.prepare()
        _round(target, report, edges=not quick and not report.rounds)
        report.rounds += 1
        if report.failures:
            break  # the same would be found again
    report.requests = target.requests
    by_class: Counter[str] = Counter()
    for status, times in target.statuses.items():
        by_class[f"{status // 100}xx"] += times
    report.by_class = dict(sorted(by_class.items()))
    report.server_errors = by_class["5xx"]
    _still_answers(target, report)
    report.seconds = round(time.monotonic() - started, 1)
    return report


def _round(target: Target, report: Report, *, edges: bool) -> None:
    examples = 4 if edges else max(4, min(20, (report.asked - target.requests) // len(target.routes) // 2))
    config = SchemathesisConfig.from_dict(
        {
            "seed": target.seed + report.rounds,
            "suppress-health-check": ["all"],
            "generation": {"max-examples": examples, "no-shrink": False, "database": "none"},
            "checks": _CHECKS,
            "phases": {"examples": {"enabled": False}, "coverage": {"enabled": edges}},
        }
    )
    schema = schemathesis.openapi.from_wsgi("/openapi.json", target, config=config)
    schema.auth(refresh_interval=None)(bearer_of(target))
    with patch.object(WSGI_TRANSPORT, "send", _send):
        for event in from_schema(schema).execute():
            if isinstance(event, events.ScenarioFinished):
                _gather(event, report)
            elif isinstance(event, events.NonFatalError):
                _note(report, Failure("engine", event.label, repr(event.value)[:500], ""))
            elif isinstance(event, events.FatalError):
                raise event.exception


def _send(case: Any, **options: Any) -> Any:
    """Send a request; schemathesis 4.32 gives its probes without token options of a network."""
    for name in ("max_redirects", "verify", "cert", "proxies"):
        options.pop(name, None)
    return WSGITransport.send(WSGI_TRANSPORT, case, **options)


def _gather(event: Any, report: Report) -> None:
    for case_id, interaction in event.recorder.interactions.items():
        case = event.recorder.cases[case_id].value
        if case.method.upper() == case.operation.method.upper() and interaction.response is not None:
            reached = report.routes.setdefault(f"{case.method} {case.path}", [0, 0])
            reached[0] += 200 <= interaction.response.status_code < 300
            reached[1] += 1
    for case_id, results in event.recorder.checks.items():
        case = event.recorder.cases[case_id].value
        for result in results:
            if result.failure_info is not None:
                failure = result.failure_info.failure
                said = f"{failure.title}: {failure.message}"[:1500]
                route = f"{case.method} {case.path}"
                _note(report, Failure(result.name, route, said, result.failure_info.code_sample[:1500]))


def _note(report: Report, failure: Failure) -> None:
    for known in report.failures:
        if (known.check, known.route, known.what[:60]) == (failure.check, failure.route, failure.what[:60]):
            known.times += 1
            return
    report.failures.append(failure)


def _still_answers(target: Target, report: Report) -> None:
    answer = Client(target._app).get("/readyz")
    if answer.status_code != 200:
        _note(report, Failure("still_answers", "GET /readyz", answer.text[:500], ""))

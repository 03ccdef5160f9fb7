"""The page for three in the morning knows every alarming line of the log."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import REGISTRY

import xinhuo.chassis.metrics  # noqa: F401  (registers them)
from tests.support.documents import ROOT

PAGE = ROOT / "docs" / "operations.md"
TEXT = PAGE.read_text(encoding="utf-8")
LEVELS = ("warning", "error", "critical")


def names_in_the_code() -> Iterator[tuple[str, str]]:
    """Yield event and level of each call of a logger, and the events that watchdogs are given."""
    for folder in ("xinhuo", "services"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
                    continue
                if ast.unparse(node.func) == "parser.error":  # of a command line
                    continue
                name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                if name in LEVELS and node.args and isinstance(event := node.args[0], ast.Constant):
                    yield str(event.value), name
                if name == "StallWatchdog":
                    yield from ((ast.literal_eval(one.value), "error") for one in node.keywords if one.arg == "event")


def table(heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading line, row by row."""
    section = TEXT.partition(heading)[2].partition("\n\n")[2].partition("\n\n")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines()]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def told() -> dict[str, str]:
    """Return each event that the page explains, with its level."""
    return {
        event: level
        for events, level, *_ in table("What the log says")
        for event in re.findall(r"`(\w+)`", events)
    }  # fmt: skip


def test_every_warning_and_error_of_the_code_is_explained_with_its_level_and_no_other() -> None:
    found = dict(names_in_the_code())
    assert {"relay_waits", "request_failed", "handler_stalled"} <= set(found), "the search finds what is there"
    assert told() == found


def test_every_row_says_what_to_do() -> None:
    rows = [row for heading in ("What users", "What the metrics", "What the log") for row in table(heading)]
    assert len(rows) > 30
    assert [row for row in rows if not all(row)] == []


def test_the_metrics_worth_an_alert_exist() -> None:
    known = {metric.name for metric in REGISTRY.collect()} | {"up"}  # which is Prometheus's own
    named = [re.findall(r"`(\w+)`", row[0])[0] for row in table("What the metrics")]
    assert len(named) >= 5
    assert [name for name in named if name.removesuffix("_total") not in known] == []


def test_the_page_is_where_readme_sends_people() -> None:
    assert PAGE.relative_to(ROOT).as_posix() in Path(ROOT / "README.md").read_text(encoding="utf-8")

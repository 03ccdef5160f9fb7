"""At which figure an alert fires: read from its expression, so that a dashboard turns red where somebody is called."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import yaml

ALERTS = Path(__file__).resolve().parents[2] / "deploy/monitoring/alerts"
_COMPARES = {">", ">=", "<", "<=", "==", "!="}
_COUNTS = {"*": lambda a, b: a * b, "+": lambda a, b: a + b, "-": lambda a, b: a - b, "/": lambda a, b: a / b}


@cache
def expressions() -> dict[str, list[str]]:
    """Return the expressions of each alert, by its name."""
    found: dict[str, list[str]] = {}
    for path in sorted(ALERTS.glob("*.yaml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                found.setdefault(rule["alert"], []).append(rule["expr"])
    return found


def limits_of(alert: str) -> list[float]:
    """Return the numbers that something is compared with, in the order of the alert's expressions.

    Raises KeyError for an alert that there is not.
    """
    return [limit for expression in expressions()[alert] for limit in _limits(promql_parser.parse(expression))]


def _limits(node: Any) -> Iterator[float]:
    if isinstance(node, promql_parser.BinaryExpr):
        if str(node.op) in _COMPARES and (limit := _number(node.rhs)) is not None:
            yield limit
            return
        yield from _limits(node.lhs)
        yield from _limits(node.rhs)
    elif (inside := getattr(node, "expr", None)) is not None:
        yield from _limits(inside)


def _number(node: Any) -> float | None:
    if isinstance(node, promql_parser.NumberLiteral):
        return float(node.val)
    if isinstance(node, promql_parser.ParenExpr):
        return _number(node.expr)
    if isinstance(node, promql_parser.BinaryExpr) and str(node.op) in _COUNTS:
        left, right = _number(node.lhs), _number(node.rhs)
        return None if left is None or right is None else _COUNTS[str(node.op)](left, right)
    return None

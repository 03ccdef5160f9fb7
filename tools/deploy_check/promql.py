"""What is wrong in an expression of PromQL: it must parse, and each metric and label in it must exist."""

import functools
from collections.abc import Iterable

import promql_parser

from . import metric_names


def problems(expression: str, recorded: Iterable[str] = ()) -> list[str]:
    """Return what is wrong; `recorded` are the names that recording rules make."""
    try:
        selectors = _selectors(expression)
    except ValueError as error:
        return [f"PromQL {expression!r} does not parse: {str(error)[:200]}"]
    found = []
    recorded = set(recorded)
    for name, labels in selectors:
        if not name:
            found.append(f"PromQL {expression!r}: a selector without a metric's name")
        elif name in recorded or name in metric_names.others():
            continue
        elif name not in metric_names.ours():
            found.append(f"PromQL {expression!r}: there is no metric {name}")
        else:
            known = metric_names.SCRAPED_LABELS.union(metric_names.ours()[name].labels)
            found += [f"PromQL {expression!r}: {name} has no label {label}" for label in labels if label not in known]
    return found


@functools.cache
def _selectors(expression: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the metrics of an expression, with the labels that choose among their series; raises ValueError."""
    found: list[tuple[str, tuple[str, ...]]] = []

    def visit(node: object) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = node.matchers.matchers
            named = [one.value for one in matchers if one.name == "__name__" and one.op == promql_parser.MatchOp.Equal]
            name = node.name or next(iter(named), "")
            found.append((name, tuple(one.name for one in matchers if one.name != "__name__")))

    promql_parser.walk(promql_parser.parse(expression), visit)
    return tuple(found)

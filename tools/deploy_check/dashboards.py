"""Grafana's dashboards: each expression of PromQL in them parses, and reads metrics and labels that there are."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import promql, rules
from .found import Found

FOLDER = "deploy/monitoring/dashboards"
#: Grafana's variables become what they may stand for: within [] a time, elsewhere in an expression a number.
_TIMES = re.compile(r"(?<=[\[:])\s*\$(\w+|\{[^}]*\})")
_NUMBERS = re.compile(r"\$(__\w+|\{__[^}]*\})")
_BARE = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|\$(?:\w+|\{[^}]*\})""")
_LABELS_OF = re.compile(r"label_values\((?:(?P<expression>.+),)?\s*(?P<label>\w+)\s*\)", re.S)


def check(root: Path) -> Found:
    """Look at each dashboard."""
    found = Found()
    files = sorted((root / FOLDER).glob("**/*.json"))
    if not files:
        found.problem(FOLDER, "there are no dashboards", "make them: `make docs`")
    recorded = {rule.name for rule in rules.each(root, Found()) if "record" in rule.body}
    uids: Counter[str] = Counter()
    for path in files:
        file = str(path.relative_to(root))
        try:
            dashboard = json.loads(path.read_text(encoding="utf-8"))
            title, uid = dashboard["title"], dashboard["uid"]
        except (ValueError, KeyError, TypeError) as error:
            found.problem(file, f"it is no dashboard: {error!r}", "make it anew")
            continue
        found.count("dashboards")
        uids[uid] += 1
        if uids[uid] > 1:
            found.problem(file, f"another dashboard has its uid {uid}", "give it its own")
        expressions = list(_expressions(dashboard))
        if not expressions:
            found.problem(file, f"{title} has no expression", "fill it, or take it away")
        for where, expression in expressions:
            found.count("expressions")
            for wrong in promql.problems(plain(expression), recorded):
                found.problem(f"{file} ({where})", wrong, "correct it, or add it to metric_names.py with its origin")
    return found


def plain(expression: str) -> str:
    """Return an expression with Grafana's variables replaced; inside quotes they may stand."""
    expression = _TIMES.sub("5m", expression)
    expression = _NUMBERS.sub("300", expression)
    return _BARE.sub(lambda match: match[1] or "1", expression)


def _expressions(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the expressions of panels, also of those in rows, of variables and of annotations."""
    for panel in _panels(dashboard.get("panels", [])):
        for target in panel.get("targets", []):
            yield f"panel {panel.get('title')}", target.get("expr", "")
    for variable in dashboard.get("templating", {}).get("list", []):
        if variable.get("type") != "query":
            continue
        query = variable.get("query", "")
        text = query.get("query", "") if isinstance(query, dict) else query
        match = _LABELS_OF.fullmatch(text.strip())
        if match is None:
            yield f"variable {variable.get('name')}", text.removeprefix("query_result(").removesuffix(")")
        elif match["expression"]:
            yield f"variable {variable.get('name')}", f"sum by ({match['label']}) ({match['expression']})"
    for annotation in dashboard.get("annotations", {}).get("list", []):
        if annotation.get("expr"):
            yield f"annotation {annotation.get('name')}", annotation["expr"]


def _panels(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in panels:
        yield panel
        yield from _panels(panel.get("panels", []))

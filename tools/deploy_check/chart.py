"""The Helm chart: `helm lint --strict`, and with its defaults it renders the objects of the production overlay.

Four differences are meant, and put aside: the name of the ConfigMap with the settings ends with another hash; the
migrate Job has the release's revision in its name; annotations of Helm's own say what outlives a release; and Helm
orders objects itself.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tools import kubectl

from . import programs, rendered
from .found import Found, ToolMissing

CHART = "deploy/helm/xinhuo"
OVERLAY = "production"
_INFO = re.compile(r"^level=INFO .*\n?", re.M)
_HASHED = re.compile(r"(?<=xinhuo-settings)-[0-9a-z]{10}\b")


class Refused(Exception):
    """Helm does not render the chart with these values; the text is what it said."""


def check(root: Path) -> Found:
    """Lint the chart and compare it with the production overlay."""
    found = Found()
    said = programs.run(_helm(), "lint", "--strict", root / CHART)
    if said.returncode:
        found.problem(CHART, _INFO.sub("", f"{said.stdout} {said.stderr}"), "see `helm lint --strict`")
    ours = [item.body for item in rendered.items(root, found) if item.overlay == OVERLAY]
    try:
        theirs = render(root / CHART)
    except Refused as refused:
        found.problem(CHART, str(refused), "see `helm template`")
        return found
    found.count("chart_objects", len(theirs))
    for name, wrong in differences(ours, theirs):
        found.problem(CHART, f"{name} is not as in overlays/{OVERLAY}: {wrong}", "change the template or the values")
    return found


def render(chart: Path, *words: str) -> list[dict[str, Any]]:
    """Return the objects of the chart with some values; raises Refused."""
    said = programs.run(_helm(), "template", "xinhuo", chart, *words)
    if said.returncode:
        raise Refused(_INFO.sub("", said.stderr).strip())
    return [body for body in yaml.load_all(said.stdout, yaml.CSafeLoader) if body]


def differences(ours: Iterable[dict[str, Any]], theirs: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the name of each object that differs, or that only one has, with where it differs."""
    left, right = plain(ours), plain(theirs)
    for name in sorted(left.keys() | right.keys()):
        if name not in left or name not in right:
            yield name, "only the chart has it" if name in right else "the chart does not have it"
        else:
            for place, one, other in _different(left[name], right[name], "$"):
                yield name, f"{place} is {other!r:.200}, not {one!r:.200}"


def plain(bodies: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return objects by kind and name, without the differences that are meant."""
    found: dict[str, Any] = {}
    for body in _unhashed(list(bodies)):
        metadata = dict(body["metadata"])
        annotations = metadata.pop("annotations", None) or {}
        if kept := {name: value for name, value in annotations.items() if not name.startswith("helm.sh/")}:
            metadata["annotations"] = kept
        if body["kind"] == "Job":
            metadata["name"] = re.sub(r"-\d+$", "", metadata["name"])
        name = f"{body['kind']}/{metadata['name']}"
        if name in found:
            raise ValueError(f"{name} is there twice")
        found[name] = {**body, "metadata": metadata}
    return found


def _unhashed(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _unhashed(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_unhashed(value) for value in part]
    return _HASHED.sub("", part) if isinstance(part, str) else part


def _different(one: Any, other: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _different(one.get(key), other.get(key), f"{place}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _different(left, right, f"{place}[{number}]")
    elif one != other or type(one) is not type(other):
        yield place, one, other


def _helm() -> Path:
    try:
        return kubectl.helm()
    except kubectl.ToolsUnavailable as missing:
        raise ToolMissing(str(missing)) from missing

"""The alerts and what belongs to them, as files of the project."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.documents import ROOT

FOLDER = ROOT / "deploy" / "monitoring"


@dataclass(frozen=True)
class Alert:
    """One rule with its annotations; two rules may have one name."""

    name: str
    expression: str
    labels: dict[str, str]
    annotations: dict[str, str]


def rules(folder: Path = FOLDER) -> Iterator[dict[str, Any]]:
    """Yield every rule, alerts and records."""
    for path in sorted([*folder.glob("rules/*.yaml"), *folder.glob("alerts/*.yaml")]):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


def alerts() -> list[Alert]:
    """Return all alerts."""
    return [
        Alert(rule["alert"], rule["expr"], rule["labels"], rule["annotations"]) for rule in rules() if "alert" in rule
    ]

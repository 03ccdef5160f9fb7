"""The closed lists of notices as dated data: kinds of units, service classes, reasons against hours."""

from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

from xinhuo.chassis.rules import DatedRule, in_force, load_rules

from ..domain.drafts import Words
from ..domain.refusals import UnitKindUnknown


@cache
def versions(name: str) -> tuple[DatedRule[dict[str, str]], ...]:
    """Return all versions of a list, each a word with its Chinese label; read once, at the first use."""
    return load_rules(files(__name__).joinpath(f"{name}.yaml"), _labels)


def words_on(day: date) -> Words:
    """Return the lists in force on a day; raises ``NoRuleInForce``."""
    return Words(
        unit_kinds=in_force(versions("unit_kinds"), day).value,
        service_classes=in_force(versions("service_classes"), day).value,
        not_volunteer_reasons=in_force(versions("not_volunteer_reasons"), day).value,
    )


def label_of(name: str, word: str) -> str | None:
    """Return the newest Chinese label of a word of any version, so that old records stay readable."""
    for version in reversed(versions(name)):
        if word in version.value:
            return version.value[word]
    return None


def check_kind_known(kind: str) -> str:
    """Return a kind of unit that is or was in force; raises ``UnitKindUnknown``."""
    if label_of("unit_kinds", kind) is None:
        raise UnitKindUnknown(kind, "/kind", versions("unit_kinds")[-1].value)
    return kind


def _labels(values: Mapping[Any, Any], _clause: str) -> dict[str, str]:
    """Read a mapping of words to labels; YAML must not have made numbers of codes such as 0001."""
    labels = {}
    for word, label in values.items():
        if not isinstance(word, str) or not isinstance(label, str):
            raise ValueError(f"{word!r}: words and labels must be text")
        labels[word] = label
    return labels

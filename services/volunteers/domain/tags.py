"""The rules about tags of persons: which there are, by the list of the office."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xinhuo.chassis.errors import RuleError

KINDS = ("political", "group", "profession")
#: A person has no more of them.
MOST_TAGS = 20


class TagUnknown(RuleError):
    """The list of the office has no such tag."""

    code = "tag.unknown"
    title = "没有这个标签"

    def __init__(self, allowed: Mapping[str, Tag], *, pointer: str) -> None:
        """Name the tags that there are."""
        listed = "、".join(f"{tag.zh}（{tag.code}）" for tag in allowed.values())
        super().__init__(
            f"没有这个标签，可用的有：{listed}。",
            f"There is no such tag; there are: {', '.join(allowed)}.",
            pointer=pointer,
            extra={"allowed": list(allowed)},
        )


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag with what users read."""

    code: str
    zh: str
    en: str
    kind: str

    def __post_init__(self) -> None:
        """Refuse a kind that there is not."""
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")


def read_tags(values: Mapping[str, Any], _clause: str) -> dict[str, Tag]:
    """Read the values of a rule file: the tags by their codes, in the order of the file."""
    tags = [Tag(**one) for one in values["tags"]]
    found = {tag.code: tag for tag in tags}
    if len(found) < len(tags):
        raise ValueError("a code stands there twice")
    return found


def check_tags(
    given: Sequence[str], allowed: Mapping[str, Tag], *, had: Sequence[str] = (), pointer: str = "/tags"
) -> list[str]:
    """Return tags in order, each once; what somebody ``had`` may stay. Raises ``TagUnknown``."""
    for place, tag in enumerate(given):
        if tag not in allowed and tag not in had:
            raise TagUnknown(allowed, pointer=f"{pointer}/{place}")
    return sorted(set(given))

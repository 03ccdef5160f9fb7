"""What a proof must have found, and how it is run again when it has not."""

import json
from typing import Any


def assert_proved(found: dict[str, Any]) -> None:
    """Every invariant holds, nothing is lost or doubled, and the dead letters are the poison."""
    figures = {name: found[name] for name in ("written", "counted", "lost", "twice", "poison", "dead_letters")}
    broken = {code: invariant for code, invariant in found["invariants"].items() if not invariant["ok"]}
    story = f"run again: {found['again']}\n{json.dumps([figures, broken, found['notes']], indent=1, default=str)}"
    assert not broken, story
    assert found["lost"] == found["twice"] == 0, story
    assert found["counted"] == found["written"] > 0, story
    assert found["poison"] == found["dead_letters"], story

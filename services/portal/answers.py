"""Answers with headers."""

from typing import Any

from xinhuo.chassis.web.pages import Answer


def tagged(shown: dict[str, Any], location: str | None = None) -> Answer:
    """Answer with the revision as ETag, and with the address of what was made."""
    headers = {"ETag": f'"{shown["revision"]}"'}
    if location is not None:
        headers["Location"] = location
    return Answer(shown, headers=headers)

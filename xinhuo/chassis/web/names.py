"""Which of the names that a client sends an answer may repeat."""

import re

#: As long as the shortest of a person's numbers, a date of birth.
_LONG_NUMBER = re.compile(r"[0-9]{6}")


def repeatable(name: str) -> str:
    """Return the name, or an ellipsis for one that may be a person's name or number, put where a field's belongs."""
    return name if name.isascii() and not _LONG_NUMBER.search(name) else "…"

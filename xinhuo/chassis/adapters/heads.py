"""What the head of a request may look like, for every server that we run on."""

import re

MOST_FIELDS = 100
# Blanks after the value are left to what takes them off: a regular expression that does looks for them at each
# character, which takes longer for a token than the rest of the head.
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)\r?\n")

#: How fast, in bytes a second, a body must come in that takes longer than the time a request may take.
SLOWEST = 64 * 1024


def field_of(line: bytes) -> tuple[bytes, bytes] | None:
    """Return name and value of a header field; None for anything that a proxy in front might read otherwise."""
    field = _FIELD.fullmatch(line)
    return (field[1], field[2].rstrip(b" \t")) if field else None

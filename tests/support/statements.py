"""What a piece of work asks the database, and how often it goes there."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa
from sqlalchemy import event

from xinhuo.chassis import roundtrips
from xinhuo.chassis.roundtrips import Statement


@dataclass
class Statements:
    """The texts of all statements in their order, and the number of ways they went."""

    texts: list[str] = field(default_factory=list)
    ways: int = 0

    def with_text(self, text: str) -> list[str]:
        """Return those that contain a text."""
        return [one for one in self.texts if text in one]


@contextmanager
def noted(engine: sa.Engine) -> Iterator[Statements]:
    """Note the statements that are sent meanwhile; transaction control left out."""
    found = Statements()
    send = roundtrips._together

    def note_one(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        found.texts.append(statement)
        found.ways += 1

    def note_together(driver: Any, statements: Sequence[Statement], *, committing: bool) -> list[Any]:
        found.texts.extend(str(statement) for statement, _ in statements)
        found.ways += 1
        return send(driver, statements, committing=committing)

    event.listen(engine, "before_cursor_execute", note_one)
    try:
        with patch.object(roundtrips, "_together", note_together):
            yield found
    finally:
        event.remove(engine, "before_cursor_execute", note_one)

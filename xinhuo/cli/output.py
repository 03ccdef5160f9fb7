"""What the commands have in common: the option ``--json``, its one object, an instant given, an end with a message."""

import json
import sys
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Annotated, Any, NoReturn

import typer

from .exits import Exit

Json = Annotated[bool, typer.Option("--json", help="只输出一个 JSON / Print one JSON object, nothing else.")]


def print_json(value: Any) -> None:
    """Write one JSON object, the whole of a command's standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=_plain) + "\n")


def fail(code: Exit, message: str) -> NoReturn:
    """End the command with a message and an exit code."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


def refuse_empty(options: Mapping[str, str | None]) -> None:
    """Fail when an option was given without a value, such as an unset variable: it would mean everything."""
    for option, value in options.items():
        if value is not None and not value.strip(" ,"):
            fail(Exit.USAGE, f"{option} 是空的；不限时请不要写它 / {option} is empty; leave it out to mean all")


def instant_of(text: str, option: str, zone: tzinfo) -> datetime:
    """Read a date, which begins at midnight in the zone, or an instant; fails the command when it is neither."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        fail(
            Exit.USAGE,
            f"{option} 应为日期或时刻，如 2026-03-01、2026-03-01T08:00+08:00 / "
            f"{option} must be a date or an instant, not {text!r}",
        )
    return found if found.tzinfo else found.replace(tzinfo=zone)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)

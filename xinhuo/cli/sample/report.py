"""What became of the sample: figures read from each service's own database, and shown as a table or as JSON."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa

from .. import imports
from ..client import Api
from .load import sample_import

if TYPE_CHECKING:
    from rich.console import Console

    from xinhuo.chassis.db import Database

#: For how long nothing may move before the wait for the effects is given up, and how often is looked, in seconds.
PATIENCE = 30.0
_LOOK_EVERY = 0.1

_LEDGER = sa.text(
    "SELECT coalesce(sum(minutes), 0), count(*) FILTER (WHERE kind = 'entry'),"
    " count(*) FILTER (WHERE kind = 'entry' AND import_id = :import_id) FROM ledger_entries"
)
_STATISTICS = sa.text("SELECT coalesce(sum(minutes), 0) FROM statistics_cells")
_TALLIES = sa.text("SELECT (SELECT coalesce(sum(minutes), 0) FROM tallies), (SELECT count(*) FROM stars)")
_MESSAGES = sa.text(
    "SELECT count(*) FILTER (WHERE occasion = 'hours_logged'), count(*) FILTER (WHERE occasion = 'star_earned')"
    " FROM messages"
)
_TROUBLE = sa.text(
    "SELECT (SELECT count(*) FROM parked_events), (SELECT count(*) FROM dead_letters WHERE state = 'waiting'),"
    " (SELECT count(*) FROM outbox WHERE published_at IS NULL)"
)


class NotSettled(Exception):
    """Something recorded has not had its effects, and nothing moves any more."""


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of the sample import, and of everything in the databases."""

    accepted: int
    refused: int
    refused_by_reason: dict[str, int]
    ledger_minutes: int
    statistics_minutes: int
    stars: int
    acknowledgements: int
    imported_at: str | None = None

    def as_json(self, seconds: float) -> dict[str, Any]:
        """Return the figures as scripts read them."""
        return {
            "accepted": self.accepted,
            "refused": self.refused,
            "ledger_minutes": self.ledger_minutes,
            "statistics_minutes": self.statistics_minutes,
            "stars": self.stars,
            "acknowledgements": self.acknowledgements,
            "seconds": seconds,
        }


@dataclass(frozen=True, slots=True)
class _Effects:
    """How far the effects of the ledger have come in all services, at about one moment."""

    ledger_minutes: int
    entries: int
    of_import: int
    statistics_minutes: int
    tally_minutes: int
    stars: int
    thanks_for_hours: int
    thanks_for_stars: int

    def missing(self) -> list[str]:
        """Say what is not there yet; the tallies come first, since stars are counted from them."""
        pairs = (
            ("统计分钟 / minutes in statistics", self.statistics_minutes, self.ledger_minutes),
            ("星级累计分钟 / minutes in star tallies", self.tally_minutes, self.ledger_minutes),
            ("时数致谢 / acknowledgements of hours", self.thanks_for_hours, self.entries),
            ("星级致谢 / acknowledgements of stars", self.thanks_for_stars, self.stars),
        )
        return [f"{name}: {found} ≠ {wanted}" for name, found, wanted in pairs if found != wanted]


def settled_report(
    databases: "Mapping[str, Database]", api: Api, data: Path, *, console: "Console | None" = None
) -> Report:
    """Wait until everything in the ledger has had its effects, then return the figures; raises NotSettled."""
    if console is None:
        wait_until_settled(databases)
    else:
        with console.status("等待统计、星级与致谢 / waiting for statistics, stars and acknowledgements"):
            wait_until_settled(databases)
    return read_report(databases, api, data)


def wait_until_settled(databases: "Mapping[str, Database]", *, patience: float = PATIENCE) -> None:
    """Wait as long as something moves; raises NotSettled naming what is missing when nothing does."""
    last = _effects(databases, None)
    moved_at = time.monotonic()
    while missing := last.missing():
        if time.monotonic() - moved_at > patience:
            raise NotSettled(_explain(databases, missing, patience))
        time.sleep(_LOOK_EVERY)
        now = _effects(databases, None)
        if now != last:
            last, moved_at = now, time.monotonic()


def read_report(databases: "Mapping[str, Database]", api: Api, data: Path) -> Report:
    """Return the figures of the sample import as the databases hold them now."""
    found = sample_import(api, data)
    # A list of imports tells no mistakes; one import does.
    found = found if "errors" in found else imports.one(api, found["id"])
    effects = _effects(databases, UUID(found["id"]))
    return Report(
        accepted=effects.of_import,
        refused=found["invalid"] if found["refused"] is None else found["refused"],
        refused_by_reason={reason["title"]: reason["count"] for reason in imports.reasons_of(found)},
        ledger_minutes=effects.ledger_minutes,
        statistics_minutes=effects.statistics_minutes,
        stars=effects.stars,
        # What was entered by other ways was thanked for as well, and is no part of the sample.
        acknowledgements=effects.thanks_for_hours - (effects.entries - effects.of_import) + effects.thanks_for_stars,
        imported_at=found["confirmed_at"],
    )


def print_table(report: Report, seconds: float, console: "Console") -> None:
    """Show the figures to a person."""
    from rich.table import Table

    same = report.ledger_minutes == report.statistics_minutes
    whole = report.acknowledgements == report.accepted + report.stars
    table = Table(title="样例数据 / Sample", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    table.add_row("导入行数", f"{report.accepted:,}", "rows accepted")
    table.add_row("拒绝行数", f"{report.refused:,}", "rows refused")
    for reason, count in report.refused_by_reason.items():
        table.add_row(f"  {reason}", f"{count:,}", "")
    table.add_row("台账分钟", f"{report.ledger_minutes:,}", "minutes in ledger")
    table.add_row("统计分钟", f"{report.statistics_minutes:,}", f"minutes in statistics {_sign(same)}")
    table.add_row("获得星级", f"{report.stars:,}", "stars earned")
    table.add_row("致谢", f"{report.acknowledgements:,}", f"acknowledgements = accepted + stars {_sign(whole)}")
    table.add_row("用时（秒）", f"{seconds:.1f}", "seconds")
    console.print(table)


def _sign(good: bool) -> str:
    return "[green]✓[/green]" if good else "[red]✗[/red]"


def _effects(databases: "Mapping[str, Database]", import_id: UUID | None) -> _Effects:
    # What follows is read before what it follows from: whatever is missing then really is.
    thanks_for_hours, thanks_for_stars = _row(databases["notify"], _MESSAGES)
    tally_minutes, stars = _row(databases["awards"], _TALLIES)
    (statistics_minutes,) = _row(databases["volunteers"], _STATISTICS)
    ledger_minutes, entries, of_import = _row(databases["volunteers"], _LEDGER, import_id=import_id)
    return _Effects(
        int(ledger_minutes), entries, of_import, int(statistics_minutes), int(tally_minutes), stars,
        thanks_for_hours, thanks_for_stars,
    )  # fmt: skip


def _row(database: "Database", statement: Any, **parameters: Any) -> Any:
    with database.transaction() as session:
        return session.execute(statement, parameters).one()


def _explain(databases: "Mapping[str, Database]", missing: list[str], patience: float) -> str:
    lines = [
        f"{patience:.0f} 秒内没有进展 / nothing has moved for {patience:.0f} s:",
        *(f"  {item}" for item in missing),
    ]
    for name, database in databases.items():
        parked, dead, unpublished = _row(database, _TROUBLE)
        if parked or dead or unpublished:
            lines.append(f"  {name}: 暂存 parked {parked}, 死信 dead letters {dead}, 待发 unpublished {unpublished}")
    return "\n".join(lines)

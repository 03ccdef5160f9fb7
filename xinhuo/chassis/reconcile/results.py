"""What a comparison came to, for people, for scripts, and kept for the gauges."""

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import logs, metrics

log = logs.get("reconcile")


@dataclass(frozen=True)
class Difference:
    """One entry that is not the same on both sides.

    ``kind`` is missing, extra or different; ``cause`` is a code of CAUSES; ``remedy`` a command or a thing to do.
    """

    kind: str
    key: str
    expected: str | None
    found: str | None
    cause: str
    about: str
    remedy: str


#: Why entries differ, by stable code: in Chinese and in English.
CAUSES = {
    "dead_letter": ("事件在死信中等待处理", "its event is a dead letter that waits for a decision"),
    "dropped": ("事件作为死信已被人放弃", "its event was a dead letter, and somebody dropped it"),
    "unhandled": (
        "事件已发出，但一直未被处理：仍在队列里，或已丢失",
        "its event was sent and never handled: still in the queue, or lost",
    ),
    "unannounced": ("事实没有对应的事件记录", "no event was recorded for the fact"),
    "handled": (
        "事件已处理，结果却不在或不符：数据被改动过",
        "its event was handled, and yet the effect is gone or another: data were changed",
    ),
    "unfounded": ("没有任何事实与之对应：数据被改动过", "no fact stands behind it: data were changed"),
    "changed": ("两边的数字不同：数据被改动过", "both sides have other figures: data were changed"),
}


@dataclass(frozen=True)
class Result:
    """One comparison: how many entries each side has, how many differ, and the first that does.

    ``waiting`` counts entries whose events are on their way (unpublished, or parked for a later attempt): no
    difference. ``complete`` is False when so much differs that not all of it was counted.
    """

    service: str
    comparison: str
    expected: int
    found: int
    differences: int
    waiting: int = 0
    complete: bool = True
    first: Difference | None = None

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {**asdict(self), "equal": self.equal}


_KEEP = sa.text(
    """
    INSERT INTO reconciliations (comparison, differences, waiting, checked_at)
    VALUES (:comparison, :differences, :waiting, clock_timestamp())
    ON CONFLICT (comparison) DO UPDATE
    SET differences = excluded.differences, waiting = excluded.waiting, checked_at = excluded.checked_at
    """
)


def keep(session: Session, results: list[Result]) -> None:
    """Store results for the gauges of every process of the service, and log each difference."""
    for result in results:
        values = {"comparison": result.comparison, "differences": result.differences, "waiting": result.waiting}
        session.execute(_KEEP, values)
        if result.first is not None:
            first = result.first
            log.error(
                "reconcile_difference",
                comparison=result.comparison,
                differences=result.differences,
                kind=first.kind,
                entry=first.key,
                cause=first.cause,
                remedy=first.remedy,
            )


def refresh_gauges(session: Session, service: str) -> None:
    """Show the newest results, whichever process of the service found them."""
    found = session.execute(
        sa.text("SELECT comparison, differences, extract(epoch FROM checked_at) FROM reconciliations")
    )
    for comparison, differences, checked_at in found:
        metrics.RECONCILE_DIFFERENCE.labels(service, comparison).set(differences)
        metrics.RECONCILE_LAST_SUCCESS.labels(service, comparison).set(float(checked_at))

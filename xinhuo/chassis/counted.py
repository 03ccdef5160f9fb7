"""Counters of what a transaction does: they move once it is committed, and not when it is rolled back."""

from typing import Any

from prometheus_client import Counter
from sqlalchemy.orm import Session

from . import outbox

_COUNTED = "xinhuo_counted"


def count(session: Session, counter: Counter, labels: tuple[str, ...], amount: float) -> None:
    """Add to a counter at the commit; a rehearsal, or a savepoint that is taken back, adds nothing."""
    if amount and not outbox.is_rehearsing(session):
        session.info.setdefault(_COUNTED, []).append((session.get_nested_transaction(), counter, labels, amount))


def add(session: Session) -> None:
    """Add what was counted; to be called after the commit."""
    for _, counter, labels, amount in session.info.pop(_COUNTED, ()):
        counter.labels(*labels).inc(amount)


def forget(session: Session, ended: Any) -> None:
    """Forget what was counted in a transaction, or since a savepoint, that was rolled back."""
    if waiting := session.info.get(_COUNTED):
        outermost = not getattr(ended, "nested", False)
        session.info[_COUNTED] = [] if outermost else [one for one in waiting if one[0] is not ended]

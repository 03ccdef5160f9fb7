"""One clock for the whole system, the database's: told from its last answer and this process's monotonic clock.

A machine whose own clock is wrong, or jumps, then still dates events, and makes ids, as all others do; and it does
not take what they made for something from the future. The own clock serves until the database has answered once.
"""

import time
from datetime import UTC, datetime

#: An answer that took longer says too little: the process may have stood still after it was given.
SLOW_SECONDS = 1.0
#: The own clock is as good while it is no further away than this.
RIGHT_SECONDS = 1.0

_offset: float | None = None


def now() -> datetime:
    """Return the database's time, as an aware instant in UTC."""
    return datetime.fromtimestamp(time.time() if _offset is None else time.monotonic() + _offset, UTC)


def own_is_right() -> bool:
    """Tell whether this process's own clock tells the database's time."""
    return _offset is None or abs(time.time() - time.monotonic() - _offset) < RIGHT_SECONDS


def learn(told: datetime, asked: float) -> None:
    """Take over what the database has just told; ``asked`` is the monotonic time at which it was asked."""
    global _offset
    answered = time.monotonic()
    if answered - asked <= SLOW_SECONDS:
        _offset = told.timestamp() - answered

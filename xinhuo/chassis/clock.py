"""One clock for the whole system, the database's: told from its last answer and a clock here that nobody sets.

A machine whose own clock is wrong, or jumps, then still dates events, and makes ids, as all others do; and it does
not take what they made for something from the future. The own clock serves until the database has answered once.
"""

import time
from datetime import UTC, datetime

#: An answer that took longer says too little: the process may have stood still after it was given.
SLOW_SECONDS = 1.0
#: The own clock is as good while it is no further away than this.
RIGHT_SECONDS = 1.0

#: It goes on while the machine sleeps, which the monotonic clock of some systems does not.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_offset: float | None = None


def steady() -> float:
    """Return seconds of a clock that is never set."""
    return time.clock_gettime(_STEADY)


def now() -> datetime:
    """Return the database's time, as an aware instant in UTC."""
    return datetime.fromtimestamp(time.time() if _offset is None else steady() + _offset, UTC)


def own_is_right() -> bool:
    """Tell whether this process's own clock tells the database's time."""
    return _offset is None or abs(time.time() - steady() - _offset) < RIGHT_SECONDS


def learn(told: datetime, asked: float) -> None:
    """Take over what the database has just told; ``asked`` is when it was asked, by ``steady``."""
    global _offset
    answered = steady()
    if answered - asked <= SLOW_SECONDS:
        _offset = told.timestamp() - answered

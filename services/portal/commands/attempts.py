"""Attempts at a password: each is counted before it is looked at, so that no number of them at once gets by.

They are counted by the blind index of the login, whether an account has it or not, and by the database's clock.
"""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..domain.sessions import FAILURES, MOST_SECONDS, LoginLocked
from ..models import login_failures

_COUNT = sa.text(
    """
    INSERT INTO login_failures AS f (login_index, failures, failed_at) VALUES (:index, 1, clock_timestamp())
    ON CONFLICT (login_index) DO UPDATE SET failures = f.failures + 1, failed_at = clock_timestamp(),
        locked_until = CASE WHEN f.failures + 1 >= :free THEN clock_timestamp()
            + make_interval(secs => least(power(2, least(f.failures + 1 - :free, 20)), :most)) END
    WHERE f.locked_until IS NULL OR f.locked_until <= clock_timestamp()
    RETURNING failures
    """
)
_LEFT = sa.text(
    "SELECT extract(epoch FROM locked_until - clock_timestamp()) FROM login_failures WHERE login_index = :index"
)


def begin(session: Session, index: bytes) -> None:
    """Count an attempt as failed; the transaction is to be committed before the password is looked at.

    Raises LoginLocked, counting nothing, while the login is locked.
    """
    counted = session.scalar(_COUNT, {"index": index, "free": FAILURES, "most": MOST_SECONDS})
    if counted is None:
        raise LoginLocked(float(session.scalar(_LEFT, {"index": index}) or 0))


def take_back(session: Session, index: bytes) -> None:
    """Undo the count of one attempt that was neither good nor bad; those before it stay counted."""
    of = login_failures.c
    undone = {of.failures: sa.func.greatest(of.failures - 1, 0), of.locked_until: None}
    session.execute(sa.update(login_failures).where(of.login_index == index).values(undone))


def forget(session: Session, index: bytes) -> None:
    """Begin to count anew: somebody has shown who he is."""
    session.execute(sa.delete(login_failures).where(login_failures.c.login_index == index))

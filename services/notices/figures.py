"""What notices shows in its metrics of the campaign itself."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Gauge
from sqlalchemy.orm import Session

from xinhuo.chassis.metrics import Figure, declare

OBLIGATIONS = declare(Gauge, "xinhuo_obligations", "各单位的任务，按状态", "Duties of units, by state.", ["state"])

_BY_STATE = sa.text("SELECT state, count(*) FROM obligations GROUP BY state")


def figures(session: Session) -> Iterator[Figure]:
    """Yield what the tables say."""
    for state, count in session.execute(_BY_STATE):
        yield OBLIGATIONS, (state,), count

"""What volunteers shows in its metrics of the campaign itself."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Counter, Gauge
from sqlalchemy.orm import Session

from xinhuo.chassis.metrics import Figure, declare

SERVICE_MINUTES = declare(
    Counter, "xinhuo_service_minutes_total", "计入统计的服务分钟数：logged 登记，reversed 冲销",
    "Minutes of service that went into the statistics: logged, and reversed.", ["kind"],
)  # fmt: skip
STATISTICS_MINUTES = declare(
    Gauge, "xinhuo_statistics_minutes", "统计中的全部服务分钟数（已减去冲销）",
    "All minutes of service in the statistics, reversed ones taken off.", ["service"],
)  # fmt: skip
VOLUNTEERS_REGISTERED = declare(
    Gauge, "xinhuo_volunteers_registered", "登记的志愿者，按状态", "Registered volunteers, by state.", ["state"]
)

_BY_STATE = sa.text("SELECT state, count(*) FROM volunteers GROUP BY state")
_MINUTES = sa.text("SELECT coalesce(sum(minutes), 0) FROM statistics_cells")


def figures(session: Session) -> Iterator[Figure]:
    """Yield what the tables say."""
    for state, count in session.execute(_BY_STATE):
        yield VOLUNTEERS_REGISTERED, (state,), count
    yield STATISTICS_MINUTES, ("volunteers",), float(session.execute(_MINUTES).scalar_one())

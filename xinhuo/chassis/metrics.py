"""Metrics of the chassis; names are permanent, labels come from closed lists only.

Services declare theirs in the same way, in their modules ``figures``.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from sqlalchemy import Engine

M = TypeVar("M", Counter, Gauge, Histogram)
#: What each metric means, in Chinese and in English, by its name.
MEANINGS: dict[str, tuple[str, str]] = {}
#: Labels and value of a gauge that shows what a service's database says.
Figure = tuple[Gauge, tuple[str, ...], float]


class Metric(NamedTuple):
    """A metric as the reference page shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    zh: str
    en: str


def declare(
    kind: type[M], name: str, zh: str, en: str, labels: Iterable[str] = (), *, buckets: tuple[float, ...] | None = None
) -> M:
    """Register a metric together with what it means in both languages."""
    MEANINGS[name] = zh, en
    if kind is Histogram and buckets is not None:
        return kind(name, en, tuple(labels), buckets=buckets)
    return kind(name, en, tuple(labels))


def declared() -> list[Metric]:
    """Return all metrics of Xinhuo whose modules were imported, by name."""
    found = []
    for name, (zh, en) in MEANINGS.items():
        collector = REGISTRY._names_to_collectors[name]
        found.append(Metric(name, collector._type, tuple(collector._labelnames), zh, en))  # type: ignore[attr-defined]
    return sorted(found)


HTTP_REQUESTS = declare(
    Counter, "xinhuo_http_requests_total", "已应答的 HTTP 请求", "HTTP requests answered.",
    ["service", "route", "method", "status"],
)  # fmt: skip
HTTP_SECONDS = declare(
    Histogram, "xinhuo_http_request_duration_seconds", "应答一个 HTTP 请求所用时间",
    "Time to answer an HTTP request.", ["service", "route", "method"],
)  # fmt: skip
EVENTS_RECORDED = declare(
    Counter, "xinhuo_events_recorded_total", "写入 outbox 的事件", "Events written to the outbox.", ["topic"]
)
EVENTS_PUBLISHED = declare(
    Counter, "xinhuo_events_published_total",
    "交给 RabbitMQ 的事件；unroutable 为无队列接收，unreadable 为无法对外公开",
    "Events handed to the broker; unroutable: no queue takes it, unreadable: it has no public form.",
    ["topic", "lane", "outcome"],
)  # fmt: skip
EVENTS_CONSUMED = declare(
    Counter, "xinhuo_events_consumed_total",
    "订阅收到的事件；ok 生效，duplicate 重复，retried 立即重试，parked 稍后重试，dead_lettered 成为死信",
    "Events taken by a subscription: ok took effect, duplicate had it before, retried at once, parked for later, "
    "dead_lettered for good.",
    ["service", "handler", "outcome"],
)  # fmt: skip
EVENT_AGE = declare(
    Histogram, "xinhuo_event_age_seconds", "从事情发生到在本处生效的时间",
    "From the moment a fact became true to its effect here.", ["service", "handler"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
)  # fmt: skip
HANDLING_SECONDS = declare(
    Histogram, "xinhuo_event_handling_seconds", "处理一批事件所用时间", "Time to handle one batch of events.",
    ["service", "handler"],
)  # fmt: skip
OUTBOX_PENDING = declare(
    Gauge, "xinhuo_outbox_pending", "已写入、尚未发出的事件", "Events recorded and not yet published.", ["service"]
)
OUTBOX_OLDEST = declare(
    Gauge, "xinhuo_outbox_oldest_unpublished_age_seconds", "最早一条未发出事件的等待时间",
    "Age of the oldest event not yet published.", ["service"],
)  # fmt: skip
OUTBOX_PUBLIC_OLDEST = declare(
    Gauge, "xinhuo_outbox_oldest_uncopied_age_seconds", "最早一条未抄送各部门事件的等待时间",
    "Age of the oldest event not yet copied for departments.", ["service"],
)  # fmt: skip
DEAD_LETTERS = declare(
    Gauge, "xinhuo_dead_letters", "等待人工决定的死信", "Dead letters that wait for a decision.", ["service", "reason"]
)
DEAD_LETTERS_DECIDED = declare(
    Counter, "xinhuo_dead_letters_decided_total", "对死信的决定（每个 worker 都计全部，取最大值）",
    "Decisions about dead letters (each worker counts all of them: take the largest).",
    ["service", "action", "outcome"],
)  # fmt: skip
RECONCILE_DIFFERENCE = declare(
    Gauge, "xinhuo_reconcile_difference", "最近一次核对中不一致的条目，应为 0",
    "Entries that differed in the newest comparison; must be 0.", ["service", "comparison"],
)  # fmt: skip
RECONCILE_LAST_SUCCESS = declare(
    Gauge, "xinhuo_reconcile_last_success_timestamp_seconds", "最近一次核对的时间", "When a comparison was last made.",
    ["service", "comparison"],
)  # fmt: skip
JOB_LAST_SUCCESS = declare(
    Gauge, "xinhuo_job_last_success_timestamp_seconds", "定时任务最近一次成功的时间",
    "When a job last ended well.", ["service", "job"],
)  # fmt: skip
JOB_PERIOD = declare(
    Gauge, "xinhuo_job_period_seconds", "定时任务的周期", "How often a job is due.", ["service", "job"]
)
WORKERS_BUSY = declare(
    Gauge, "xinhuo_workers_busy", "正在工作的线程：http 处理请求，handler 处理一批事件",
    "Workers at work: http at a request, handler at a batch of events.", ["service", "kind"],
)  # fmt: skip
WORKERS_LIMIT = declare(
    Gauge, "xinhuo_workers_limit", "这些线程最多有几个", "How many of them there can be.", ["service", "kind"]
)
DB_POOL_IN_USE = declare(
    Gauge, "xinhuo_db_pool_in_use", "正在使用的数据库连接", "Database connections in use.", ["service"]
)
DB_POOL_SIZE = declare(
    Gauge, "xinhuo_db_pool_size", "数据库连接的上限", "Database connections that there can be.", ["service"]
)
DB_POOL_TIMEOUTS = declare(
    Counter, "xinhuo_db_pool_timeouts_total", "等不到空闲数据库连接而放弃的次数",
    "Attempts given up because no database connection became free.", ["service"],
)  # fmt: skip
HUB_LAG = declare(
    Histogram, "xinhuo_hub_lag_seconds",
    "绿色线程轮到自己晚了多久（nameko 适配器，每半秒量一次；threads 没有）",
    "How late a green thread got its turn (nameko adapter, measured twice a second; threads have none).",
    ["service"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip
BUILD_INFO = declare(
    Gauge, "xinhuo_build_info", "恒为 1；标签说明运行的是什么", "Always 1; the labels say what runs.",
    ["service", "role", "version", "adapter", "python"],
)  # fmt: skip
SCHEMA_REVISION = declare(
    Gauge, "xinhuo_schema_revision_info",
    "恒为 1；标签为程序对应的与库里实际的表结构版本（none 为没有表），以及程序能否使用（works）",
    "Always 1; the labels are the revision of the tables that the program was made for, the one it found (none: no "
    "table), and whether it works with that.",
    ["service", "expected", "found", "works"],
)  # fmt: skip

_shown: dict[str, tuple[str, str, str, str]] = {}


def show_revision(service: str, expected: str, found: str | None, *, works: bool) -> None:
    """Show at which revision a service's tables are, which the program was made for, and whether it works with them."""
    labels = service, expected, found or "none", "yes" if works else "no"
    if (before := _shown.get(service)) not in (None, labels):
        SCHEMA_REVISION.remove(*before)
    _shown[service] = labels
    SCHEMA_REVISION.labels(*labels).set(1)


def show_pool(service: str, engine: Engine, size: int) -> None:
    """Show how many connections of an engine are in use, asked when somebody asks for the metrics."""
    in_use: Callable[[], float] = lambda: engine.pool.checkedout()  # type: ignore[attr-defined]  # noqa: E731
    DB_POOL_IN_USE.labels(service).set_function(in_use)
    DB_POOL_SIZE.labels(service).set(size)


def exposition(accept: str) -> tuple[bytes, str]:
    """Return the metrics of this process and the exact Content-Type to send with them."""
    encoder, content_type = choose_encoder(accept)
    body: bytes = encoder(REGISTRY)
    return body, content_type

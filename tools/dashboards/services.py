"""Each service: what it is asked (rate, errors, duration) and what it has (use, saturation, errors)."""

from tools.monitoring_files import OBJECTIVES

from .build import OURS, Board, Panel, Row

_OURS = "{" + OURS + "}"
_ASKED = f'route!="system", {OURS}'


def _seconds(share: float) -> str:
    buckets = f"sum by (le, service) (rate(xinhuo_http_request_duration_seconds_bucket{{{_ASKED}}}[$__rate_interval]))"
    return f"histogram_quantile({share}, {buckets})"


BOARD = Board(
    "services",
    "各服务",
    "Requests, errors and durations of each service, and what its processes use.",
    (
        Row("请求", "Requests", (
            Panel("每秒请求", "Requests per second.", "reqps",
                  ((f"sum by (service) (rate(xinhuo_http_requests_total{{{_ASKED}}}[$__rate_interval]))",
                    "{{service}}"),)),
            Panel("5xx 占比", "Share of requests answered with 5xx.", "percentunit",
                  ((f'sum by (service) (rate(xinhuo_http_requests_total{{status=~"5..", {_ASKED}}}[$__rate_interval]))'
                    f" / sum by (service) (rate(xinhuo_http_requests_total{{{_ASKED}}}[$__rate_interval]))",
                    "{{service}}"),), limit=OBJECTIVES["api"][0]),
            Panel("应答用时", "Time to answer, slowest 1 % and median.", "s",
                  ((_seconds(0.99), "99% {{service}}"), (_seconds(0.5), "50% {{service}}"))),
            Panel("应答（按状态码）", "Requests per second, by status.", "reqps",
                  ((f"sum by (status) (rate(xinhuo_http_requests_total{{{_ASKED}}}[$__rate_interval]))",
                    "{{status}}"),), "area"),
            Panel("最慢的接口", "The ten routes with the largest mean time to answer.", "s",
                  (("topk(10, sum by (service, route, method) "
                    f"(rate(xinhuo_http_request_duration_seconds_sum{{{_ASKED}}}[$__rate_interval]))"
                    " / sum by (service, route, method) "
                    f"(rate(xinhuo_http_request_duration_seconds_count{{{_ASKED}}}[$__rate_interval])))",
                    "{{service}} {{method}} {{route}}"),)),
            Panel("不应答的进程", "Processes that do not answer Prometheus.", "short",
                  ((f'count by (service, role) (up{{job="xinhuo", {OURS}}} == 0)', "{{service}} {{role}}"),),
                  alert="XinhuoProcessDown",
                  also=("XinhuoApiAbsent", "XinhuoConsumerAbsent"), limit=1),
        )),
        Row("资源", "Resources", (
            Panel("正在工作的线程占比", "Workers at work, of as many as there can be, in each process.", "percentunit",
                  ((f"max by (service, kind) (xinhuo_workers_busy{_OURS} / xinhuo_workers_limit{_OURS})",
                    "{{service}} {{kind}}"),)),
            Panel("数据库连接占比", "Database connections in use, of as many as there can be, in the fullest process.",
                  "percentunit",
                  ((f"max by (service) (xinhuo_db_pool_in_use{_OURS} / xinhuo_db_pool_size{_OURS})", "{{service}}"),),
                  alert="XinhuoDbPoolExhausted", limit=1),
            Panel("等不到数据库连接", "Attempts in five minutes that got no connection.", "short",
                  ((f"sum by (service) (increase(xinhuo_db_pool_timeouts_total{_OURS}[5m]))", "{{service}}"),),
                  alert="XinhuoDbPoolExhausted", limit=1),
            Panel("绿色线程的等待", "How late green threads get their turn, the worst 1 % of each process.", "s",
                  (('xinhuo:hub_lag_seconds:p99_5m{service=~"$service"}', "{{service}} {{instance}}"),),
                  alert="XinhuoHubLagHigh"),
            Panel("CPU", "CPU seconds per second of each process.", "short",
                  ((f'sum by (service, role) (rate(process_cpu_seconds_total{{job="xinhuo", {OURS}}}'
                    "[$__rate_interval]))", "{{service}} {{role}}"),)),
            Panel("内存", "Resident memory of the largest process.", "bytes",
                  ((f'max by (service, role) (process_resident_memory_bytes{{job="xinhuo", {OURS}}})',
                    "{{service}} {{role}}"),)),
        )),
        Row("按时要做的事", "What is done by the clock", (
            Panel("定时任务距上次成功", "Time since each job ended well, in its periods; two is too long.", "short",
                  (("(time() - max by (service, job) (xinhuo_job_last_success_timestamp_seconds"
                    f"{_OURS})) / on (service, job) max by (service, job) (xinhuo_job_period_seconds{_OURS})",
                    "{{service}} {{job}}"),), alert="XinhuoJobStale", limit=2),
            Panel("核对不一致", "Entries that are not what they come from, in the newest comparison.", "short",
                  ((f"max by (service, comparison) (xinhuo_reconcile_difference{_OURS})",
                    "{{service}} {{comparison}}"),), alert="XinhuoStatisticsDrift", limit=1),
            Panel("距上次核对", "Time since each comparison was made.", "s",
                  (("time() - max by (service, comparison) "
                    f"(xinhuo_reconcile_last_success_timestamp_seconds{_OURS})", "{{service}} {{comparison}}"),),
                  alert="XinhuoReconciliationStale"),
        )),
        Row("运行的版本", "What runs", (
            Panel("程序版本", "What runs, and how often.", "short",
                  ((f"count by (service, role, version, adapter, python) (xinhuo_build_info{_OURS})", ""),), "table",
                  12),
            Panel("表结构版本", "The revision of the tables that programs want, and the one that they found.", "short",
                  ((f"count by (service, expected, found) (xinhuo_schema_revision_info{_OURS})", ""),), "table", 12,
                  alert="XinhuoMigrationRevisionMismatch", limit=None),
        )),
    ),
)  # fmt: skip

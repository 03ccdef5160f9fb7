"""What the services stand on: RabbitMQ, and PostgreSQL by either of its two exporters."""

from .build import PLACE, Board, Panel, Row

_ALL = "{" + PLACE + "}"


def _either(cnpg: str, community: str) -> str:
    return f"{cnpg} or {community}"


BOARD = Board(
    "rabbitmq-postgresql",
    "RabbitMQ 与 PostgreSQL",
    "What the services stand on. RabbitMQ by rabbitmq_prometheus, PostgreSQL by CloudNativePG or postgres_exporter.",
    (
        Row("RabbitMQ 的余量", "Room in RabbitMQ", (
            Panel("报警", "Alarms: 1 is one. The whole cluster takes nothing meanwhile.", "short",
                  ((f"max by (instance) (rabbitmq_alarms_memory_used_watermark{_ALL})", "{{instance}} 内存"),
                   (f"max by (instance) (rabbitmq_alarms_free_disk_space_watermark{_ALL})", "{{instance}} 磁盘")),
                  alert="XinhuoBrokerAlarm", also=("XinhuoBrokerAbsent",), limit=1),
            Panel("内存占上限", "Memory in use, of as much as sets off the alarm.", "percentunit",
                  ((f"rabbitmq_process_resident_memory_bytes{_ALL} / rabbitmq_resident_memory_limit_bytes{_ALL}",
                    "{{instance}}"),), alert="XinhuoBrokerAlarm", limit=1),
            Panel("可用磁盘", "Disk space left, and the limit that sets off the alarm.", "bytes",
                  ((f"rabbitmq_disk_space_available_bytes{_ALL}", "{{instance}}"),
                   (f"rabbitmq_disk_space_available_limit_bytes{_ALL}", "{{instance}} 下限 / limit"))),
        )),
        Row("RabbitMQ 的消息", "Messages of RabbitMQ", (
            Panel("各队列的消息", "Messages that wait and that a worker has in hand, in all queues.", "short",
                  ((f"sum(rabbitmq_queue_messages_ready{_ALL})", "待取 / ready"),
                   (f"sum(rabbitmq_queue_messages_unacked{_ALL})", "在处理 / unacknowledged")), "area"),
            Panel("收、发、确认", "Messages per second: received, delivered, acknowledged.", "mps",
                  ((f"sum(rate(rabbitmq_global_messages_received_total{_ALL}[$__rate_interval]))", "收 / received"),
                   (f"sum(rate(rabbitmq_global_messages_delivered_total{_ALL}[$__rate_interval]))", "发 / delivered"),
                   (f"sum(rate(rabbitmq_global_messages_acknowledged_total{_ALL}[$__rate_interval]))",
                    "确认 / acknowledged"))),
            Panel("再次投递", "Messages per second that came back and went out again.", "mps",
                  ((f"sum(rate(rabbitmq_global_messages_redelivered_total{_ALL}[$__rate_interval]))",
                    "再次投递 / redelivered"),)),
            Panel("连接与通道", "Connections and channels.", "short",
                  ((f"sum(rabbitmq_connections{_ALL})", "连接 / connections"),
                   (f"sum(rabbitmq_channels{_ALL})", "通道 / channels"))),
            Panel("队列数", "How many queues there are, and how many wanted ones nobody reads.", "short",
                  ((f"max(rabbitmq_queues{_ALL})", "队列 / queues"),
                   ("count(xinhuo:queue_consumers == 0) or vector(0)", "无人读取 / without reader"))),
            Panel("被拒绝的登录", "Logins refused in ten minutes.", "short",
                  ((f"sum(increase(rabbitmq_auth_attempts_failed_total{_ALL}[10m]))", "拒绝 / refused"),),
                  alert="XinhuoBrokerLoginsRefused"),
        )),
        Row("PostgreSQL 的负载", "Load of PostgreSQL", (
            Panel("连接数", "Connections of all clients.", "short",
                  ((_either(f"sum by (instance) (cnpg_backends_total{_ALL})",
                            f"sum by (instance) (pg_stat_database_numbackends{_ALL})"), "{{instance}}"),)),
            Panel("每秒事务", "Transactions per second: committed and rolled back.", "ops",
                  ((_either(f"sum(rate(cnpg_pg_stat_database_xact_commit{_ALL}[$__rate_interval]))",
                            f"sum(rate(pg_stat_database_xact_commit{_ALL}[$__rate_interval]))"), "提交 / committed"),
                   (_either(f"sum(rate(cnpg_pg_stat_database_xact_rollback{_ALL}[$__rate_interval]))",
                            f"sum(rate(pg_stat_database_xact_rollback{_ALL}[$__rate_interval]))"),
                    "回滚 / rolled back"))),
            Panel("缓存命中率", "Share of blocks that were read from memory.", "percentunit",
                  ((_either(
                      f"sum(rate(cnpg_pg_stat_database_blks_hit{_ALL}[$__rate_interval])) / "
                      f"(sum(rate(cnpg_pg_stat_database_blks_hit{_ALL}[$__rate_interval])) + "
                      f"sum(rate(cnpg_pg_stat_database_blks_read{_ALL}[$__rate_interval])))",
                      f"sum(rate(pg_stat_database_blks_hit{_ALL}[$__rate_interval])) / "
                      f"(sum(rate(pg_stat_database_blks_hit{_ALL}[$__rate_interval])) + "
                      f"sum(rate(pg_stat_database_blks_read{_ALL}[$__rate_interval])))"), "命中 / hit"),),
                  limit=0.95, low_is_bad=True),
            Panel("最长的事务", "How long the oldest transaction has been going on.", "s",
                  ((_either(f"max by (instance) (cnpg_backends_max_tx_duration_seconds{_ALL})",
                            f"max by (instance) (pg_stat_activity_max_tx_duration{_ALL})"), "{{instance}}"),)),
            Panel("死锁", "Deadlocks in five minutes.", "short",
                  ((_either(f"sum(increase(cnpg_pg_stat_database_deadlocks{_ALL}[5m]))",
                            f"sum(increase(pg_stat_database_deadlocks{_ALL}[5m]))"), "死锁 / deadlocks"),)),
            Panel("数据库大小", "Size of each database.", "bytes",
                  ((_either(f"max by (datname) (cnpg_pg_database_size_bytes{_ALL})",
                            f"max by (datname) (pg_database_size_bytes{_ALL})"), "{{datname}}"),)),
        )),
        Row("PostgreSQL 的副本与备份", "Replicas and backups of PostgreSQL", (
            Panel("副本落后", "How far replicas are behind.", "s",
                  ((_either(f"max by (instance) (cnpg_pg_replication_lag{_ALL})",
                            f"max by (instance) (pg_replication_lag_seconds{_ALL})"), "{{instance}}"),)),
            Panel("归档失败", "Failures in an hour to put transaction logs into the archive.", "short",
                  ((_either(f"sum(increase(cnpg_pg_stat_archiver_failed_count{_ALL}[1h]))",
                            f"sum(increase(pg_stat_archiver_failed_count{_ALL}[1h]))"), "失败 / failed"),), limit=1),
            Panel("距上次备份", "Time since each backup job last ended well.", "s",
                  (("time() - max by (namespace, cronjob) (kube_cronjob_status_last_successful_time"
                    f'{{cronjob=~".*backup.*", {PLACE}}})', "{{namespace}} {{cronjob}}"),),
                  alert="XinhuoBackupTooOld"),
        )),
    ),
    by_service=False,
)  # fmt: skip

"""Which metrics there are: ours, read from the code, and those of what runs beside us, listed with their origin."""

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_OURS = re.compile(r"xinhuo_[a-z0-9_]+")
#: What a metric's class of prometheus-client adds to the name that it is given.
_SUFFIXES = {
    "Counter": ("_total", "_created"),
    "CounterMetricFamily": ("_total", "_created"),
    "Gauge": ("",),
    "GaugeMetricFamily": ("",),
    "Histogram": ("_bucket", "_sum", "_count", "_created"),
    "HistogramMetricFamily": ("_bucket", "_sum", "_count", "_created"),
    "Summary": ("_sum", "_count", "_created"),
    "SummaryMetricFamily": ("_sum", "_count", "_created"),
    "Info": ("_info",),
    "InfoMetricFamily": ("_info",),
    "Enum": ("",),
    "StateSetMetricFamily": ("",),
}
#: Labels that a scrape adds to each of our metrics, and `le` of histograms.
SCRAPED_LABELS = {"job", "instance", "service", "role", "namespace", "pod", "container", "node", "endpoint", "le"} | {
    "exported_service",
    "exported_job",
    "exported_instance",
}


@dataclass(frozen=True)
class Declared:
    """A metric of ours, as the code declares it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    where: str

    def series(self) -> list[str]:
        """Return the names under which Prometheus has it."""
        stem = self.name.removesuffix("_total") if self.kind.startswith("Counter") else self.name
        return [stem.removesuffix("_info") + end if end == "_info" else stem + end for end in _SUFFIXES[self.kind]]


@functools.cache
def declared() -> tuple[Declared, ...]:
    """Return all metrics that the code declares, found in its text: whatever is called with a kind and a name."""
    found: list[Declared] = []
    for folder in ("xinhuo", "services"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found += _declared_in(path)
    return tuple(found)


def _declared_in(path: Path) -> Iterator[Declared]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        first = [node.func, *node.args[:2]]
        kinds = [name for name in map(_name_of, first) if name in _SUFFIXES]
        names = [
            part.value
            for part in node.args[:2]
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and _OURS.fullmatch(part.value)
        ]
        if kinds and names:
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            yield Declared(names[0], kinds[0], tuple(_labels_of(node)), where)


def _name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _labels_of(call: ast.Call) -> Iterator[str]:
    for part in [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg in {"labels", "labelnames"})]:
        if isinstance(part, ast.List | ast.Tuple):
            for element in part.elts:
                if isinstance(element, ast.Constant) and isinstance(element.value, str):
                    yield element.value


@functools.cache
def ours() -> dict[str, Declared]:
    """Return our metrics by each name under which Prometheus has them."""
    return {series: metric for metric in declared() for series in metric.series()}


@functools.cache
def others() -> dict[str, str]:
    """Return the metrics of others that rules and dashboards may use, each with its origin."""
    return {name: origin for origin, names in _OTHERS.items() for name in names.split()}


#: By origin. A name that is not here is a slip of the pen, or is to be looked up in that origin and added.
_OTHERS = {
    "Prometheus itself": """
        up ALERTS ALERTS_FOR_STATE scrape_duration_seconds scrape_samples_scraped
        scrape_samples_post_metric_relabeling scrape_series_added
        prometheus_rule_evaluation_failures_total prometheus_rule_group_last_duration_seconds
        prometheus_notifications_dropped_total prometheus_config_last_reload_successful
        prometheus_tsdb_head_series""",
    "Alertmanager": """
        alertmanager_notifications_failed_total alertmanager_notifications_total
        alertmanager_config_last_reload_successful""",
    "prometheus-client's process and platform collectors, in each process of ours": """
        process_cpu_seconds_total process_resident_memory_bytes process_virtual_memory_bytes
        process_start_time_seconds process_open_fds process_max_fds
        python_info python_gc_collections_total python_gc_objects_collected_total
        python_gc_objects_uncollectable_total""",
    "RabbitMQ's plugin rabbitmq_prometheus: /metrics, /metrics/per-object and /metrics/detailed": """
        rabbitmq_identity_info rabbitmq_build_info rabbitmq_connections rabbitmq_channels rabbitmq_consumers
        rabbitmq_queues rabbitmq_connections_opened_total rabbitmq_connections_closed_total
        rabbitmq_channels_opened_total rabbitmq_channels_closed_total
        rabbitmq_queues_declared_total rabbitmq_queues_created_total rabbitmq_queues_deleted_total
        rabbitmq_queue_messages rabbitmq_queue_messages_ready rabbitmq_queue_messages_unacked
        rabbitmq_queue_messages_bytes rabbitmq_queue_messages_ready_bytes rabbitmq_queue_messages_unacked_bytes
        rabbitmq_queue_messages_ram rabbitmq_queue_messages_persistent
        rabbitmq_queue_messages_published_total rabbitmq_queue_consumers rabbitmq_queue_consumer_utilisation
        rabbitmq_queue_consumer_capacity rabbitmq_queue_process_memory_bytes rabbitmq_queue_head_message_timestamp
        rabbitmq_detailed_queue_messages rabbitmq_detailed_queue_messages_ready
        rabbitmq_detailed_queue_messages_unacked rabbitmq_detailed_queue_consumers
        rabbitmq_detailed_queue_consumer_utilisation rabbitmq_detailed_queue_consumer_capacity
        rabbitmq_detailed_channel_messages_published_total
        rabbitmq_global_messages_received_total rabbitmq_global_messages_received_confirm_total
        rabbitmq_global_messages_routed_total rabbitmq_global_messages_confirmed_total
        rabbitmq_global_messages_unroutable_dropped_total rabbitmq_global_messages_unroutable_returned_total
        rabbitmq_global_messages_delivered_total rabbitmq_global_messages_delivered_consume_manual_ack_total
        rabbitmq_global_messages_delivered_consume_auto_ack_total
        rabbitmq_global_messages_delivered_get_manual_ack_total
        rabbitmq_global_messages_redelivered_total rabbitmq_global_messages_acknowledged_total
        rabbitmq_global_messages_get_empty_total rabbitmq_global_messages_dead_lettered_rejected_total
        rabbitmq_global_messages_dead_lettered_expired_total rabbitmq_global_messages_dead_lettered_maxlen_total
        rabbitmq_global_messages_dead_lettered_delivery_limit_total
        rabbitmq_global_publishers rabbitmq_global_consumers
        rabbitmq_process_open_fds rabbitmq_process_max_fds rabbitmq_process_open_tcp_sockets
        rabbitmq_process_max_tcp_sockets rabbitmq_process_resident_memory_bytes
        rabbitmq_resident_memory_limit_bytes rabbitmq_disk_space_available_bytes
        rabbitmq_disk_space_available_limit_bytes rabbitmq_erlang_processes_used rabbitmq_erlang_processes_limit
        rabbitmq_erlang_uptime_seconds rabbitmq_alarms_memory_used_watermark
        rabbitmq_alarms_free_disk_space_watermark rabbitmq_alarms_file_descriptor_limit
        rabbitmq_unreachable_cluster_peers_count
        rabbitmq_raft_term_total rabbitmq_raft_log_commit_index rabbitmq_raft_log_last_applied_index
        rabbitmq_raft_log_last_written_index rabbitmq_raft_log_snapshot_index
        rabbitmq_raft_entry_commit_latency_seconds
        rabbitmq_auth_attempts_total rabbitmq_auth_attempts_failed_total rabbitmq_auth_attempts_succeeded_total
        erlang_vm_memory_bytes_total erlang_vm_statistics_run_queues_length
        erlang_mnesia_tm_state""",
    "CloudNativePG: each instance's own exporter, its default queries among it": """
        cnpg_collector_up cnpg_collector_postgres_version cnpg_collector_last_collection_error
        cnpg_collector_collection_duration_seconds cnpg_collector_manual_switchover_required
        cnpg_collector_pg_wal cnpg_collector_pg_wal_archive_status cnpg_collector_replica_mode
        cnpg_collector_sync_replicas cnpg_collector_fencing_on
        cnpg_collector_first_recoverability_point cnpg_collector_last_available_backup_timestamp
        cnpg_collector_last_failed_backup_timestamp cnpg_collector_nodes_used
        cnpg_backends_total cnpg_backends_waiting_total cnpg_backends_max_tx_duration_seconds
        cnpg_pg_database_size_bytes cnpg_pg_database_xid_age cnpg_pg_database_mxid_age
        cnpg_pg_postmaster_start_time cnpg_pg_replication_lag cnpg_pg_replication_in_recovery
        cnpg_pg_replication_is_wal_receiver_up cnpg_pg_replication_streaming_replicas
        cnpg_pg_replication_slots_active cnpg_pg_replication_slots_pg_wal_lsn_diff
        cnpg_pg_stat_archiver_archived_count cnpg_pg_stat_archiver_failed_count
        cnpg_pg_stat_archiver_seconds_since_last_archival cnpg_pg_stat_archiver_seconds_since_last_failure
        cnpg_pg_stat_archiver_last_archived_time cnpg_pg_stat_archiver_last_failed_time
        cnpg_pg_stat_bgwriter_buffers_alloc cnpg_pg_stat_bgwriter_checkpoints_req
        cnpg_pg_stat_bgwriter_checkpoints_timed
        cnpg_pg_stat_database_xact_commit cnpg_pg_stat_database_xact_rollback
        cnpg_pg_stat_database_blks_hit cnpg_pg_stat_database_blks_read
        cnpg_pg_stat_database_deadlocks cnpg_pg_stat_database_temp_bytes cnpg_pg_stat_database_conflicts
        cnpg_pg_stat_database_tup_inserted cnpg_pg_stat_database_tup_updated cnpg_pg_stat_database_tup_deleted
        cnpg_pg_stat_database_tup_fetched cnpg_pg_stat_database_tup_returned
        cnpg_pg_stat_replication_write_lag_seconds cnpg_pg_stat_replication_flush_lag_seconds
        cnpg_pg_stat_replication_replay_lag_seconds cnpg_pg_settings_setting""",
    "postgres_exporter of the Prometheus community, for a PostgreSQL without an operator": """
        pg_up pg_exporter_last_scrape_error pg_settings_max_connections pg_static pg_postmaster_start_time_seconds
        pg_database_size_bytes pg_locks_count pg_replication_lag_seconds pg_replication_is_replica
        pg_replication_slot_slot_is_active pg_replication_slot_slot_current_wal_lsn
        pg_stat_activity_count pg_stat_activity_max_tx_duration
        pg_stat_archiver_archived_count pg_stat_archiver_failed_count pg_stat_archiver_last_archive_age
        pg_stat_database_numbackends pg_stat_database_xact_commit pg_stat_database_xact_rollback
        pg_stat_database_blks_hit pg_stat_database_blks_read pg_stat_database_deadlocks
        pg_stat_database_temp_bytes pg_stat_database_temp_files pg_stat_database_conflicts
        pg_stat_database_tup_inserted pg_stat_database_tup_updated pg_stat_database_tup_deleted
        pg_stat_database_tup_fetched pg_stat_database_tup_returned
        pg_stat_bgwriter_checkpoints_timed_total pg_stat_bgwriter_checkpoints_req_total
        pg_stat_bgwriter_buffers_alloc_total
        pg_stat_user_tables_n_dead_tup pg_stat_user_tables_n_live_tup pg_stat_user_tables_last_autovacuum
        pg_stat_user_tables_seq_scan pg_wal_size_bytes pg_wal_segments""",
    "kube-state-metrics": """
        kube_deployment_spec_replicas kube_deployment_status_replicas kube_deployment_status_replicas_available
        kube_deployment_status_replicas_unavailable kube_deployment_status_replicas_updated
        kube_deployment_status_observed_generation kube_deployment_metadata_generation kube_deployment_labels
        kube_pod_info kube_pod_labels kube_pod_status_phase kube_pod_status_ready kube_pod_container_info
        kube_pod_container_status_restarts_total kube_pod_container_status_ready
        kube_pod_container_status_waiting_reason kube_pod_container_status_last_terminated_reason
        kube_pod_container_resource_requests kube_pod_container_resource_limits
        kube_horizontalpodautoscaler_spec_max_replicas kube_horizontalpodautoscaler_spec_min_replicas
        kube_horizontalpodautoscaler_status_current_replicas kube_horizontalpodautoscaler_status_desired_replicas
        kube_job_status_failed kube_job_status_succeeded kube_job_failed kube_job_complete
        kube_job_status_completion_time kube_job_status_start_time kube_job_spec_completions
        kube_cronjob_status_last_schedule_time kube_cronjob_status_last_successful_time
        kube_cronjob_next_schedule_time kube_cronjob_spec_suspend kube_cronjob_info kube_cronjob_created
        kube_persistentvolumeclaim_info kube_persistentvolumeclaim_status_phase
        kube_poddisruptionbudget_status_current_healthy kube_poddisruptionbudget_status_desired_healthy
        kube_poddisruptionbudget_status_pod_disruptions_allowed
        kube_resourcequota kube_node_status_condition""",
    "the kubelet and its cAdvisor": """
        container_cpu_usage_seconds_total container_cpu_cfs_throttled_periods_total container_cpu_cfs_periods_total
        container_memory_working_set_bytes container_memory_rss container_memory_usage_bytes
        container_network_receive_bytes_total container_network_transmit_bytes_total container_oom_events_total
        kubelet_volume_stats_available_bytes kubelet_volume_stats_capacity_bytes kubelet_volume_stats_used_bytes""",
    "node_exporter": """
        node_cpu_seconds_total node_load1 node_load5 node_memory_MemAvailable_bytes node_memory_MemTotal_bytes
        node_filesystem_avail_bytes node_filesystem_size_bytes node_disk_io_time_seconds_total
        node_network_receive_bytes_total node_network_transmit_bytes_total
        node_textfile_mtime_seconds node_textfile_scrape_error node_boot_time_seconds node_time_seconds""",
    "KEDA's operator": """
        keda_scaler_metrics_value keda_scaler_active keda_scaler_detail_errors_total keda_scaled_object_errors_total""",
}

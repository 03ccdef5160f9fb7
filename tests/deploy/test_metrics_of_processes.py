"""What real processes tell at /metrics: api and worker, on nameko and on threads."""

import re
from collections.abc import Iterator

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

import xinhuo
from tests.support.fleet import Fleet
from tests.support.postgres import create_database, drop_database, migrated_template
from tests.support.processes import LOOPBACK
from tests.support.waiting import wait_for
from xinhuo.chassis import metrics
from xinhuo.chassis.config import SERVICES, Settings
from xinhuo.cli.build import service_classes

Samples = dict[str, list[tuple[dict[str, str], float]]]
_ID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}|\d{6,}|[一-鿿]")


@pytest.fixture(scope="module")
def fleet(postgres_url: str, amqp_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    url = create_database(postgres_url, migrated_template(postgres_url))
    made = Fleet(tmp_path_factory.mktemp("fleet"), {"DATABASE_URL": url, "AMQP_URI": amqp_uri})
    made.prepare()
    made.begin("nameko", ("portal", "all"), ("notices", "api"), ("notices", "worker"), ("volunteers", "worker"))
    made.begin("threads", ("awards", "worker"))
    yield made
    made.end()
    drop_database(url)


def told(fleet: Fleet, service: str, role: str) -> Samples:
    port = fleet.port_base + 1 + SERVICES.index(service) + (10 if role == "worker" else 0)
    answer = requests.get(f"http://{LOOPBACK}:{port}/metrics", timeout=10)
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_an_api_tells_what_it_is_and_what_is_in_use(fleet: Fleet) -> None:
    assert requests.get(fleet.url("notices") + "/v1/nothing", timeout=10).status_code == 404
    shown = told(fleet, "notices", "api")

    ((build, _),) = shown["xinhuo_build_info"]
    assert (build["service"], build["role"], build["version"]) == ("notices", "api", xinhuo.__version__)
    assert build["adapter"] == "nameko"
    assert shown["xinhuo_db_pool_size"] == [({"service": "notices"}, Settings().db_pool)]
    assert 0 <= shown["xinhuo_db_pool_in_use"][0][1] <= Settings().db_pool
    assert shown["xinhuo_workers_limit"] == [({"service": "notices", "kind": "http"}, Settings().http_workers)]
    assert ({"service": "notices", "kind": "http"}, 0) in shown["xinhuo_workers_busy"]
    assert ({"service": "notices", "route": "unmatched", "method": "GET", "status": "404"}, 1) in shown[
        "xinhuo_http_requests_total"
    ]
    assert "xinhuo_obligations" not in shown
    assert "xinhuo_outbox_pending" not in shown


def test_a_worker_tells_of_its_work_its_tables_and_the_hub(fleet: Fleet) -> None:
    def told_all() -> bool:
        shown = told(fleet, "volunteers", "worker")
        return {"xinhuo_outbox_pending", "xinhuo_statistics_minutes", "xinhuo_job_period_seconds"} <= shown.keys()

    wait_for(told_all, 30, "the gauges of the worker")
    shown = told(fleet, "volunteers", "worker")
    ((revision, one),) = shown["xinhuo_schema_revision_info"]
    assert revision["expected"] == revision["found"] != ""
    assert one == 1
    assert shown["xinhuo_hub_lag_seconds_count"][0][1] > 0
    assert shown["xinhuo_statistics_minutes"] == [({"service": "volunteers"}, 0)]
    periods = {labels["job"]: value for labels, value in shown["xinhuo_job_period_seconds"]}
    assert periods["make_partitions"] == 86400
    done = {labels["job"] for labels, _ in shown["xinhuo_job_last_success_timestamp_seconds"]}
    assert "make_partitions" in done


def test_on_threads_there_is_no_hub_that_could_lag(fleet: Fleet) -> None:
    shown = told(fleet, "awards", "worker")
    assert shown["xinhuo_build_info"][0][0]["adapter"] == "threads"
    assert not shown.get("xinhuo_hub_lag_seconds_count")
    assert shown["xinhuo_db_pool_in_use"][0][1] >= 1  # the relays hold theirs


def test_no_label_holds_an_id_or_a_name_and_every_metric_is_on_the_page(fleet: Fleet) -> None:
    service_classes()
    known = {metric.name: set(metric.labels) for metric in metrics.declared()}
    for service, role in fleet.running:
        for name, samples in told(fleet, service, role).items():
            if not name.startswith("xinhuo_"):
                continue
            base = re.sub(r"_(bucket|count|sum|created)$", "", name)
            declared = known.get(name) or known.get(base) or known.get(base + "_total")
            assert declared, name
            for labels, _ in samples:
                assert set(labels) - {"le"} <= declared, name
                assert not [value for label, value in labels.items() if label != "version" and _ID.search(value)], (
                    labels
                )

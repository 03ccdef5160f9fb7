"""The Helm chart renders what Kustomize does, refuses what cannot be, and each value changes what it says it does."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import kubectl
from tools.deploy_check import chart, rendered
from tools.deploy_check.found import Found
from xinhuo.chassis import config

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / chart.CHART
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def chosen(*components: str) -> list[str]:
    """Only these components."""
    return [f"--set=components.{name}={str(name in components).lower()}" for name in VALUES["components"]]


#: What makes the chart render an overlay.
OF_OVERLAY = {
    "production": [],
    "staging": [
        *chosen(
            *("rabbitmq-external", "postgres-external", "external-secrets", "servicemonitor"),
            *("prometheusrule", "grafana-dashboards", "ingress", "backup"),
        ),
        "--set=image.tag=staging",
    ],
    "dev": [
        *chosen("rabbitmq-external", "postgres-external"),
        "--set=image.repository=xinhuo,image.tag=dev",
        "--set=roles.api.replicas=1,roles.worker.replicas=1",
        "--set=settings.XINHUO_LOG_LEVEL=debug",
    ],
}


@pytest.fixture(scope="module")
def overlays() -> dict[str, list[dict[str, Any]]]:
    found = Found()
    items = list(rendered.items(ROOT, found))
    assert found.problems == []
    return {name: [item.body for item in items if item.overlay == name] for name in rendered.OVERLAYS}


@pytest.fixture(scope="module")
def usual() -> dict[str, Any]:
    """The objects of the defaults, by kind and name."""
    return chart.plain(chart.render(CHART))


@pytest.mark.parametrize("overlay", rendered.OVERLAYS)
def test_the_chart_renders_the_objects_of_each_overlay(overlay: str, overlays: dict[str, Any]) -> None:
    theirs = chart.render(CHART, *OF_OVERLAY[overlay])
    assert list(chart.differences(overlays[overlay], theirs)) == []
    assert len(theirs) > 50


def test_a_difference_is_told_with_the_name_of_the_object(overlays: dict[str, Any]) -> None:
    theirs = chart.render(CHART, "--set=rabbitmq.storage=30Gi,components.hpa=false")
    found = dict(chart.differences(overlays["production"], theirs))
    assert found["RabbitmqCluster/rabbitmq"] == "$.spec.persistence.storage is '30Gi', not '20Gi'"
    assert found["HorizontalPodAutoscaler/portal-api"] == "the chart does not have it"
    assert found["Deployment/portal-api"] == "$.spec.replicas is 2, not None"
    assert "Deployment/portal-worker" not in found


def test_helm_has_nothing_to_say_against_the_chart() -> None:
    said = subprocess.run([kubectl.helm(), "lint", "--strict", CHART], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "0 chart(s) failed" in said.stdout


def test_a_packed_chart_is_whole(tmp_path: Path, usual: dict[str, Any]) -> None:
    subprocess.run([kubectl.helm(), "package", CHART, "-d", tmp_path], check=True, capture_output=True)
    [packed] = tmp_path.glob("*.tgz")
    assert chart.plain(chart.render(packed)) == usual


# --- Values that change something -----------------------------------------------------------------------------

DEPLOYMENTS = [f"Deployment/{service}-{role}" for service in config.SERVICES for role in ("api", "worker")]
CHANGES: list[tuple[str, str, str, Any]] = [
    ("rabbitmq.replicas=5", "RabbitmqCluster/rabbitmq", "spec.replicas", 5),
    ("rabbitmq.storageClass=fast", "RabbitmqCluster/rabbitmq", "spec.persistence.storageClassName", "fast"),
    ("postgresql.instances=5", "Cluster/postgresql", "spec.instances", 5),
    ("postgresql.storage=2Ti", "Cluster/postgresql", "spec.storage.size", "2Ti"),
    ("postgresql.walStorage=50Gi", "Cluster/postgresql", "spec.walStorage.size", "50Gi"),
    ("postgresql.storageClass=fast", "Cluster/postgresql", "spec.walStorage.storageClass", "fast"),
    ("backups.retention=60d", "ObjectStore/backups", "spec.retentionPolicy", "60d"),
    ("backups.schedule=0 0 3 * * *", "ScheduledBackup/daily", "spec.schedule", "0 0 3 * * *"),
    ("backups.volume.size=2Ti", "PersistentVolumeClaim/backup", "spec.resources.requests.storage", "2Ti"),
    ("backups.volume.storageClass=far", "PersistentVolumeClaim/backup", "spec.storageClassName", "far"),
    ("quota.pods=200", "ResourceQuota/xinhuo", "spec.hard.pods", 200),
    ("services.awards.worker.resources.limits.memory=1Gi", "Deployment/awards-worker", "", "1Gi"),
    ("services.portal.api.env.XINHUO_DB_POOL=20", "Deployment/portal-api", "", "20"),
    ("overrides.LimitRange/xinhuo.metadata.labels.of=us", "LimitRange/xinhuo", "metadata.labels.of", "us"),
]


def at(body: Any, path: str) -> Any:
    for step in filter(None, path.split(".")):
        body = body[step]
    return body


@pytest.mark.parametrize(("value", "name", "path", "expected"), CHANGES, ids=[one[0] for one in CHANGES])
def test_a_value_changes_what_it_says_and_nothing_else(
    value: str, name: str, path: str, expected: Any, usual: dict[str, Any]
) -> None:
    changed = chart.plain(chart.render(CHART, "--set", value))
    assert [one for one in usual if changed[one] != usual[one]] == [name]
    found = at(changed[name], path)
    assert found == expected if path else str(expected) in json.dumps(found)


def test_a_shared_setting_reaches_every_process_and_makes_new_pods(usual: dict[str, Any]) -> None:
    said = chart.render(CHART, "--set=settings.XINHUO_DB_POOL=12")
    changed = chart.plain(said)
    assert [one for one in usual if changed[one] != usual[one]] == ["ConfigMap/xinhuo-settings"]
    assert changed["ConfigMap/xinhuo-settings"]["data"]["XINHUO_DB_POOL"] == "12"
    [name] = [body["metadata"]["name"] for body in said if body["metadata"]["name"].startswith("xinhuo-settings")]
    before = re.search(r"xinhuo-settings-\w+", json.dumps(chart.render(CHART)))
    assert before is not None
    assert name != before[0]
    used = [
        container["envFrom"][0]["configMapRef"]["name"]
        for body in said
        if body["kind"] in {"Deployment", "Job"}
        for container in body["spec"]["template"]["spec"]["containers"]
    ]
    assert set(used) == {name}
    assert len(used) == len(DEPLOYMENTS) + 1


def test_image_namespace_and_domain_are_the_same_everywhere() -> None:
    digest = "sha256:" + "ab" * 32
    said = chart.render(
        CHART,
        f"--set=image.digest={digest},namespace.name=office,ingress.domain=office.example,image.repository=r.example/x",
    )
    images = set(re.findall(r'"image": "([^"]+)"', json.dumps(said)))
    assert images == {f"r.example/x@{digest}"}
    assert {body["metadata"].get("namespace") for body in said} == {"office", None}
    assert [body["metadata"]["name"] for body in said if "namespace" not in body["metadata"]] == ["office"]
    hosts = {rule["host"] for body in said if body["kind"] == "Ingress" for rule in body["spec"]["rules"]}
    assert hosts == {f"{service}.office.example" for service in config.SERVICES}


def test_autoscaling_has_the_bounds_of_the_values() -> None:
    changed = chart.plain(
        chart.render(
            CHART,
            "--set=roles.api.autoscaling.max=9,roles.worker.autoscaling.max=12,roles.worker.autoscaling.messages=50",
        )
    )
    assert {body["spec"]["maxReplicas"] for name, body in changed.items() if name.startswith("Horizontal")} == {9}
    scaled = [body["spec"] for name, body in changed.items() if name.startswith("ScaledObject/")]
    assert {spec["maxReplicaCount"] for spec in scaled} == {12}
    assert {trigger["metadata"]["value"] for spec in scaled for trigger in spec["triggers"]} == {"50"}


def test_signing_in_by_the_directory_is_for_the_portal_only(usual: dict[str, Any]) -> None:
    changed = chart.plain(chart.render(CHART, "--set=components.oidc=true,oidc.issuer=https://id.office.example"))
    new = sorted(changed.keys() - usual.keys())
    assert new == ["NetworkPolicy/portal-to-directory"]
    assert [one for one in usual if changed[one] != usual[one]] == ["Deployment/portal-api"]
    [container] = changed["Deployment/portal-api"]["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one["value"] for one in container["env"]}
    assert given["XINHUO_OIDC_ISSUER"] == "https://id.office.example"
    assert given["XINHUO_OIDC_CLIENT_SECRET_FILE"] == "/run/secrets/xinhuo/oidc-client-secret"


def test_traces_are_sent_where_the_values_say_and_the_network_lets_them_through(
    overlays: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    overlay = {"resources": ["deploy/overlays/production"], "components": ["deploy/components/traces"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({**overlay, "namespace": "xinhuo"}))
    said = chart.render(CHART, "--set=components.traces=true")
    assert list(chart.differences(kubectl.render(tmp_path), said)) == []
    assert chart.plain(said).keys() - chart.plain(overlays["production"]).keys() == {"NetworkPolicy/to-collector"}

    values = "components.traces=true,traces.endpoint=https://c.observe:4319,traces.namespace=observe"
    other = chart.plain(chart.render(CHART, f"--set={values}"))
    assert other["ConfigMap/xinhuo-settings"]["data"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://c.observe:4319"
    (rule,) = other["NetworkPolicy/to-collector"]["spec"]["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 4319}]
    assert rule["to"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "observe"}


def test_what_holds_data_outlives_the_release() -> None:
    kept = [
        body["kind"]
        for body in chart.render(CHART)
        if (body["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") == "keep"
    ]
    assert sorted(kept) == ["Cluster", "Namespace", "ObjectStore", "PersistentVolumeClaim", "RabbitmqCluster", "Vhost"]


def test_servers_outside_are_reached_at_their_addresses() -> None:
    words = [*OF_OVERLAY["staging"], "--set=rabbitmq.cidr=10.1.0.0/24,postgresql.cidr=10.2.0.9/32"]
    changed = chart.plain(chart.render(CHART, *words))
    assert "10.1.0.0/24" in json.dumps(changed["NetworkPolicy/to-broker"])
    assert "10.2.0.9/32" in json.dumps(changed["NetworkPolicy/to-postgresql"])
    assert "192.0.2." not in json.dumps(changed)


# --- Values that are refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("image.digest=latest", "/image/digest"),
        ("rabbitmq.replicas=2", "/rabbitmq/replicas"),
        ("roles.api.replicas=many", "/roles/api/replicas"),
        ("roles.worker.resources.limits.memory=256", "/roles/worker/resources/limits/memory"),
        ("roles.worker.resources.limits.cpu=1", "'cpu' not allowed"),
        ("components.kafka=true", "'kafka' not allowed"),
        ("replicas=3", "'replicas' not allowed"),
        ("services.notices.api.replica=3", "'replica' not allowed"),
        ("settings.XINHUO_SERVICE_KEY=xhk_a", "XINHUO_SERVICE_KEY"),
        ("settings.DATABASE_URL=postgresql://a", "DATABASE_URL"),
        ("settings.OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", "use components.traces and traces.endpoint"),
        ("traces.endpoint=http://collector", "/traces/endpoint"),
        ("backups.schedule=0 3 * * *", "/backups/schedule"),
        ("overrides.postgresql.spec=1", "postgresql"),
        ("components.rabbitmq-external=true", "须恰好选一个 / choose exactly one of the two"),
        ("components.postgres-cnpg=false", "须恰好选一个 / choose exactly one of the two"),
        ("roles.api.autoscaling.min=7", "min 不得大于 max / min must not be more than max"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(values: str, said: str) -> None:
    with pytest.raises(chart.Refused) as refused:
        chart.render(CHART, "--set", values)
    assert said in str(refused.value)


# --- The schema -----------------------------------------------------------------------------------------------


def described(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, part in schema.get("properties", {}).items():
        if "$ref" in part:
            part = SCHEMA["$defs"][part["$ref"].rpartition("/")[2]]
        yield f"{path}.{name}", part
        yield from described(part, f"{path}.{name}")


def test_every_value_is_described_in_chinese_and_english() -> None:
    parts = dict(described(SCHEMA, ""))
    for path, part in parts.items():
        zh, _, en = part.get("description", "").partition(" / ")
        assert CHINESE.search(zh), path
        assert re.search(r"[A-Za-z]{2}", en), path
    assert len(parts) > 60


def test_every_value_of_the_defaults_is_in_the_schema_and_no_name_is_left_open() -> None:
    parts = dict(described(SCHEMA, ""))

    def names(values: Any, path: str) -> Iterator[str]:
        for name, value in values.items() if isinstance(values, dict) else ():
            yield f"{path}.{name}"
            yield from names(value, f"{path}.{name}")

    assert set(names(VALUES, "")) <= parts.keys()
    closed = [
        path for path, part in parts.items() if part.get("type") == "object" and "additionalProperties" not in part
    ]
    assert closed == [".global"]


def test_the_schema_knows_all_services_components_and_secrets() -> None:
    properties = SCHEMA["properties"]
    assert list(properties["services"]["properties"]) == list(config.SERVICES) == list(VALUES["services"])
    folders = (ROOT / "deploy/components").rglob("kustomization.yaml")
    components = {str(path.parent.relative_to(ROOT / "deploy/components")) for path in folders}
    assert components <= set(properties["components"]["properties"]) == set(VALUES["components"])
    assert len(components) > 10
    secret = {name for name in config.secret_variables() if name.startswith("XINHUO_")}
    assert set(properties["settings"]["propertyNames"]["not"]["enum"]) == secret

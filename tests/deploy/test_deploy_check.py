"""`make deploy-check` is green here and counts what it checked; whatever is broken in a copy, it finds and names."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.deploy_check import (
    __main__ as command,
)
from tools.deploy_check import (
    custom_resources,
    dashboards,
    metric_names,
    promql,
    rules,
    settings,
)
from tools.deploy_check.found import ToolMissing

ROOT = Path(__file__).resolve().parents[2]

RULES = """
groups:
  - name: queues
    rules:
      - record: service:xinhuo_http_requests:rate5m
        expr: sum by (service) (rate(xinhuo_http_requests_total[5m]))
      - alert: DeadLetterNotEmpty
        expr: sum by (service) (xinhuo_dead_letters) > 0 and on (service) service:xinhuo_http_requests:rate5m >= 0
        for: 5m
        labels: {severity: ticket}
        annotations:
          summary: "{{ $labels.service }} 有死信 / {{ $labels.service }} has dead letters"
          description: 请查看并决定如何处理。 / Look at them and decide what to do.
          runbook_url: https://runbooks.example/DeadLetterNotEmpty.md
"""
TESTS = """
rule_files: [../alerts/queues.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'xinhuo_dead_letters{service="awards", reason="refused"}', values: 2x20}
      - {series: 'xinhuo_http_requests_total{service="awards"}', values: 0x20}
    alert_rule_test:
      - eval_time: 15m
        alertname: DeadLetterNotEmpty
        exp_alerts:
          - exp_labels: {service: awards, severity: ticket}
            exp_annotations:
              summary: "awards 有死信 / awards has dead letters"
              description: 请查看并决定如何处理。 / Look at them and decide what to do.
              runbook_url: https://runbooks.example/DeadLetterNotEmpty.md
"""
RUNBOOK = (
    "# DeadLetterNotEmpty\n" + "先看死信的原因，再决定重发还是放弃。" * 6 + "\n" + "Look at the reason first. " * 12
)
ALERTMANAGER = "route: {receiver: office}\nreceivers: [{name: office}]\n"
DASHBOARD: dict[str, Any] = {
    "uid": "flow",
    "title": "Event flow",
    "panels": [
        {
            "type": "row",
            "panels": [
                {
                    "title": "Rate",
                    "targets": [{"expr": 'rate(xinhuo_http_requests_total{service=~"$service"}[$__rate_interval])'}],
                }
            ],
        },
        {"title": "Top", "targets": [{"expr": "topk($n, service:xinhuo_http_requests:rate5m)"}]},
    ],
    "templating": {
        "list": [{"name": "service", "type": "query", "query": {"query": "label_values(xinhuo_dead_letters, service)"}}]
    },
}


@pytest.fixture
def monitoring(tmp_path: Path) -> Path:
    """A small tree of monitoring in which all is well."""
    folder = tmp_path / "deploy" / "monitoring"
    for name, text in {
        "alerts/queues.yaml": RULES,
        "tests/queues.yaml": TESTS,
        "runbooks/DeadLetterNotEmpty.md": RUNBOOK,
        "prometheus.yml": "rule_files: [alerts/*.yaml]\n",
        "alertmanager.yml": ALERTMANAGER,
        "dashboards/flow.json": json.dumps(DASHBOARD),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return tmp_path


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of what is checked."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", symlinks=True)
    return tmp_path


def said_by(capsys: pytest.CaptureFixture[str], root: Path, *modules: str) -> tuple[int, str]:
    code = command.main([*(word for module in modules for word in ("--only", module)), "--root", str(root)])
    return code, capsys.readouterr().out


# --- The whole ------------------------------------------------------------------------------------------------


def test_all_that_is_deployed_is_in_order_and_was_counted() -> None:
    done = subprocess.run([sys.executable, "-m", "tools.deploy_check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == command.FINE, done.stdout + done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert list(counts) == [
        "manifests",
        "custom_resources",
        "rules",
        "rule_tests",
        "dashboards",
        "expressions",
        "settings",
    ]
    assert all(number > 0 for number in counts.values()), counts


def test_nothing_to_check_is_not_taken_for_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = command.main(["--root", str(tmp_path), "--skip", "checkov"])
    said = capsys.readouterr().out
    assert code == command.FOUND
    for missing in ("Containerfile", "overlays/production", "monitoring/rules", "monitoring/tests", "dashboards"):
        assert missing in said
    assert json.loads(said.splitlines()[-1])["manifests"] == 0


def test_a_missing_program_is_named_and_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*words: str) -> str:
        raise ToolMissing("缺少 promtool / promtool is missing")

    monkeypatch.setattr(rules.programs, "of_debian", missing)
    assert command.main(["--only", "rules"]) == command.MISSING
    assert "promtool" in capsys.readouterr().err


# --- Manifests ------------------------------------------------------------------------------------------------


def first(root: Path, kind: str) -> Path:
    """A file under deploy/ that holds an object of a kind."""
    for path in sorted(root.glob("deploy/base/**/*.yaml")) + sorted(root.glob("deploy/components/**/*.yaml")):
        if f"\nkind: {kind}\n" in path.read_text():
            return path
    raise AssertionError(f"no file with a {kind}")


def change(path: Path, before: str, after: str) -> Path:
    text = path.read_text()
    assert before in text, path
    path.write_text(text.replace(before, after))
    return path


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A copy in which a number of things are broken, and what the check says of it."""
    root = tmp_path_factory.mktemp("broken")
    shutil.copytree(ROOT / "deploy", root / "deploy", symlinks=True)
    change(first(root, "PodDisruptionBudget"), "  maxUnavailable: 1\n", "  maxUnavailible:  1\n")
    change(first(root, "ScaledObject"), "  maxReplicaCount:", "  maxReplicas:")
    change(first(root, "TriggerAuthentication"), "keda.sh/v1alpha1\nkind: Trigger", "keda.sh/v1\nkind: Trigger")
    change(first(root, "Namespace"), "enforce: restricted", "enforce: baseline")
    change(
        first(root, "ServiceAccount"),
        "apiVersion: v1\nkind: ServiceAccount",
        "apiVersion: v1beta1\nkind: ServiceAccount",
    )
    env = change(root / "deploy/base/common/settings.env", "XINHUO_DRAIN_SECONDS=", "XINHUO_DRAIN_SECOND=")
    env.write_text(env.read_text() + "\nAMQP_URI=amqp://somebody:secret@broker/\n")
    change(root / "deploy/images/Containerfile", "ENTRYPOINT", "RUN sudo true\nENTRYPOINT")
    production = root / "deploy/overlays/production/kustomization.yaml"
    content = yaml.safe_load(production.read_text())
    operation = {"op": "add", "path": "/spec/template/spec/containers/0/securityContext/privileged", "value": True}
    patch = {"target": {"kind": "Deployment", "name": "awards-api"}, "patch": yaml.safe_dump([operation])}
    production.write_text(yaml.safe_dump({**content, "patches": [*content.get("patches", []), patch]}))
    words = [sys.executable, "-m", "tools.deploy_check", "--skip", "rules", "--skip", "dashboards", "--root", str(root)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == command.FOUND, done.stdout + done.stderr
    return root, done.stdout.splitlines()


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("PodDisruptionBudget", ": too many spaces after colon"),
        ("PodDisruptionBudget", ": Kubernetes 1.25.0: $.spec: Additional properties are not allowed ('maxUnavailible'"),
        ("PodDisruptionBudget", ": Kubernetes 1.37.0: $.spec: Additional properties are not allowed ('maxUnavailible'"),
        ("ServiceAccount", ": Kubernetes 1.25.0: there is no ServiceAccount of v1beta1"),
        ("ScaledObject", ": $.spec: Additional properties are not allowed ('maxReplicas' was unexpected)"),
        ("TriggerAuthentication", ": there is no schema of keda.sh/v1/TriggerAuthentication"),
        ("Namespace", ": the label pod-security.kubernetes.io/enforce is not restricted"),
    ],
)
def test_a_broken_manifest_is_found_in_its_file(kind: str, named: str, broken: tuple[Path, list[str]]) -> None:
    root, said = broken
    file = str(first(root, kind).relative_to(root))
    assert any(line.startswith(file) and named in line for line in said), "\n".join(said)


@pytest.mark.parametrize(
    "problem",
    [
        r"deploy/base/.*\(Deployment/awards-api in production\): Privileged Containers: containers\[xinhuo\]",
        r"deploy/base/.*\(Deployment/awards-api in production\): CKV_K8S_16 ",
        r"deploy/images/Containerfile:\d+: DL3004 ",
        r"deploy/base: the setting XINHUO_DRAIN_SECONDS has no place in the manifests",
        r"deploy/base/.* XINHUO_DRAIN_SECOND is no setting",
        r"deploy/base/.* the secret AMQP_URI is in the environment",
    ],
)
def test_a_privileged_pod_a_bad_image_and_a_bad_setting_are_found(problem: str, broken: tuple[Path, list[str]]) -> None:
    _, said = broken
    assert any(re.match(problem, line) for line in said), "\n".join(said)


def test_a_manifest_that_cannot_be_read_is_found_in_its_file(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = change(first(copied, "PodDisruptionBudget"), "kind: PodDisruptionBudget", "kind: [PodDisruptionBudget")
    code, said = said_by(capsys, copied, "kustomize")
    assert code == command.FOUND
    assert f"\n{file.relative_to(copied)}: " in said


def test_a_missing_overlay_and_a_warning_are_problems(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copied / "deploy/overlays/staging")
    path = copied / "deploy/overlays/dev/kustomization.yaml"
    path.write_text(path.read_text() + "\ncommonLabels: {stage: dev}\n")  # deprecated
    code, said = said_by(capsys, copied, "kustomize")
    assert code == command.FOUND
    assert "\ndeploy/overlays/staging/kustomization.yaml: the file is missing" in said
    assert any(line.startswith("deploy/overlays/dev/") and "commonLabels" in line for line in said.splitlines()), said


# --- Settings -------------------------------------------------------------------------------------------------


def test_every_setting_is_known_by_its_name_or_by_its_file() -> None:
    known = settings.known()
    assert {"XINHUO_KEY_FILE", "AMQP_URI", "AWARDS_DATABASE_URL", "XINHUO_PORTAL_URL"} <= known
    assert settings.setting_of("XINHUO_KEY_FILE", known) == "XINHUO_KEY_FILE"
    assert settings.setting_of("AMQP_URI_FILE", known) == "AMQP_URI"
    assert settings.setting_of("XINHUO_HOST_FILE", known) is None


# --- Rules, alerts, runbooks ----------------------------------------------------------------------------------


def test_a_small_tree_of_rules_and_dashboards_is_in_order(monitoring: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = said_by(capsys, monitoring, "rules", "dashboards")
    assert code == command.FINE, said
    assert json.loads(said.splitlines()[-1]) == {
        "manifests": 0,
        "custom_resources": 0,
        "rules": 2,
        "rule_tests": 1,
        "dashboards": 1,
        "expressions": 5,
        "settings": 0,
    }


ALERTS = "deploy/monitoring/alerts/queues.yaml"
BROKEN_RULES = [
    (ALERTS, "xinhuo_dead_letters)", "xinhuo_dead_letters", "unclosed"),
    (ALERTS, "rate(xinhuo_http_requests_total[5m])", "rate(xinhuo_http_requests_total)", "range vector"),
    (
        ALERTS,
        "rate(xinhuo_http_requests_total",
        "rate(xinhuo_http_request_total",
        "no metric xinhuo_http_request_total",
    ),
    (ALERTS, "(xinhuo_dead_letters)", '(xinhuo_dead_letters{servise="a"})', "has no label servise"),
    (ALERTS, "severity: ticket", "severity: soon", "severity is soon"),
    (ALERTS, "有死信 / ", "", "summary is not in Chinese and English"),
    (ALERTS, " / Look at them and decide what to do.", "", "description is not in Chinese and English"),
    (ALERTS, "runbook_url", "runbook", "no runbook_url"),
    (ALERTS, "example/DeadLetterNotEmpty.md", "example/Elsewhere.md", "no runbook Elsewhere.md"),
    (ALERTS, "alert: DeadLetterNotEmpty", "alert: DeadLetters", "no test makes this alert fire"),
    (ALERTS, "groups:", "grupps:", "no groups"),
    (ALERTS, "> 0", "> 2", "FAILED"),
    ("deploy/monitoring/tests/queues.yaml", "values: 2x20", "values: 0x20", "FAILED"),
    ("deploy/monitoring/alertmanager.yml", "{receiver: office}", "{receiver: nobody}", "nobody"),
    ("deploy/monitoring/prometheus.yml", "rule_files", "rules_files", "rules_files"),
]


@pytest.mark.parametrize(("file", "before", "after", "named"), BROKEN_RULES, ids=[one[3] for one in BROKEN_RULES])
def test_a_broken_rule_is_found_in_its_file(
    file: str, before: str, after: str, named: str, monitoring: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (monitoring / file).read_text()
    assert before in text
    (monitoring / file).write_text(text.replace(before, after))
    code, said = said_by(capsys, monitoring, "rules")
    assert code == command.FOUND
    assert any(named in line and line.startswith("deploy/monitoring/") for line in said.splitlines()), said
    named_file = file if named != "FAILED" else "deploy/monitoring/tests/queues.yaml"
    assert f"\n{named_file}" in said


@pytest.mark.parametrize("kept", ["先看死信的原因。" * 20, "Look at the reason first. " * 12, "DeadLetter"])
def test_a_runbook_in_one_language_only_is_found(
    kept: str, monitoring: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (monitoring / "deploy/monitoring/runbooks/DeadLetterNotEmpty.md").write_text("# DeadLetterNotEmpty\n" + kept)
    code, said = said_by(capsys, monitoring, "rules")
    assert code == command.FOUND
    assert "its runbook DeadLetterNotEmpty.md is not in Chinese and English" in said


# --- Dashboards -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("rate5m)", "rate5m", "does not parse"),
        ("xinhuo_http_requests_total{", "xinhuo_http_requests_totals{", "no metric xinhuo_http_requests_totals"),
        ("xinhuo_http_requests_total{service", "xinhuo_http_requests_total{zone", "has no label zone"),
        ("label_values(xinhuo_dead_letters", "label_values(xinhuo_dead_letter", "no metric xinhuo_dead_letter"),
        ('"uid"', '"id"', "no dashboard"),
        ('"expr"', '"query"', "does not parse"),
    ],
)
def test_a_broken_expression_in_a_dashboard_is_found_in_its_file(
    before: str, after: str, named: str, monitoring: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = monitoring / "deploy/monitoring/dashboards/flow.json"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))
    code, said = said_by(capsys, monitoring, "dashboards")
    assert code == command.FOUND
    assert any(
        named in line and line.startswith("deploy/monitoring/dashboards/flow.json") for line in said.splitlines()
    )


def test_two_dashboards_of_one_uid_are_found(monitoring: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = monitoring / "deploy/monitoring/dashboards"
    shutil.copy(folder / "flow.json", folder / "other.json")
    code, said = said_by(capsys, monitoring, "dashboards")
    assert code == command.FOUND
    assert "another dashboard has its uid flow" in said


@pytest.mark.parametrize(
    ("expression", "plain"),
    [
        ("rate(up[$__rate_interval])", "rate(up[5m])"),
        ("rate(up[${__range}])", "rate(up[5m])"),
        ("max_over_time(up[$window:$__interval])", "max_over_time(up[5m:5m])"),
        ('up{job=~"$job", a="${b:regex}"} > $limit', 'up{job=~"$job", a="${b:regex}"} > 1'),
        ("sum(up) * $__interval_ms", "sum(up) * 300"),
    ],
)
def test_variables_of_grafana_are_replaced_by_what_they_may_stand_for(expression: str, plain: str) -> None:
    assert dashboards.plain(expression) == plain
    assert promql.problems(dashboards.plain(expression)) == []


# --- Metrics --------------------------------------------------------------------------------------------------


def test_the_metrics_found_in_the_code_are_those_that_a_process_shows() -> None:
    program = (
        "import json, services.notify.service, services.volunteers.service, services.notices.service, "
        "services.awards.service, services.portal.service, xinhuo.chassis.metrics as m\n"
        "print(json.dumps(sorted(f.name for f in m.REGISTRY.collect() if f.name.startswith('xinhuo_'))))"
    )
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = {metric.name.removesuffix("_total").removesuffix("_info") for metric in metric_names.declared()}
    found = {name.removesuffix("_info") for name in json.loads(shown.stdout)}
    assert found <= ours
    assert len(ours) > 10


def test_no_metric_of_others_is_listed_twice_or_as_ours() -> None:
    names = [name for names in metric_names._OTHERS.values() for name in names.split()]
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith("xinhuo_")]


# --- Custom resources -----------------------------------------------------------------------------------------


def test_every_schema_names_all_fields_and_refuses_others() -> None:
    open_places = []

    def walk(schema: Any, path: str) -> None:
        if isinstance(schema, dict):
            if (
                schema.get("type") == "object"
                and "properties" in schema
                and schema["additionalProperties"] is not False
            ):
                open_places.append(path)
            for key, part in schema.items():
                walk(part, f"{path}/{key}")
        elif isinstance(schema, list):
            for number, part in enumerate(schema):
                walk(part, f"{path}/{number}")

    for name, schema in custom_resources.kinds().items():
        walk(schema, name)
    assert open_places == []
    assert len(custom_resources.kinds()) > 10


def test_a_custom_resource_of_an_unknown_kind_is_a_problem() -> None:
    body = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {}}
    assert custom_resources.problems(body) == ["there is no schema of example.com/v1/Thing in schemas/"]

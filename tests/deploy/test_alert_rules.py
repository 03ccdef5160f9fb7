"""Rules and alerts: well formed, proven on both sides of each threshold, and told to the right people."""

import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kombu import Connection

from tests.support.alerts import FOLDER, Alert, alerts, rules
from tests.support.processes import free_port
from tests.support.prometheus import run
from tests.support.rabbit import RabbitNode
from tests.support.waiting import wait_for
from xinhuo.chassis import metrics
from xinhuo.chassis.config import SERVICES, Settings
from xinhuo.cli.build import service_classes

TESTS = sorted(FOLDER.glob("tests/*.yaml"))
NAMES = sorted({alert.name for alert in alerts()})
_METRIC = re.compile(r"\b((?:xinhuo|rabbitmq|kube)_[a-z_]+)\b")


def test_all_rules_are_well_formed() -> None:
    files = sorted([*FOLDER.glob("rules/*.yaml"), *FOLDER.glob("alerts/*.yaml")])
    done = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *files, cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == len(files) >= 8


@pytest.mark.parametrize("file", TESTS, ids=lambda path: path.stem)
def test_the_rules_do_what_their_tests_say(file: Path) -> None:
    done = run("promtool", "test", "rules", file, cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_shown_to_fire_and_not_to_fire() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for file in TESTS:
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]:
            for case in test.get("alert_rule_test", ()):
                (fires if case["exp_alerts"] else silent).add(case["alertname"])
    assert len(NAMES) > 20
    assert sorted(fires) == NAMES
    assert sorted(silent) == NAMES


@pytest.mark.parametrize(
    ("file", "right", "wrong", "found_by"),
    [
        ("alerts/events.yaml", "xinhuo_outbox_oldest_unpublished_age_seconds) > 60", "…) >", "check"),
        ("alerts/events.yaml", "unpublished_age_seconds) > 60", "unpublished_age_seconds) > 6000", "test"),
        ("alerts/events.yaml", "unpublished_age_seconds) > 60", "unpublished_age_seconds) >= 60", "test"),
        ("alerts/events.yaml", 'outcome="unroutable"', 'outcome="unrouted"', "test"),
        ("alerts/events.yaml", "{{ $labels.topic }}", "{{ $labels.type }}", "test"),
        ("alerts/broker.yaml", "for: 2m", "for: 0m", "test"),
        ("alerts/processes.yaml", "min_over_time(xinhuo_db_pool_in_use[2m])", "xinhuo_db_pool_size", "test"),
        ("alerts/processes.yaml", "max by (service) (up", "min by (service) (up", "test"),
        ("alerts/books.yaml", "> 26 * 3600", "> 25 * 3600", "test"),
        ("alerts/slo.yaml", "xinhuo:slo_bad:increase1h >= 10", "xinhuo:slo_bad:increase1h >= 1", "test"),
        ("rules/work.yaml", "max by (queue) (rabbitmq_detailed_q", "min by (queue) (rabbitmq_detailed_q", "test"),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_found(file: str, right: str, wrong: str, found_by: str, tmp_path: Path) -> None:
    copy = tmp_path / "monitoring"
    shutil.copytree(FOLDER, copy)
    text = (copy / file).read_text(encoding="utf-8")
    assert right in text
    (copy / file).write_text(text.replace(right, wrong), encoding="utf-8")
    if found_by == "check":
        done = run("promtool", "check", "rules", copy / file, cwd=copy)
    else:
        uses = Path(file).name
        tests = [path for path in copy.glob("tests/*.yaml") if uses in path.read_text() and "days" not in path.stem]
        done = run("promtool", "test", "rules", *tests, cwd=copy)
        assert tests
    assert done.returncode != 0
    assert "FAILED" in done.stdout + done.stderr


@pytest.mark.parametrize("alert", alerts(), ids=lambda one: f"{one.name}-{one.labels.get('window', '')}")
def test_an_alert_says_in_both_languages_what_is_wrong_and_where_to_read_on(alert: Alert) -> None:
    assert alert.name.startswith("Xinhuo")
    assert alert.labels["severity"] in {"page", "ticket"}
    for name in ("summary", "description"):
        assert re.search("[一-鿿]", alert.annotations[f"{name}_zh"])
        assert alert.annotations[name].isascii()
    assert alert.annotations["runbook_url"] == f"deploy/monitoring/runbooks/{alert.name}.md"


def test_every_metric_of_ours_in_the_rules_exists_with_the_labels_that_are_asked_for() -> None:
    service_classes()
    labels = {one.name: set(one.labels) for one in metrics.declared()}
    for rule in rules():
        for name, matchers in re.findall(r"\b(xinhuo_[a-z_]+)(\{[^}]*\})?", rule["expr"]):
            metric = next(one for one in (name, re.sub("_(bucket|count|sum)$", "", name)) if one in labels)
            asked = set(re.findall(r"(\w+)(?==|!=)", matchers)) - {"le"}
            assert asked <= labels[metric], rule["expr"]


def test_what_is_recorded_is_what_alerts_and_records_use() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = {name for rule in rules() for name in re.findall(r"\bxinhuo:[a-z_0-9:]+", rule["expr"])}
    assert used
    assert used <= recorded


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the metrics of a RabbitMQ with its plugin, in which there is one queue."""
    node = RabbitNode(tmp_path_factory.mktemp("rabbit"))
    port = free_port()
    (node.folder / "enabled_plugins").write_text("[rabbitmq_prometheus].\n")
    with (node.folder / "rabbitmq.conf").open("a") as settings:
        settings.write(f"prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {port}\n")
        settings.write("collect_statistics_interval = 1000\n")
    node.start()
    with Connection(node.add_vhost("xinhuo")) as connection:
        connection.default_channel.queue_declare(
            "awards.dead", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"}
        )
    yield f"http://127.0.0.1:{port}"
    node.discard()


def test_rabbitmq_tells_what_the_rules_ask_at_the_addresses_that_prometheus_asks(broker: str) -> None:
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]

    def told() -> set[str]:
        found: set[str] = set()
        for job in jobs:
            if not job["job_name"].startswith("rabbitmq"):
                continue
            asked = "&".join(f"{name}={value}" for name, values in job.get("params", {}).items() for value in values)
            with urllib.request.urlopen(f"{broker}{job.get('metrics_path', '/metrics')}?{asked}") as answer:  # noqa: S310
                found |= set(re.findall(r"^(rabbitmq_\w+)", answer.read().decode(), re.MULTILINE))
        return found

    # Of two names for one thing, that of /metrics/per-object is there in the sum, without its queue.
    wanted = {name for rule in rules() for name in _METRIC.findall(rule["expr"]) if name.startswith("rabbitmq_")}
    assert len(wanted) >= 7
    wait_for(lambda: wanted <= told(), 30, f"{wanted - told()} to be told")
    assert wanted <= told()


# Prometheus and Alertmanager


def test_the_examples_are_well_formed() -> None:
    for program, command, file in (
        ("promtool", "check config", "prometheus.yml"),
        ("amtool", "check-config", "alertmanager.yml"),
    ):
        done = run(program, *command.split(), file, cwd=FOLDER)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "SUCCESS" in done.stdout


def test_prometheus_asks_every_process_of_one_machine() -> None:
    settings = Settings()
    entries = yaml.safe_load((FOLDER / "targets" / "xinhuo.yaml").read_text(encoding="utf-8"))
    found = {(entry["labels"]["service"], entry["labels"]["role"]): entry["targets"] for entry in entries}
    wanted = {
        (service, role): [f"127.0.0.1:{settings.port_of(service) + (10 if role == 'worker' else 0)}"]
        for service in SERVICES
        for role in ("api", "worker")
    }
    assert found == wanted


@pytest.mark.parametrize(("severity", "receiver"), [("page", "wecom-and-mail"), ("ticket", "mail")])
def test_who_is_woken_and_who_is_written_to(severity: str, receiver: str) -> None:
    done = run(
        "amtool", "config", "routes", "test", "--config.file=alertmanager.yml", f"--verify.receivers={receiver}",
        f"severity={severity}", "service=awards", cwd=FOLDER,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_inhibited_and_what_inhibits_are_alerts_of_ours() -> None:
    inhibited = yaml.safe_load((FOLDER / "alertmanager.yml").read_text(encoding="utf-8"))["inhibit_rules"]
    for rule in inhibited:
        named = re.findall(r"Xinhuo\w+", str(rule))
        assert len(named) >= 2
        assert set(named) <= set(NAMES)


def test_a_message_begins_in_chinese_and_leads_to_the_runbook(tmp_path: Path) -> None:
    data = tmp_path / "alert.json"
    data.write_text(
        '{"Status":"firing","Alerts":[{"Status":"firing","Labels":{"alertname":"XinhuoQueueMissing","service":"awards"},'
        '"Annotations":{"summary_zh":"队列不见了","description_zh":"它被删除","summary":"gone",'
        '"runbook_url":"deploy/monitoring/runbooks/XinhuoQueueMissing.md"},"StartsAt":"2026-03-05T02:00:00Z"}],'
        '"CommonLabels":{"severity":"page","service":"awards"}}',
        encoding="utf-8",
    )
    done = run(
        "amtool", "template", "render", "--template.glob=templates/*.tmpl",
        '--template.text={{ template "xinhuo.text" . }}', f"--template.data={data}", cwd=FOLDER,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith("【紧急】1 项 薪火 awards")
    assert "deploy/monitoring/runbooks/XinhuoQueueMissing.md" in done.stdout

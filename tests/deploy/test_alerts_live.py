"""Real Prometheus and Alertmanager watch real services: what is broken calls somebody, and its runbook mends it.

Breaking and mending are commands that the runbooks give, as they stand there.
"""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import yaml

from tests.support.fleet import Fleet, port_of
from tests.support.installation import SERVICES, xinhuo
from tests.support.messages import Message, publish
from tests.support.postgres import create_database, drop_database, migrated_template
from tests.support.rabbit import RabbitNode
from tests.support.waiting import wait_for
from tests.support.watching import MONITORING, Watch, faster, quick_routes, quick_rules

ADAPTER = "nameko" if importlib.util.find_spec("nameko") else "threads"
MEMBERS = tuple((service, "all") for service in SERVICES)
KILLED = ("notify", "all")
PATIENCE = 90
#: What is broken at once; the broker's alarm comes after it, since it explains, and silences, the missing queue.
BROKEN = (
    ("XinhuoConsumerAbsent", "wecom-and-mail", {"service": "notify"}),
    ("XinhuoQueueMissing", "wecom-and-mail", {"queue": "awards.add_to_tally"}),
    ("XinhuoDeadLetterNotEmpty", "mail", {"service": "volunteers"}),
)
_NAMES = "|".join(alert for alert, _, _ in BROKEN) + "|XinhuoBrokerAlarm|XinhuoQueueHasNoConsumers"
#: All queues are read, and nothing of what is looked at here alarms.
ALL_WELL = (
    f'absent(ALERTS{{alertname=~"{_NAMES}"}})'
    " and on () (count(xinhuo:queue_consumers > 0) == count(xinhuo:queue_expected))"
)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RabbitNode]:
    """A node of this test's own: its memory alarm would stop everybody."""
    made = RabbitNode(tmp_path / "rabbit", metrics=True)
    try:
        made.start()
        yield made
    finally:
        made.discard()


@pytest.fixture
def fleet(node: RabbitNode, postgres_url: str, tmp_path: Path) -> Iterator[Fleet]:
    """All services, on a virtual host of the name that the runbooks and Prometheus' configuration use."""
    url = create_database(postgres_url, migrated_template(postgres_url))
    made = Fleet(tmp_path, {"DATABASE_URL": url, "AMQP_URI": node.add_vhost("xinhuo")})
    try:
        made.prepare()
        made.begin(ADAPTER, *MEMBERS)
        yield made
    finally:
        made.end()
        drop_database(url)


@pytest.fixture
def watch(fleet: Fleet, node: RabbitNode, tmp_path: Path) -> Iterator[Watch]:
    made = Watch(tmp_path / "watch", node.metrics_port)
    try:
        made.start()
        made.watch((port_of(fleet, one), *one) for one in MEMBERS)
        # What is not asked yet is absent, and absence alarms after two seconds here.
        wait_for(lambda: made.ask(ALL_WELL), 60, "nothing to be wrong yet")
        yield made
    finally:
        made.end()


def commands(alert: str, *words: str) -> list[list[str]]:
    """Return the commands beginning with these words that the runbook of an alert gives; there must be one."""
    page = (MONITORING / "runbooks" / f"{alert}.md").read_text(encoding="utf-8")
    blocks = [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page, flags=re.S))
    found = [
        given for line in (*blocks, *spans) if line.startswith(words[0])
        and (given := shlex.split(line, comments=True))[: len(words)] == list(words)
    ]  # fmt: skip
    assert found, f"the runbook of {alert} says nowhere: {' '.join(words)}"
    return found


@pytest.mark.timeout(300)
def test_what_is_broken_calls_somebody_and_the_runbook_mends_it(fleet: Fleet, node: RabbitNode, watch: Watch) -> None:
    settings = fleet.settings
    assert watch.broken_rules() == []
    watch.calls.clear()

    # A worker is killed, a message is no event, a queue is deleted.
    fleet.running[KILLED].kill()
    publish(settings["AMQP_URI"], Message().with_body(b"{}"))
    node.ctl(*commands("XinhuoQueueMissing", "rabbitmqctl", "delete_queue")[0][1:])

    for alert, receiver, labels in BROKEN:
        assert watch.wait_for("firing", alert, PATIENCE, **labels).receiver == receiver, alert
    # That its queues have no reader is so, too; whether it is told depends on which of the two was seen first.
    unread = 'ALERTS{alertname="XinhuoQueueHasNoConsumers", alertstate="firing", queue="notify.acknowledge_hours"}'
    wait_for(lambda: watch.ask(unread), PATIENCE, "the queues of the killed worker to have no reader")

    # Who cannot consume is not ready, and says why; it lives, as no restart would mend that.
    unready = requests.get(fleet.url("awards") + "/readyz", timeout=10)
    assert (unready.status_code, requests.get(fleet.url("awards") + "/healthz", timeout=10).status_code) == (503, 200)
    assert "awards.add_to_tally" in unready.json()["checks"]["consumers"]

    drop = commands("XinhuoDeadLetterNotEmpty", "xinhuo", "dead", "drop")[0]
    letter = str(fleet.scalar("SELECT id FROM volunteers.dead_letters WHERE state = 'waiting'"))
    mending = [[letter if word == "ID" else word for word in drop], ["xinhuo", "topology", "apply"]]
    assert mending[1] in commands("XinhuoQueueMissing", *mending[1])
    with ThreadPoolExecutor() as pool:
        ended = pool.map(lambda words: xinhuo(*words[1:], settings=settings, stdin="y\n"), mending)
        fleet.running.pop(KILLED).wait(10)
        fleet.begin(ADAPTER, KILLED)
        assert [(one.code, one.stderr) for one in ended if one.code != 0] == []

    for alert, receiver, labels in BROKEN:
        assert watch.wait_for("resolved", alert, PATIENCE, **labels).receiver == receiver, alert
    assert fleet.scalar("SELECT count(*) FROM volunteers.dead_letters WHERE state = 'dropped'") == 1
    assert fleet.get("awards", "/readyz")

    # RabbitMQ has no memory left, and then it has again.
    watermark = commands("XinhuoBrokerAlarm", "rabbitmqctl", "set_vm_memory_high_watermark")
    tried, back = (words[1:] for words in watermark[:2])
    node.ctl(*tried)
    assert watch.wait_for("firing", "XinhuoBrokerAlarm", PATIENCE, alarm="memory").receiver == "wecom-and-mail"
    node.ctl(*back)
    watch.wait_for("resolved", "XinhuoBrokerAlarm", PATIENCE, alarm="memory")

    wait_for(lambda: watch.ask(ALL_WELL), PATIENCE, f"all to be well: {watch.calls[-10:]}")
    assert watch.broken_rules() == []


def test_only_durations_are_shortened_for_this() -> None:
    for path in [*MONITORING.glob("rules/*.yaml"), *MONITORING.glob("alerts/*.yaml")]:
        text = path.read_text(encoding="utf-8")
        before, after = yaml.safe_load(text), yaml.safe_load(quick_rules(text))
        for content in (before, after):
            for group in content["groups"]:
                group.pop("interval", None)
                for rule in group["rules"]:
                    rule.pop("for", None)
                    rule["expr"] = re.sub(r"\[\w+\]", "[]", rule["expr"])
        assert before == after, path.name
    assert [faster("15m"), faster("1h30m"), faster("10s")] == ["15000ms", "90000ms", "1000ms"]


def test_who_is_called_for_what_stays_as_it_is_for_this() -> None:
    text = (MONITORING / "alertmanager.yml").read_text(encoding="utf-8")
    before, after = yaml.safe_load(text), quick_routes(text, "http://telephone.example")
    assert after["inhibit_rules"] == before["inhibit_rules"]
    for content in (before, after):
        for route in (content["route"], *content["route"]["routes"]):
            route.pop("group_wait", None)
            route.pop("group_interval", None)
    assert after["route"] == before["route"]
    assert [one["name"] for one in after["receivers"]] == [one["name"] for one in before["receivers"]]

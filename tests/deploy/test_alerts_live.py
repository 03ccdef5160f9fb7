"""Real Prometheus and Alertmanager watch real services: what is broken calls somebody, its runbook mends it.

All is broken at once, so that one pair of servers and one wait is enough; each alert is another thing.
"""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.support.fleet import Fleet, port_of
from tests.support.installation import SERVICES, xinhuo
from tests.support.messages import Message, publish
from tests.support.postgres import create_database, drop_database, migrated_template
from tests.support.rabbit import RabbitNode
from tests.support.waiting import wait_for
from tests.support.watching import FASTER, MONITORING, Watch, faster, quick_rules

ADAPTER = "nameko" if importlib.util.find_spec("nameko") else "threads"
MEMBERS = tuple((service, "all") for service in SERVICES)
PATIENCE = 90
BROKEN = (
    ("XinhuoConsumerAbsent", {"service": "awards"}),
    ("XinhuoQueueHasNoConsumers", {"queue": "awards.add_to_tally"}),
    ("XinhuoDeadLetterNotEmpty", {"service": "volunteers"}),
    ("XinhuoQueueMissing", {"queue": "notify.forget_person"}),
    ("XinhuoBrokerAlarm", {"alarm": "memory"}),
)
_ALARMS = f'ALERTS{{alertname=~"{"|".join(alert for alert, _ in BROKEN)}"}}'
ALL_WELL = f"absent({_ALARMS}) and on () (count(xinhuo:queue_consumers > 0) == count(xinhuo:queue_expected))"


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
    url = create_database(postgres_url, migrated_template(postgres_url))
    made = Fleet(tmp_path, {"DATABASE_URL": url, "AMQP_URI": node.uri()})
    try:
        made.prepare()
        made.begin(ADAPTER, *MEMBERS)
        yield made
    finally:
        made.end()
        drop_database(url)


@pytest.fixture
def watch(fleet: Fleet, node: RabbitNode, tmp_path: Path) -> Iterator[Watch]:
    made = Watch(tmp_path / "watch")
    try:
        made.start()
        made.watch("xinhuo", [(port_of(fleet, one), {"service": one[0], "role": one[1]}) for one in MEMBERS])
        made.watch("rabbitmq", [(node.metrics_port, {})])
        # What is not asked yet is absent, and absence alarms after two seconds here.
        wait_for(lambda: made.ask(ALL_WELL), 60, "nothing to be wrong yet")
        yield made
    finally:
        made.end()


def remedy(alert: str, *words: str) -> list[str]:
    """Return the words of the command that the alert's runbook gives; fail when it gives none that begins so."""
    page = (MONITORING / "runbooks" / f"{alert}.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()]
    found = [given for line in lines if (given := shlex.split(line, comments=True))[: len(words)] == list(words)]
    assert found, f"the runbook of {alert} says nowhere: {' '.join(words)}"
    return found[0]


@pytest.mark.timeout(300)
def test_what_is_broken_calls_somebody_and_the_runbook_mends_it(fleet: Fleet, node: RabbitNode, watch: Watch) -> None:
    settings = fleet.settings
    assert watch.broken_rules() == []
    watch.calls.clear()

    # A worker is killed; an event is poison; a queue is deleted; RabbitMQ has no memory left.
    fleet.running[("awards", "all")].kill()
    publish(settings["AMQP_URI"], Message().with_body(b"{}"))
    node.ctl("delete_queue", "notify.forget_person")
    node.ctl("set_vm_memory_high_watermark", "0.0001")

    for alert, labels in BROKEN:
        watch.wait_for("firing", alert, PATIENCE, **labels)
    kinds = {alert for alert, _ in BROKEN}
    about = {of.get("service") for _, of in watch.calls if of["alertname"] in kinds}
    assert about == {None, "awards", "volunteers", "notify"}, "whatever still works calls nobody"

    node.ctl(*remedy("XinhuoBrokerAlarm", "rabbitmqctl", "set_vm_memory_high_watermark")[1:])
    with ThreadPoolExecutor(3) as pool:
        started = pool.submit(_start_again, fleet)
        apply = remedy("XinhuoQueueMissing", "xinhuo", "topology", "apply")[1:]
        declared = pool.submit(xinhuo, *apply, settings=settings)
        drop = remedy("XinhuoDeadLetterNotEmpty", "xinhuo", "dead", "drop")[1:]
        dropped = pool.submit(xinhuo, *_filled(drop, fleet), settings=settings)
        for done in (declared.result(), dropped.result()):
            assert done.code == 0, done
        started.result()

    for alert, labels in BROKEN:
        watch.wait_for("resolved", alert, PATIENCE, **labels)
    assert fleet.scalar("SELECT count(*) FROM volunteers.dead_letters WHERE state = 'dropped'") == 1
    assert watch.broken_rules() == []


def _start_again(fleet: Fleet) -> None:
    fleet.running.pop(("awards", "all")).wait(10)
    fleet.begin(ADAPTER, ("awards", "all"))


def _filled(words: list[str], fleet: Fleet) -> list[str]:
    """Return a command with what its reader puts in for what stands in capitals."""
    letter = fleet.scalar("SELECT id FROM volunteers.dead_letters WHERE state = 'waiting'")
    return [{"ID": str(letter), "SERVICE": "volunteers"}.get(word, word) for word in words]


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
    assert FASTER == 60

"""A stranger follows docs/subscribing.md to the letter and receives events."""

import importlib.util
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from tests.support.documents import ROOT, blocks, files_of, shell_blocks
from tests.support.processes import end, free_port, tail
from tests.support.servers import Servers
from tests.support.waiting import wait_for
from xinhuo.chassis import outbox
from xinhuo.chassis.db import Database
from xinhuo.chassis.ids import new_id
from xinhuo.contracts.volunteers import HoursLogged

PAGE = ROOT / "docs" / "subscribing.md"
XINHUO = Path(sys.executable).with_name("xinhuo")
TOPIC = "volunteers.hours_logged.v1"
START_SECONDS = 60


@dataclass
class System:
    """A running volunteers worker, and the broker's address: the deploy user's, and what a stranger was given."""

    environment: dict[str, str]
    amqp_uri: str
    database: Database
    given_uri: str = ""
    """The address that the page's commands gave the department."""

    def log(self, minutes: int) -> tuple[str, HoursLogged]:
        """Record that somebody served; return the id and the event."""
        event = HoursLogged(
            entry_id=new_id(),
            volunteer_id=new_id(),
            team_code="T-TS-YX01",
            unit_code="TS-YX01",
            activity_id=new_id(),
            category="XL-WENMING",
            served_on=date(2020, 3, 14),
            minutes=minutes,
        )
        with self.database.transaction() as session:
            return str(outbox.record(session, event)), event


def xinhuo(arguments: list[str], environment: dict[str, str]) -> str:
    ended = subprocess.run(
        [XINHUO, *arguments], env=environment, capture_output=True, text=True, timeout=START_SECONDS, check=False
    )
    assert ended.returncode == 0, f"xinhuo {' '.join(arguments)}: {ended.stdout}{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def system(
    amqp_uri: str, database: str, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A broker and a database with one real process: the worker of volunteers, which relays its events."""
    folder = tmp_path_factory.mktemp("xinhuo")
    port = free_port()
    environment = {
        **os.environ,
        "AMQP_URI": amqp_uri,
        "DATABASE_URL": database,
        "XINHUO_DATA": str(folder),
        "PYTHONUNBUFFERED": "1",
    }
    if (node := servers.rabbit()) is not None:
        environment["XINHUO_RABBITMQ_API"] = node.api
    xinhuo(["key", "create"], environment)
    xinhuo(["topology", "apply"], environment)
    log = folder / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [XINHUO, "serve", "volunteers", "--role", "worker", "--port", str(port)],
            env=environment, stdout=output, stderr=output,
        )  # fmt: skip
    own = Database("postgresql+psycopg" + database.removeprefix("postgresql"), "volunteers")
    try:
        wait_for(lambda: is_ready(worker, port, log), START_SECONDS, "the worker of volunteers to be ready")
        yield System(environment, amqp_uri, own)
    finally:
        end(worker, signal.SIGTERM, 40)
        own.close()


def is_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> bool:
    assert process.poll() is None, f"the worker ended:\n{tail(log)}"
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def subscribed(system: System) -> System:
    """The same system after the commands of the page were typed as they stand there."""
    for block in shell_blocks(PAGE):
        for command in block.commands():
            program, *arguments = command.split()
            assert program == "xinhuo", f"{block}: {command}"
            printed = xinhuo(arguments, system.environment)
            if given := re.search(r"AMQP_URI=(\S+)", printed):
                system.given_uri = given[1]
    if "XINHUO_RABBITMQ_API" not in system.environment:
        system.given_uri = system.amqp_uri  # a broker that was given to the tests, where nobody makes users
    assert system.given_uri
    return system


@contextmanager
def stranger(folder: Path, program: str, amqp_uri: str, changed: Mapping[str, str] | None = None) -> Iterator[Path]:
    """Write the files of the page into a folder, run one of them, and yield the file that holds what it prints."""
    for name, text in {**files_of(PAGE), **(changed or {})}.items():
        (folder / name).write_text(text, encoding="utf-8")
    output = folder / "output.txt"
    environment = {"PATH": os.environ["PATH"], "AMQP_URI": amqp_uri, "LANG": "C.UTF-8"}
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, program], cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield output
        assert process.poll() is None, f"{program} ended by itself:\n{tail(output)}"
    finally:
        end(process, signal.SIGINT, 20)


def consumers_of(amqp_uri: str, queue: str) -> Callable[[], int]:
    """Return what asks how many consumers a queue has; none when there is no such queue."""

    def ask() -> int:
        with Connection(amqp_uri) as connection, connection.channel() as channel:
            try:
                return int(channel.queue_declare(queue, passive=True).consumer_count)
            except connection.channel_errors:
                return 0

    return ask


def lines_with(output: Path, text: str) -> Callable[[], list[str]]:
    return lambda: [line for line in output.read_text(encoding="utf-8").splitlines() if text in line]


needs_nameko = pytest.mark.skipif(
    importlib.util.find_spec("nameko") is None, reason="a stranger's nameko service needs nameko"
)


@needs_nameko
def test_a_strangers_nameko_service_receives_an_event(subscribed: System, tmp_path: Path) -> None:
    queue = f"evt-dept.traffic-{TOPIC}--traffic.note_hours"
    with stranger(tmp_path, "start.py", subscribed.given_uri) as output:
        wait_for(consumers_of(subscribed.amqp_uri, queue), START_SECONDS, f"a consumer of {queue}")
        event_id, event = subscribed.log(minutes=120)
        received = wait_for(lines_with(output, event_id), 30, f"the event in:\n{tail(output)}")

    assert received == [f"{event_id} TS-YX01 2020-03-14 120"]
    assert str(event.volunteer_id) not in output.read_text(encoding="utf-8")


@needs_nameko
def test_nameko_without_the_serializer_setting_loses_the_event_as_the_page_says(
    subscribed: System, tmp_path: Path
) -> None:
    queue = f"evt-dept.traffic-{TOPIC}--traffic.note_hours"
    shortened = {"config.yaml": files_of(PAGE)["config.yaml"].partition("#")[0]}
    with (
        stranger(tmp_path, "start.py", subscribed.given_uri, shortened) as output,
        a_copy_of(subscribed.amqp_uri) as copy,
    ):
        wait_for(consumers_of(subscribed.amqp_uri, queue), START_SECONDS, f"a consumer of {queue}")
        subscribed.log(minutes=1)
        copy()

    assert not lines_with(output, "TS-YX01")()
    # Whatever a consumer that has ended had not acknowledged would be in the queue again.
    assert messages_in(subscribed.amqp_uri, queue) == 0


def messages_in(amqp_uri: str, queue: str) -> int:
    with Connection(amqp_uri) as connection, connection.channel() as channel:
        return int(channel.queue_declare(queue, passive=True).message_count)


def test_a_plain_kombu_program_counts_each_event_once(subscribed: System, tmp_path: Path) -> None:
    queue = "dept.traffic.totals"
    with stranger(tmp_path, "totals.py", subscribed.given_uri) as output, a_copy_of(subscribed.amqp_uri) as copy:
        wait_for(consumers_of(subscribed.amqp_uri, queue), START_SECONDS, f"a consumer of {queue}")
        event_id, _ = subscribed.log(minutes=45)
        wait_for(lines_with(output, f"counted {event_id}"), 30, f"the event in:\n{tail(output)}")
        message = copy()
        with Connection(subscribed.amqp_uri) as connection:
            connection.Producer().publish(
                message.body,
                exchange="pub.events",
                routing_key=TOPIC,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
            )
        wait_for(lines_with(output, f"seen before {event_id}"), 30, f"the repetition in:\n{tail(output)}")

    with sqlite3.connect(tmp_path / "totals.db") as totals:
        assert totals.execute("SELECT unit_code, minutes FROM totals").fetchall() == [("TS-YX01", 45)]


@contextmanager
def a_copy_of(amqp_uri: str) -> Iterator[Callable[[], Any]]:
    """Listen to the department's exchange with a queue of the test's own; yields what takes a message from it."""
    with Connection(amqp_uri) as connection, connection.channel() as channel:
        queue = Queue(
            "dept.traffic.copy", Exchange("dept.traffic.events", type="topic"), routing_key=TOPIC, exclusive=True
        )(channel)
        queue.declare()
        yield lambda: wait_for(queue.get, 30, "a message in the copy")


def test_what_arrives_is_the_public_form_that_the_page_shows(subscribed: System) -> None:
    (sample,) = [block for block in blocks(PAGE) if block.language == "json"]
    shown = json.loads(sample.text)
    with a_copy_of(subscribed.amqp_uri) as copy:
        event_id, event = subscribed.log(minutes=30)
        message = copy()

    body = json.loads(message.body)
    optional = {"traceparent", "correlationid", "causationid"}
    assert body.keys() - optional == shown.keys()
    assert body["data"].keys() == shown["data"].keys()
    assert str(event.volunteer_id) not in str(message.body)
    assert body["id"] == message.properties["message_id"] == event_id
    assert message.properties["type"] == message.delivery_info["routing_key"] == TOPIC
    assert message.content_type == "application/cloudevents+json"


def test_types_that_were_not_subscribed_do_not_arrive(subscribed: System) -> None:
    with a_copy_of(subscribed.amqp_uri) as copy, Connection(subscribed.amqp_uri) as connection:
        producer = connection.Producer()
        producer.publish({}, exchange="pub.events", routing_key="awards.star_earned.v1")
        event_id, _ = subscribed.log(minutes=15)
        message = copy()

    assert json.loads(message.body)["id"] == event_id


def test_a_subscription_to_what_is_not_public_is_refused_with_the_list(system: System) -> None:
    ended = subprocess.run(
        [XINHUO, "subs", "create", "traffic", "--events", "volunteers.no_such_fact.v1"],
        env=system.environment,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )

    assert ended.returncode == 2
    assert "volunteers.no_such_fact.v1" in ended.stderr
    assert TOPIC in ended.stderr

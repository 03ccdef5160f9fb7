"""Leaks that are planted on purpose, each at the place where a careless program would make it."""

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import amqp
import psycopg
from kombu import Connection

from tests.support.waiting import wait_for
from xinhuo.chassis.identity.actor import Actor

from .people import ADULT, CHILD, GUARDIAN
from .places import Watched

_OFFICE = Actor(uuid4(), "bureau_admin")
_AUDITOR = Actor(uuid4(), "auditor")
_LETTER = """
    INSERT INTO notices.dead_letters (id, handler, reason, error, body_hash, body)
    VALUES (gen_random_uuid(), 'notices.nobody', %s, 'x', '', '')
"""


def _change(watched: Watched, statement: str, *parameters: Any) -> None:
    with psycopg.connect(watched.installation.sql_url()) as connection:
        connection.execute(statement, parameters)


def _send(watched: Watched, exchange: str, body: bytes, **properties: Any) -> None:
    uri, confirmed = watched.installation.settings["AMQP_URI"], {"confirm_publish": True}
    with Connection(uri, transport_options=confirmed) as connection, connection.channel() as channel:
        channel.basic_publish(amqp.Message(body, **properties), exchange=exchange, routing_key="x")


@contextmanager
def event_payload(watched: Watched) -> Iterator[None]:
    """An event says the name, as JSON spells it in ASCII."""
    _send(watched, "volunteers.events", json.dumps({"data": {"name": ADULT.name}}).encode())
    yield


@contextmanager
def event_header(watched: Watched) -> Iterator[None]:
    """The public exchange gets the telephone in a property of a message."""
    _send(watched, "pub.events", b"{}", correlation_id=GUARDIAN.phone)
    yield


@contextmanager
def log_line(watched: Watched) -> Iterator[None]:
    """A process writes what it was given into its log."""
    with (watched.installation.data / "logs" / "volunteers.log").open("ab") as log:
        log.write(json.dumps({"event": "registered", "id": CHILD.id_number}).encode() + b"\n")
    yield


@contextmanager
def file_of_data(watched: Watched) -> Iterator[None]:
    """Something is put aside in the data folder, packed."""
    path = watched.installation.data / "canary.csv.gz"
    path.write_bytes(gzip.compress(f"{CHILD.name},{CHILD.born:%Y/%m/%d}".encode("gb18030")))
    yield
    path.unlink()


@contextmanager
def metric_label(watched: Watched) -> Iterator[None]:
    """A label is no word of a closed list: the reason of a dead letter becomes one."""
    _change(watched, _LETTER, ADULT.name)
    page = watched.metrics
    wait_for(lambda: any(ADULT.name.encode() in spot.data for spot in page()), 20, "the worker to count the letter")
    yield
    _change(watched, "DELETE FROM notices.dead_letters WHERE reason = %s", ADULT.name)


@contextmanager
def command_output(watched: Watched) -> Iterator[None]:
    """A command prints what stands in a row."""
    _change(watched, _LETTER, GUARDIAN.name)
    assert watched.command("dead", "list").code == 0
    yield
    _change(watched, "DELETE FROM notices.dead_letters WHERE reason = %s", GUARDIAN.name)


@contextmanager
def error_body(watched: Watched) -> Iterator[None]:
    """A refusal quotes what is stored."""
    _change(watched, "UPDATE volunteers.known_notices SET categories = array_append(categories, %s)", CHILD.name)
    number = watched.installation.scalar("SELECT number FROM volunteers.known_notices LIMIT 1")
    form = {
        "title": "整理书屋", "team_code": "CANARY-T", "category": "care", "notice": number, "place": "书屋",
        "starts_at": "2021-03-01T00:00:00+08:00", "ends_at": "2021-03-31T00:00:00+08:00",
    }  # fmt: skip
    watched.refuse(422, "volunteers", "POST", "/v1/activities", _OFFICE, json=form)
    yield
    _change(watched, "UPDATE volunteers.known_notices SET categories = array_remove(categories, %s)", CHILD.name)


@contextmanager
def address(watched: Watched) -> Iterator[None]:
    """Something has a person's number for its code, and so for its address."""
    form = {"code": GUARDIAN.id_number, "name": "测试队", "unit_code": "CANARY-1"}
    watched.make("volunteers", "POST", "/v1/teams", _OFFICE, form)
    yield
    _change(watched, "DELETE FROM volunteers.teams WHERE code = %s", GUARDIAN.id_number)


def _column(statement: str, undo: str, value: str | bytes) -> "Callable[[Watched], Any]":
    @contextmanager
    def plant(watched: Watched) -> Iterator[None]:
        _change(watched, statement, value)
        yield
        _change(watched, undo)

    return plant


_NAMED = "UPDATE volunteers.teams SET name = %s", "UPDATE volunteers.teams SET name = '测试队'"
_HASHED = (
    "UPDATE volunteers.idempotency_keys SET request_hash = %s",
    "UPDATE volunteers.idempotency_keys SET request_hash = ''",
)


@contextmanager
def export_csv(watched: Watched) -> Iterator[None]:
    """The export of the audit log has a name in a reason."""
    _change(
        watched,
        "INSERT INTO notices.audit_log (role, action, object_kind, object_id, outcome, reason)"
        " VALUES ('clerk', 'notice.noted', 'notice', 'x', 'done', %s)",
        ADULT.name,
    )
    watched.make("notices", "GET", "/v1/audit.csv", _AUDITOR)
    yield


@contextmanager
def export_xlsx(watched: Watched) -> Iterator[None]:
    """The workbook of statistics has a person's number for a unit, inside its packed sheet."""
    number = CHILD.id_number
    cell = "INSERT INTO volunteers.statistics_cells VALUES ('2021-03-01', %s, 'X', 'community', 60, 1)"
    _change(watched, cell, number)
    watched.make("volunteers", "GET", "/v1/statistics.xlsx", _OFFICE)
    yield
    _change(watched, "DELETE FROM volunteers.statistics_cells WHERE unit_code = %s", number)


#: What is planted, by the kind and the beginning of the name of the place where it must be found.
PLANTED: dict[str, tuple[Callable[[Watched], Any], str, str]] = {
    "event payload": (event_payload, "message", "volunteers.events"),
    "event header": (event_header, "message", "pub.events"),
    "log line": (log_line, "log", "volunteers.log"),
    "file": (file_of_data, "file", "canary.csv.gz"),
    "metric label": (metric_label, "metric", "notices"),
    "command": (command_output, "command", "xinhuo dead list"),
    "error body": (error_body, "answer", "volunteers POST /v1/activities 422"),
    "URL": (address, "url", "volunteers POST /v1/teams 201"),
    "column": (_column(*_NAMED, ADULT.name), "column", "volunteers.teams.name"),
    "column in base64": (
        _column(*_NAMED, base64.b64encode(b"x" + ADULT.name.encode()).decode()), "column", "volunteers.teams.name"),
    "column with the plain hash": (
        _column(*_NAMED, hashlib.sha256(ADULT.id_number.encode()).hexdigest()),
        "column", "volunteers.teams.name"),
    "bytes in UTF-16": (
        _column(*_HASHED, ADULT.name.encode("utf-16")), "column", "volunteers.idempotency_keys.request_hash"),
    "bytes in GBK": (
        _column(*_HASHED, ADULT.name.encode("gbk")), "column", "volunteers.idempotency_keys.request_hash"),
    "export as CSV": (export_csv, "answer", "notices GET /v1/audit.csv 200"),
    "export as a workbook": (export_xlsx, "answer", "volunteers GET /v1/statistics.xlsx 200"),
}  # fmt: skip

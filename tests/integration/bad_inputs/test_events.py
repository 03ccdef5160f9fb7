"""68-79: messages that are no sound event. Each is kept as a dead letter with its reason; nothing else changes."""

import io
import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.bad_inputs.scene import Scene
from tests.support.services import fetch
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.wire import Incoming
from xinhuo.chassis.worker import Worker
from xinhuo.contracts import codec

TOPIC = "volunteers.hours_logged.v1"
#: What must not be in the log, whatever the message is.
SECRET = "13800138000"

DATA: Mapping[str, Any] = {
    "entry_id": "0195630c-a000-7abc-8def-0123456789ab",
    "volunteer_id": "0195630c-a000-7abc-8def-0123456789ac",
    "team_code": "T-1",
    "unit_code": "U-1",
    "activity_id": "0195630c-a000-7abc-8def-0123456789ad",
    "category": "help-needy",
    "served_on": "2026-03-05",
    "minutes": 60,
}


def envelope(without: str = "", **changes: Any) -> dict[str, Any]:
    """Return a sound event of its own, with some parts changed or one left out."""
    whole = {
        "specversion": "1.0",
        "id": str(new_id()),
        "source": "/xinhuo/volunteers",
        "type": TOPIC,
        "time": datetime.now(UTC).isoformat(),
        "data": {**DATA, "entry_id": str(new_id())},
        **changes,
    }
    return {name: value for name, value in whole.items() if name != without}


def message(body: bytes | dict[str, Any], **changes: Any) -> Incoming:
    """Return a message as the broker brings it."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sound = Incoming(
        body=raw,
        content_type=codec.CONTENT_TYPE,
        content_encoding="binary",
        type=TOPIC,
        message_id=str(new_id()),
        routing_key=TOPIC.partition(".")[2],
    )
    return replace(sound, **changes)


@dataclass(frozen=True)
class Case:
    """One message and the reason it is a dead letter for."""

    number: int
    what: str
    make: Callable[[], Incoming]
    reason: str

    def __str__(self) -> str:
        return f"{self.number:02} {self.what}"


def ahead(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def bodies(number: int, reason: str, **made: Callable[[], bytes | dict[str, Any]]) -> list[Case]:
    return [
        Case(number, what.replace("_", " "), lambda make=make: message(make()), reason)  # type: ignore[misc]
        for what, make in made.items()
    ]


def properties(number: int, reason: str, what: str, **changes: Any) -> Case:
    return Case(number, what, lambda: message(envelope(), **changes), reason)


PICKLE = "application/x-python-serialize"

CASES = [
    *bodies(
        68, "event.undecodable",
        nothing=lambda: b"",
        no_JSON=lambda: f"phone={SECRET}".encode(),
        an_array=lambda: f'["{SECRET}"]'.encode(),
        broken_off=lambda: json.dumps(envelope()).encode()[:-1],
        GBK=lambda: json.dumps(envelope(note="测试员"), ensure_ascii=False).encode("gbk"),
        NaN=lambda: json.dumps(envelope()).encode().replace(b'"minutes": 60', b'"minutes": NaN'),
        a_hundred_thousand_levels=lambda: b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    ),
    Case(68, "pickle", lambda: message(pickle.dumps(envelope(phone=SECRET)), content_type=PICKLE), "event.undecodable"),
    properties(68, "event.undecodable", "plain JSON", content_type="application/json"),
    properties(68, "event.undecodable", "no content type", content_type=None),
    properties(68, "event.undecodable", "an encoding", content_encoding="gzip"),
    *bodies(
        69, "event.envelope_incomplete",
        no_id=lambda: envelope("id"),
        no_source=lambda: envelope("source"),
        no_type=lambda: envelope("type"),
        no_specversion=lambda: envelope("specversion"),
        no_time=lambda: envelope("time"),
        no_data=lambda: envelope("data"),
        an_id_that_is_no_UUID=lambda: envelope(id=SECRET),
        another_specversion=lambda: envelope(specversion="0.3"),
        an_empty_source=lambda: envelope(source=""),
        a_time_without_a_zone=lambda: envelope(time="2026-03-05T09:00:00"),
        a_time_that_is_none=lambda: envelope(time="yesterday"),
    ),
    *bodies(
        69, "event.invalid",
        data_without_a_field=lambda: envelope(data={k: v for k, v in DATA.items() if k != "minutes"}),
        minutes_as_a_text=lambda: envelope(data={**DATA, "minutes": SECRET}),
        half_a_minute=lambda: envelope(data={**DATA, "minutes": 1.5}),
        data_as_a_list=lambda: envelope(data=[SECRET]),
        a_day_that_is_none=lambda: envelope(data={**DATA, "served_on": "2026-02-30"}),
    ),
    Case(
        71, "an unknown major version",
        lambda: message(
            envelope(type="volunteers.hours_logged.v9"), type="volunteers.hours_logged.v9",
            routing_key="hours_logged.v9",
        ),
        "event.unknown_version",
    ),
    Case(
        71, "an unknown type",
        lambda: message(envelope(type="zoo.born.v1"), type="zoo.born.v1", routing_key="born.v1"), "event.unknown_type",
    ),
    *bodies(72, "event.time_in_future", a_time_six_minutes_ahead=lambda: envelope(time=ahead(360))),
    *bodies(76, "event.too_large", over_64_KiB=lambda: envelope(padding="x" * 65536)),
    properties(77, "event.headers_invalid", "no message id", message_id=None),
    properties(77, "event.headers_invalid", "no type", type=None),
    properties(77, "event.headers_invalid", "a type that is no text", type=7),
    properties(77, "event.headers_invalid", "headers that are no table", headers=["a"]),
    properties(78, "event.routing_key_mismatch", "a routing key of another type", routing_key="hours_reversed.v1"),
    properties(
        78, "event.routing_key_mismatch", "a message of another type", type="volunteers.hours_reversed.v1",
        routing_key="hours_reversed.v1",
    ),
]  # fmt: skip

NUMBERS = {case.number for case in CASES} | {70, 71, 72}
HANDLERS = [("awards", "add_to_tally"), ("notify", "acknowledge_hours"), ("volunteers", "keep_statistics")]


def receive(scene: Scene, service: str, method: str, *messages: Incoming) -> None:
    """Bring messages to a subscription, and what the broker would dead-letter to the dead letters."""
    worker = Worker(scene.services[service])
    for one, verdict in zip(messages, worker.receive(method, messages), strict=True):
        if verdict is not None:
            worker.bury(worker.handler_name(method), one, verdict.code, verdict.why)


def dead(scene: Scene, service: str) -> list[tuple[str, str, bytes]]:
    """Return handler, reason and body of the dead letters of a service, the newest last."""
    found = fetch(scene.services[service], "SELECT handler, reason, body FROM dead_letters ORDER BY id")
    return [(row["handler"], row["reason"], bytes(row["body"])) for row in found]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_message_that_is_no_sound_event_is_a_dead_letter_and_has_no_effect(
    scene: Scene, written: io.StringIO, case: Case
) -> None:
    bad = case.make()
    before = {service: len(dead(scene, service)) for service, _ in HANDLERS}
    with scene.tables.unchanged(*(f"{service}.dead_letters" for service, _ in HANDLERS)):
        for service, method in HANDLERS:
            receive(scene, service, method, bad)
    for service, method in HANDLERS:
        handler = Worker(scene.services[service]).handler_name(method)
        assert dead(scene, service)[before[service] :] == [(handler, case.reason, bad.body)]
        (kept,) = fetch(scene.services[service], "SELECT error, stack FROM dead_letters ORDER BY id DESC LIMIT 1")
        assert SECRET not in str(kept)
    assert written.getvalue().count(case.reason) == len(HANDLERS), "it is told"
    assert SECRET not in written.getvalue(), "but not what was in it"


def test_a_bad_message_harms_no_other_of_its_batch(scene: Scene) -> None:
    volunteer = str(new_id())
    good = [message(envelope(data={**DATA, "entry_id": str(new_id()), "volunteer_id": volunteer})) for _ in range(3)]
    bad = [message(f"no JSON {new_id()}".encode()), message(envelope("source"))]
    receive(scene, "awards", "add_to_tally", good[0], bad[0], good[1], bad[1], good[2])
    assert fetch(scene.services["awards"], "SELECT minutes FROM tallies WHERE volunteer_id = :id", id=volunteer) == [
        {"minutes": 180}
    ]


def test_70_an_id_used_again_with_another_body_is_a_dead_letter_and_an_alert(
    scene: Scene, written: io.StringIO
) -> None:
    first = envelope()
    receive(scene, "awards", "add_to_tally", message(first))
    with scene.tables.unchanged():
        receive(scene, "awards", "add_to_tally", message(first))
    before = len(dead(scene, "awards"))
    other = message({**first, "data": {**first["data"], "minutes": 61}})
    with scene.tables.unchanged("awards.dead_letters"):
        receive(scene, "awards", "add_to_tally", other)
    assert [(reason, body) for _, reason, body in dead(scene, "awards")[before:]] == [
        ("event.id_conflict", other.body)
    ]  # fmt: skip
    assert "event_id_conflict" in written.getvalue()


def test_71_an_unknown_field_of_a_later_minor_version_is_ignored(scene: Scene) -> None:
    volunteer = str(new_id())
    later = envelope(data={**DATA, "entry_id": str(new_id()), "volunteer_id": volunteer, "mood": SECRET}, mood=SECRET)
    receive(scene, "awards", "add_to_tally", message(later))
    assert fetch(scene.services["awards"], "SELECT minutes FROM tallies WHERE volunteer_id = :id", id=volunteer) == [
        {"minutes": 60}
    ]


def test_72_a_clock_four_minutes_ahead_is_forgiven(scene: Scene) -> None:
    before = len(dead(scene, "awards"))
    receive(scene, "awards", "add_to_tally", message(envelope(time=ahead(240))))
    assert len(dead(scene, "awards")) == before

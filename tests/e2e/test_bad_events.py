"""Messages that are no events of ours: each ends among the dead letters with its reason, and is in nobody's way.

A reversal that comes before its original is parked and then counts, and a total below nothing is a dead letter:
tests/integration/test_awards.py has both. Decoding alone is in tests/unit/test_codec.py.
"""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import requests

from tests.e2e.conftest import Loaded
from tests.support.installation import SERVICES, Installation
from tests.support.messages import BATCH, Message, publish
from tests.support.waiting import wait_for

PATIENCE = 60


def soon(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


Spoil = Callable[[Message], Message]
#: What is wrong, and the code under which it is found among the dead letters.
SPOILED: dict[str, tuple[Spoil, str]] = {
    "no JSON": (lambda m: m.with_body(b"unit_registered"), "event.undecodable"),
    "empty": (lambda m: m.with_body(b""), "event.undecodable"),
    "a list": (lambda m: m.with_body(b"[]"), "event.undecodable"),
    "no UTF-8": (lambda m: m.with_body(m.body.replace(b"primary", b"prim\xe4r")), "event.undecodable"),
    "UTF-16": (lambda m: m.with_body(m.body.decode().encode("utf-16")), "event.undecodable"),
    "NaN": (lambda m: m.with_body(m.body.replace(b'"primary"', b"NaN")), "event.undecodable"),
    "cut off": (lambda m: m.with_body(m.body[:-9]), "event.undecodable"),
    "nested ten thousand deep": (lambda m: m.with_body(b'{"a":' * 10_000), "event.undecodable"),
    "a pickle": (lambda m: m.with_properties(content_type="application/x-python-serialize"), "event.undecodable"),
    "plain JSON by its type": (lambda m: m.with_properties(content_type="application/json"), "event.undecodable"),
    "without a content type": (lambda m: m.with_properties(content_type=None), "event.undecodable"),
    "another encoding": (lambda m: m.with_properties(content_encoding="gzip"), "event.undecodable"),
    "without id": (lambda m: m.with_content(id=None), "event.envelope_incomplete"),
    "an id that is none": (lambda m: m.with_content(id="7"), "event.envelope_incomplete"),
    "without source": (lambda m: m.with_content(source=None), "event.envelope_incomplete"),
    "without type": (lambda m: m.with_content(type=None), "event.envelope_incomplete"),
    "without specversion": (lambda m: m.with_content(specversion=None), "event.envelope_incomplete"),
    "another specversion": (lambda m: m.with_content(specversion="0.3"), "event.envelope_incomplete"),
    "without time": (lambda m: m.with_content(time=None), "event.envelope_incomplete"),
    "time without zone": (lambda m: m.with_content(time="2020-03-05T09:00:00"), "event.envelope_incomplete"),
    "without data": (lambda m: m.with_content(data=None), "event.envelope_incomplete"),
    "unknown version": (lambda m: m.with_content(type="notices.unit_registered.v2"), "event.unknown_version"),
    "unknown type": (lambda m: m.with_content(type="notices.unit_forgotten.v1"), "event.unknown_type"),
    "a field of another type": (lambda m: m.with_data(kind=7), "event.invalid"),
    "a field is missing": (lambda m: m.with_content(data={"kind": "primary"}), "event.invalid"),
    "six minutes ahead": (lambda m: m.with_content(time=soon(6)), "event.time_in_future"),
    "over 64 KiB": (lambda m: m.with_data(note="x" * 65 * 1024), "event.too_large"),
    "a batch over 1 MiB": (
        lambda m: m.with_body(b"[" + b" " * 1024 * 1024 + b"]").with_properties(content_type=BATCH),
        "event.too_large",
    ),
    "without type property": (lambda m: m.with_properties(type=None), "event.headers_invalid"),
    "without message id": (lambda m: m.with_properties(message_id=None), "event.headers_invalid"),
    "type property of another event": (
        lambda m: m.with_properties(type="notices.unit_changed.v1"),
        "event.routing_key_mismatch",
    ),
    "routing key of another event": (lambda m: m.with_key("unit_changed.v1"), "event.routing_key_mismatch"),
    "content of another event": (
        lambda m: m.with_content(type="notices.unit_changed.v1", data={**m.content["data"], "revision": 1}),
        "event.routing_key_mismatch",
    ),
}  # fmt: skip
#: What is odd, but no reason to refuse an event.
HARMLESS: dict[str, Spoil] = {
    "an unknown field of the data": lambda m: m.with_data(motto="学习雷锋"),
    "an unknown field of the envelope": lambda m: m.with_content(partitionkey="7"),
    "four minutes ahead": lambda m: m.with_content(time=soon(4)),
    "unknown headers": lambda m: m.with_properties(application_headers={"x-tried": 3}),
    "the encoding named": lambda m: m.with_properties(content_encoding="utf-8"),
}


@pytest.fixture
def on_rabbitmq(load: Callable[[str], Loaded]) -> Iterator[Installation]:
    """A loaded installation that serves and, before and after, has no dead letter."""
    installation = load("rabbitmq").installation.serve()
    yield installation
    with psycopg.connect(installation.sql_url()) as connection:
        connection.execute("DELETE FROM volunteers.dead_letters")


def test_bad_messages_are_dead_letters_with_a_reason_and_good_ones_around_them_take_effect(
    on_rabbitmq: Installation,
) -> None:
    spoiled = {what: spoil(Message()) for what, (spoil, _) in SPOILED.items()}
    fine = {what: spoil(Message()) for what, spoil in HARMLESS.items()}
    bad, good = list(spoiled.values()), [*fine.values(), *(Message() for _ in spoiled)]
    mixed = [*bad, *good]
    random.shuffle(mixed)
    uri = on_rabbitmq.settings["AMQP_URI"]
    assert on_rabbitmq.troubles() == {"parked_events": 0, "dead_letters": 0, "outbox": 0}
    published_before = on_rabbitmq.scalar("SELECT count(*) FROM notices.outbox")

    publish(uri, *mixed)
    wait_for(lambda: known_units(on_rabbitmq, good) == len(good), PATIENCE, "the good events to take effect")
    wait_for(
        lambda: on_rabbitmq.troubles()["dead_letters"] >= len({message.body for message in bad}),
        PATIENCE,
        "the bad events to be dead letters",
    )

    found = on_rabbitmq.rows("SELECT body, reason, handler, error FROM volunteers.dead_letters")
    reasons = {(bytes(row["body"]), row["reason"]) for row in found}
    missing = [what for what, (_, code) in SPOILED.items() if (spoiled[what].body, code) not in reasons]
    assert missing == []
    assert len(found) == len(bad)
    assert {row["handler"] for row in found} == {"volunteers.follow_units"}
    assert known_units(on_rabbitmq, bad) == 0
    assert on_rabbitmq.scalar("SELECT count(*) FROM notices.outbox") == published_before
    assert on_rabbitmq.troubles()["parked_events"] == 0
    assert_still_at_work(on_rabbitmq)


def known_units(installation: Installation, messages: list[Message]) -> int:
    statement = "SELECT count(*) FROM volunteers.known_units WHERE code = ANY(%s)"
    return int(installation.scalar(statement, [message.unit_code for message in messages]))


def assert_still_at_work(installation: Installation) -> None:
    """Nothing of it stopped, or holds back what comes after."""
    for service in SERVICES:
        answer = requests.get(installation.url(service) + "/readyz", timeout=10)
        assert answer.status_code == 200, answer.text
    last = Message()
    publish(installation.settings["AMQP_URI"], last)
    wait_for(lambda: known_units(installation, [last]) == 1, 10, "an event after all of this to take effect")


def test_an_id_that_is_used_again_with_another_body_is_a_dead_letter(on_rabbitmq: Installation) -> None:
    first, second = Message(), Message()
    second.with_content(id=first.content["id"]).with_properties(message_id=first.properties["message_id"])
    uri = on_rabbitmq.settings["AMQP_URI"]
    publish(uri, first)
    wait_for(lambda: known_units(on_rabbitmq, [first]) == 1, PATIENCE, "the first to take effect")

    publish(uri, second, first)
    (found,) = wait_for(
        lambda: on_rabbitmq.rows("SELECT * FROM volunteers.dead_letters"), PATIENCE, "the second as a dead letter"
    )

    assert found["reason"] == "event.id_conflict"
    assert str(found["event_id"]) == first.content["id"]
    assert bytes(found["body"]) == second.body
    assert known_units(on_rabbitmq, [second]) == 0
    assert_still_at_work(on_rabbitmq)


def test_of_a_batch_only_the_broken_members_are_dead_letters(on_rabbitmq: Installation) -> None:
    good = [Message(), Message()]
    late, broken = Message().with_content(time=soon(6)), Message().with_data(kind=None)
    batch = Message().with_properties(content_type=BATCH)
    batch.body = b"[" + b",".join(m.body for m in (good[0], late, broken, good[1])) + b"]"

    publish(on_rabbitmq.settings["AMQP_URI"], batch)
    wait_for(lambda: known_units(on_rabbitmq, good) == 2, PATIENCE, "the good members to take effect")

    found = on_rabbitmq.rows("SELECT body, reason FROM volunteers.dead_letters")
    assert {(bytes(row["body"]), row["reason"]) for row in found} == {
        (late.body, "event.time_in_future"),
        (broken.body, "event.invalid"),
    }

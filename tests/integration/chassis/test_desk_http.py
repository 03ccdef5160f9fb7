"""The desk for dead letters by HTTP, and what the worker's gauges say about it."""

from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from werkzeug.test import Client, TestResponse

from tests.integration.chassis.services import Desk, NeverRight, deliveries, execute, fetch, words
from tests.support.services import client_of
from xinhuo.chassis import ladder, parked
from xinhuo.chassis.db import Database
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.worker import Worker
from xinhuo.contracts.codec import Envelope

HANDLER = "volunteers.count"
WHO = {"by": "ops-1", "why": "原因已排除"}


@pytest.fixture
def client(desk: Desk) -> Client:
    return client_of(desk)


def never(_session: object, _envelopes: list[Envelope]) -> None:
    raise NeverRight("no")


def bury(db: Database, *names: str) -> list[str]:
    for delivery in deliveries(*names):
        ladder.take(db, HANDLER, never, [delivery])
    return [str(row.id) for row in fetch(db, "SELECT id FROM dead_letters ORDER BY died_at")]


def post(client: Client, verb: str, body: Any, **options: Any) -> TestResponse:
    return client.post(f"/v1/dead-letters:{verb}", json=body, **options)


def json_of(answer: TestResponse, status: int = 200) -> Any:
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.json


def test_without_a_letter_every_list_is_empty(client: Client) -> None:
    assert json_of(client.get("/v1/dead-letters/groups")) == {"items": []}
    assert json_of(client.get("/v1/dead-letters")) == {"items": [], "after": None}


def test_groups_count_by_handler_and_reason(client: Client, db: Database) -> None:
    bury(db, "a", "b")
    ladder.bury_message(db, HANDLER, b"no event", "event.undecodable", "why")
    first, second = json_of(client.get("/v1/dead-letters/groups"))["items"]
    assert (first["service"], first["handler"], first["reason"], first["waiting"]) == (
        "volunteers", HANDLER, "chassis_test.never_right", 2,
    )  # fmt: skip
    assert first["oldest_at"] < first["newest_at"]
    assert second["reason_text"].startswith("不是 UTF-8 编码的合法 JSON 对象 / ")
    only = json_of(client.get("/v1/dead-letters/groups", query_string={"reason": "event.undecodable"}))
    assert only["items"] == [second]


def test_pages_lead_through_all_letters(client: Client, db: Database) -> None:
    ids = bury(db, *"abcde")
    found, link = [], "/v1/dead-letters?limit=2"
    while link:
        page = client.get(link)
        found += [item["id"] for item in json_of(page)["items"]]
        link = page.headers["Link"].split(">")[0].removeprefix("<") if "Link" in page.headers else ""
    assert found == ids[::-1]


def test_a_letter_is_shown_with_its_history_and_never_with_an_unreadable_body(client: Client, db: Database) -> None:
    (one,) = bury(db, "a")
    json_of(post(client, "retry", {"ids": [one], **WHO}))
    parked.retry_parked(db, {HANDLER: never})
    ladder.bury_message(db, HANDLER, "王小明 14200010000".encode(), "event.undecodable", "why")
    items = json_of(client.get("/v1/dead-letters"))["items"]
    unreadable = json_of(client.get(f"/v1/dead-letters/{items[0]['id']}"))
    again = json_of(client.get(f"/v1/dead-letters/{items[1]['id']}"))
    first = json_of(client.get(f"/v1/dead-letters/{one}"))
    assert (unreadable["unreadable"], unreadable["size"], unreadable["events"]) == ("event.undecodable", 21, [])
    assert len(unreadable["sha256"]) == 64
    assert "王小明" not in str(unreadable)
    assert "stack" not in first
    assert "body" not in first
    assert again["retry_of"] == one
    assert [other["id"] for other in first["others"]] == [again["id"]]
    (action,) = first["actions"]
    assert {name: action[name] for name in ("action", "outcome", "by", "why")} == {
        "action": "retry", "outcome": "queued", **WHO,
    }  # fmt: skip
    assert first["events"][0]["data"]["category"] == "a"


def test_a_retry_queues_and_says_what_became_of_each_letter(client: Client, db: Database) -> None:
    bury(db, "a", "b")
    ladder.bury_message(db, HANDLER, b"no event", "event.undecodable", "why")
    answer = json_of(post(client, "retry", {"filter": {"handler": HANDLER}, "rate": 100, **WHO}))
    assert (answer["dry_run"], answer["counts"], answer["remaining"]) == (False, {"queued": 2, "refused": 1}, 1)
    refused = answer["items"][2]
    assert (refused["code"], refused["event_id"]) == ("event.undecodable", None)
    assert refused["detail"].startswith("不能重发：")
    assert refused["detail_en"].startswith("cannot be sent again: ")


def test_a_rehearsal_by_http_changes_nothing(client: Client, db: Database) -> None:
    bury(db, "a", "bad")
    answer = json_of(post(client, "retry", {"filter": {"handler": HANDLER}, "dry_run": True, **WHO}))
    assert (answer["dry_run"], [item["outcome"] for item in answer["items"]]) == (
        True, ["would_take_effect", "would_fail"],
    )  # fmt: skip
    dropped = json_of(post(client, "drop", {"filter": {"handler": HANDLER}, "dry_run": True, **WHO}))
    assert dropped["counts"] == {"would_drop": 2}
    assert (words(db), fetch(db, "SELECT 1 FROM parked_events"), fetch(db, "SELECT 1 FROM dead_letter_actions")) == (
        [], [], [],
    )  # fmt: skip
    assert {row.state for row in fetch(db, "SELECT state FROM dead_letters")} == {"waiting"}


def test_the_same_request_with_the_same_key_decides_once(client: Client, db: Database) -> None:
    (one,) = bury(db, "a")
    headers = {"Idempotency-Key": str(new_id())}
    first = json_of(post(client, "drop", {"ids": [one], **WHO}, headers=headers))
    again = post(client, "drop", {"ids": [one], **WHO}, headers=headers)
    assert json_of(again) == first
    assert again.headers["Idempotency-Replayed"] == "true"
    settled = json_of(post(client, "retry", {"ids": [one], **WHO}), 409)
    assert (settled["code"], settled["ids"], settled["states"]) == ("dead_letter.settled", [one], ["dropped"])
    assert "已作废" in settled["detail"]
    assert len(fetch(db, "SELECT 1 FROM dead_letter_actions")) == 1


SOME = str(UUID(int=1))


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({**WHO}, "/ids", "dead_letter.ids_or_filter"),
        ({"ids": [SOME], "filter": {"handler": "x"}, **WHO}, "/ids", "dead_letter.ids_or_filter"),
        ({"filter": {}, **WHO}, "/filter", "dead_letter.filter_empty"),
        ({"ids": [], **WHO}, "/ids", "list.length"),
        ({"ids": ["7"], **WHO}, "/ids/0", "field.not_uuid"),
        ({"ids": [SOME], "why": "x"}, "/by", "field.required"),
        ({"ids": [SOME], "by": "x"}, "/why", "field.required"),
        ({"ids": [SOME], "by": "王 小明", "why": "x"}, "/by", "code.malformed"),
        ({"ids": [SOME], "by": "x" * 65, "why": "x"}, "/by", "text.length"),
        ({"ids": [SOME], "by": "x", "why": " "}, "/why", "text.length"),
        ({"ids": [SOME], "by": "x", "why": "x" * 501}, "/why", "text.length"),
        ({"ids": [SOME], "by": "x", "why": "a\x1b[2Jb"}, "/why", "text.invisible"),
        ({"ids": [SOME], "by": "x", "why": "a\nb"}, "/why", "text.invisible"),
        ({"filter": {"handler": "x"}, "limit": 201, **WHO}, "/limit", "field.out_of_range"),
        ({"filter": {"handler": "x"}, "rate": 0, **WHO}, "/rate", "field.out_of_range"),
        ({"filter": {"handler": "x", "state": "dropped"}, **WHO}, "/filter/state", "field.unknown"),
        ({"filter": {"since": "gestern"}, **WHO}, "/filter/since", "field.not_instant"),
    ],
)
def test_a_decision_that_is_not_clear_is_refused(client: Client, body: Any, pointer: str, code: str) -> None:
    answer = json_of(post(client, "retry", body), 422)
    assert (pointer, code) in [(problem["pointer"], problem["code"]) for problem in answer["errors"]]


def test_an_unknown_letter_is_not_found(client: Client, db: Database) -> None:
    (one,) = bury(db, "a")
    assert json_of(client.get(f"/v1/dead-letters/{SOME}"), 404)["code"] == "dead_letter.not_found"
    for verb in ("retry", "drop"):
        answer = json_of(post(client, verb, {"ids": [one, SOME], **WHO}), 404)
        assert (answer["code"], answer["ids"]) == ("dead_letter.not_found", [SOME])
    assert fetch(db, "SELECT state FROM dead_letters")[0].state == "waiting"


def test_gauges_fall_to_zero_and_decisions_are_counted_whoever_made_them(desk: Desk, db: Database) -> None:
    def gauge(reason: str) -> float | None:
        return REGISTRY.get_sample_value("xinhuo_dead_letters", {"service": "volunteers", "reason": reason})

    def decided(action: str, outcome: str) -> float:
        labels = {"service": "volunteers", "action": action, "outcome": outcome}
        return REGISTRY.get_sample_value("xinhuo_dead_letters_decided_total", labels) or 0.0

    client, worker = client_of(desk), Worker(desk)
    (one,) = bury(db, "a")
    json_of(post(client, "drop", {"ids": [one], **WHO}))
    bury(db, "b", "c")
    before = decided("drop", "dropped"), decided("retry", "queued")
    worker._refresh_gauges()
    assert gauge("chassis_test.never_right") == 2
    json_of(post(client, "retry", {"filter": {"handler": HANDLER}, "limit": 1, **WHO}))
    json_of(post(client, "drop", {"filter": {"handler": HANDLER}, **WHO}))
    worker._refresh_gauges()
    assert gauge("chassis_test.never_right") == 0
    execute(db, "DELETE FROM dead_letter_actions")
    worker._refresh_gauges()
    assert (decided("drop", "dropped"), decided("retry", "queued")) == (before[0] + 1, before[1] + 1)

"""The same key twice is one effect and one answer, whatever happens in between."""

import threading
from datetime import UTC, timedelta
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from tests.integration.chassis.services import Desk, execute, fetch, topics, words
from tests.support.services import KEYS, client_of
from tests.support.threads import together
from tests.support.waiting import wait_for
from xinhuo.chassis.db import Database, database_now
from xinhuo.chassis.retention.work import OF_EVERY_SERVICE
from xinhuo.chassis.security import Keys
from xinhuo.chassis.service import Runtime
from xinhuo.chassis.web import idempotency

KEY = "b7ad6b71-6920-4331-8af7-651916cd43dd"


def post(client: Client, word: str, key: str = KEY, path: str = "/v1/notes", **options: Any) -> TestResponse:
    headers = {"Idempotency-Key": key, **options.pop("headers", {})}
    return client.post(path, json={"word": word}, headers=headers, **options)


@pytest.fixture
def client(desk: Desk) -> Client:
    return client_of(desk)


def stored(db: Database) -> list[Any]:
    return fetch(db, "SELECT * FROM idempotency_keys")


@pytest.mark.parametrize("path", ["/v1/notes", "/v1/words"])
def test_a_repeat_gets_the_first_answer_with_status_and_headers_and_has_no_second_effect(
    client: Client, db: Database, path: str
) -> None:
    first, second = post(client, "a", path=path), post(client, "a", path=path)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.data == first.data
    for header in ("Content-Type", "Location", "ETag"):
        assert second.headers.get(header) == first.headers.get(header)
    assert ("Idempotency-Replayed" in first.headers, second.headers["Idempotency-Replayed"]) == (False, "true")
    assert "X-Not-Kept" not in second.headers
    assert words(db) == ["a"]


def test_a_repeat_after_a_restart_gets_the_first_answer(client: Client, desk: Desk, other_db: Database) -> None:
    first = post(client, "a")
    restarted = Desk()
    restarted.runtime = Runtime(desk.runtime.settings, other_db, KEYS)
    again = post(client_of(restarted), "a")
    assert (again.status_code, again.data) == (201, first.data)
    assert words(other_db) == ["a"]


@pytest.mark.parametrize(
    ("word", "path"), [("b", "/v1/notes"), ("A", "/v1/notes"), ("a ", "/v1/notes"), ("a", "/v1/notes?")]
)
def test_a_key_used_again_for_another_request_is_refused(client: Client, db: Database, word: str, path: str) -> None:
    post(client, "a")
    answer = post(client, word, path=path)
    if path.endswith("?"):  # nothing but the same request, written otherwise
        assert answer.status_code == 201
        return
    assert (answer.status_code, answer.json["code"]) == (422, "idempotency.key_reused")  # type: ignore[index]
    assert words(db) == ["a"]


def test_the_same_key_on_another_route_is_another_key(client: Client, db: Database) -> None:
    assert post(client, "a").status_code == 201
    assert post(client, "a", path="/v1/words").status_code == 201
    assert words(db) == ["a", "a"]


def test_without_a_key_each_request_stands_for_itself(client: Client, db: Database) -> None:
    for _ in range(2):
        assert client.post("/v1/notes", json={"word": "a"}).status_code == 201
    assert words(db) == ["a", "a"]
    assert stored(db) == []


def test_while_the_first_is_worked_on_the_second_is_told_so_and_gets_its_answer_later(desk: Desk, db: Database) -> None:
    client = client_of(desk)
    answers: dict[str, TestResponse] = {}

    def first() -> None:
        answers["first"] = post(client, "slow")

    thread = threading.Thread(target=first, daemon=True)
    thread.start()
    assert desk.began.wait(10)
    busy = post(client, "slow")
    assert (busy.status_code, busy.json["code"]) == (409, "idempotency.in_flight")  # type: ignore[index]
    assert post(client, "b", key="another").status_code == 201, "which holds up no other"
    desk.may_go_on.set()
    thread.join(10)
    again = post(client, "slow")
    assert (again.status_code, again.data) == (201, answers["first"].data)
    assert sorted(words(db)) == ["b", "slow"]


def test_of_many_at_once_one_has_the_effect_and_the_others_are_told_or_get_its_answer(desk: Desk, db: Database) -> None:
    clients = [client_of(desk) for _ in range(8)]
    answers = together(*(lambda each=each: post(each, "a") for each in clients))
    found = [answer.status_code for answer in answers if isinstance(answer, TestResponse)]
    assert len(found) == 8, answers
    assert set(found) <= {201, 409}
    assert (
        len({answer.data for answer in answers if isinstance(answer, TestResponse) and answer.status_code == 201}) == 1
    )
    assert words(db) == ["a"]


@pytest.mark.parametrize(("word", "status"), [("taken", 409), ("boom", 500), ("late", 500)])
def test_what_fails_after_its_effect_leaves_neither_effect_nor_answer_and_may_be_tried_again(
    client: Client, db: Database, word: str, status: int
) -> None:
    for _ in range(2):
        answer = post(client, word)
        assert answer.status_code == status
        assert "Idempotency-Replayed" not in answer.headers
    assert (words(db), topics(db), stored(db)) == ([], 0, [])


def test_an_answer_that_cannot_be_stored_takes_its_effect_back(
    client: Client, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(idempotency, "keep", fails)
    assert post(client, "a").status_code == 500
    assert (words(db), topics(db)) == ([], 0)


def test_a_request_that_is_refused_before_its_work_uses_no_key_up(client: Client, db: Database) -> None:
    headers = {"Idempotency-Key": KEY}
    assert client.post("/v1/notes", json={"wrong": 1}, headers=headers).status_code == 422
    assert client.post("/v1/notes", data=b"{", content_type="application/json", headers=headers).status_code == 400
    assert post(client, "a").status_code == 201
    assert words(db) == ["a"]


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "schlüssel", "\t"])
def test_a_key_of_another_form_is_refused(client: Client, db: Database, key: str) -> None:
    answer = post(client, "a", key=key)
    assert (answer.status_code, answer.json["code"]) == (400, "idempotency.key_malformed")  # type: ignore[index]
    assert words(db) == []


@pytest.mark.parametrize("key", ["x", "x" * 255, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"])
def test_any_visible_ascii_is_a_key(client: Client, db: Database, key: str) -> None:
    assert [post(client, "a", key=key).status_code for _ in range(2)] == [201, 201]
    assert words(db) == ["a"]


def test_the_stored_answer_cannot_be_read_without_the_master_key(client: Client, db: Database) -> None:
    post(client, "王小明的秘密")
    (row,) = stored(db)
    everything = " ".join(str(bytes(value) if isinstance(value, memoryview) else value) for value in row)
    assert "王小明" not in everything
    assert "\\u738b" not in everything
    assert "word" not in row.answer
    assert '"word":"王小明的秘密"' in KEYS.decrypt(row.answer, "idempotency_keys.answer")


def test_the_hash_of_a_request_cannot_be_tried_without_the_key() -> None:
    request = ("POST", "/v1/words", b'{"id_number": "440701193107197310"}')
    hashed = idempotency.request_hash(KEYS, *request)
    assert hashed == idempotency.request_hash(KEYS, *request)
    assert hashed != idempotency.request_hash(Keys(bytes(32)), *request)


def test_stored_answers_are_kept_for_two_days_and_then_removed_by_the_job(
    client: Client, desk: Desk, db: Database
) -> None:
    for number, hours in enumerate((0, 25, 47, 49, 1000)):
        post(client, "a", key=f"k{number}")
        execute(
            db,
            "UPDATE idempotency_keys SET created_at = created_at - make_interval(hours => :hours) WHERE key = :key",
            hours=hours, key=f"k{number}",
        )  # fmt: skip
    with db.transaction() as session:
        (removal,) = (one for one in OF_EVERY_SERVICE if one.table == "idempotency_keys")
        removal.take(session, database_now(session) - timedelta(days=2), UTC, "")
    assert sorted(row.key for row in stored(db)) == ["k0", "k1", "k2"]
    assert post(client, "a", key="k3").status_code == 201
    assert "Idempotency-Replayed" not in post(client, "a", key="k4").headers
    assert wait_for(lambda: len(words(db))) == 7

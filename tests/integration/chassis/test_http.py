"""Requests that share a transaction, pages, problems, traces and methods, through the whole application."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
import structlog
from sqlalchemy import event as sa_event
from werkzeug.test import Client, TestResponse

from tests.integration.chassis.services import Desk, execute, fetch, topics, words
from tests.support.services import client_of
from tests.support.threads import together
from tests.support.waiting import wait_for
from xinhuo.chassis.db import Database, DatabaseUnavailable
from xinhuo.chassis.web import coalesce
from xinhuo.contracts import codec

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def client(desk: Desk) -> Client:
    return client_of(desk)


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """Everything that is logged, with the trace that our own formatter adds."""
    from xinhuo.chassis import logs

    lines: list[dict[str, Any]] = []

    def keep(_logger: object, _method: str, entry: dict[str, Any]) -> Any:
        lines.append(dict(entry))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[logs._add_trace, keep], cache_logger_on_first_use=False)
    yield lines
    structlog.configure(**before)


def write(client: Client, word: str, path: str = "/v1/words") -> TestResponse:
    return client.post(path, json={"word": word})


def at_once(desk: Desk, *after: str) -> dict[str, TestResponse]:
    """Send one request that takes its time and, while it does, the others; return the answers by word."""
    app = client_of(desk).application
    found: dict[str, TestResponse] = {}

    def send(word: str) -> None:
        found[word] = write(Client(app), word)

    threads = [threading.Thread(target=send, args=(word,), daemon=True) for word in ("slow", *after)]
    threads[0].start()
    assert desk.began.wait(10)
    for thread in threads[1:]:
        thread.start()
    (coalescer,) = app._coalescers.values()
    wait_for(lambda: len(coalescer._waiting) == len(after), what="all to wait")
    desk.may_go_on.set()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    return found


def test_what_comes_at_the_same_time_shares_a_transaction(desk: Desk, db: Database) -> None:
    commits: list[int] = []
    sa_event.listen(db.engine, "commit", lambda _connection: commits.append(1))
    names = [f"w{number}" for number in range(coalesce.MANY - 1)]
    answers = at_once(desk, *names)
    assert {answer.status_code for answer in answers.values()} == {201}
    assert desk.batches == [1, len(names)]
    assert len(commits) == 2
    assert sorted(words(db)) == sorted(["slow", *names])
    for word, answer in answers.items():
        assert answer.json["word"] == word, "each gets its own"  # type: ignore[index]


def test_64_threads_without_any_order_each_get_their_answer_in_fewer_transactions(desk: Desk, db: Database) -> None:
    app = client_of(desk).application
    names = [f"w{number}" for number in range(64)]
    answers = together(*(lambda word=word: write(Client(app), word) for word in names))
    assert [answer.json["word"] for answer in answers if isinstance(answer, TestResponse)] == names  # type: ignore[index]
    assert sum(desk.batches) == 64
    assert len(desk.batches) < 64
    assert sorted(words(db)) == sorted(names)


def test_one_bad_item_among_those_that_came_together_is_refused_alone(desk: Desk, db: Database) -> None:
    answers = at_once(desk, "a", "taken", "b")
    assert desk.batches == [1, 3]
    assert {word: answer.status_code for word, answer in answers.items()} == {
        "slow": 201,
        "a": 201,
        "b": 201,
        "taken": 409,
    }
    assert answers["taken"].json["code"] == "chassis_test.word_taken"  # type: ignore[index]
    assert sorted(words(db)) == ["a", "b", "slow"]


def test_an_error_of_all_who_came_together_reaches_all_and_leaves_nothing(desk: Desk, db: Database) -> None:
    answers = at_once(desk, "a", "boom", "b")
    assert {word: answer.status_code for word, answer in answers.items()} == {
        "slow": 201,
        "a": 500,
        "b": 500,
        "boom": 500,
    }
    assert words(db) == ["slow"]
    assert write(client_of(desk), "next").status_code == 201


def test_an_outage_reaches_all_who_came_together_as_503(desk: Desk, db: Database, other_db: Database) -> None:
    answers: dict[str, TestResponse] = {}

    def cut() -> None:
        assert desk.began.wait(10)
        execute(other_db, "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
                          " WHERE datname = current_database() AND state LIKE 'idle in transaction%'")  # fmt: skip
        desk.may_go_on.set()

    def send() -> None:
        answers["slow"] = write(client_of(desk), "slow")

    together(cut, send)
    assert answers["slow"].status_code == 503
    assert answers["slow"].json["code"] == "database.unavailable"  # type: ignore[index]
    assert answers["slow"].headers["Retry-After"] == "2"
    assert words(other_db) == []


def test_pages_follow_each_other_without_gap_or_repetition_while_rows_come(client: Client, db: Database) -> None:
    def add(count: int) -> None:
        execute(db, "INSERT INTO notes (word) SELECT 'n' FROM generate_series(1, :count)", count=count)

    add(450)
    path: str | None = "/v1/notes?limit=100"
    sizes, numbers = [], []
    while path:
        answer = client.get(path)
        assert answer.status_code == 200
        page: dict[str, Any] = answer.json  # type: ignore[assignment]
        sizes.append(len(page["items"]))
        numbers += [item["number"] for item in page["items"]]
        path = None
        if page["after"]:
            assert answer.headers["Link"].endswith('; rel="next"')
            path = answer.headers["Link"].partition(">")[0].removeprefix("<")
        else:
            assert "Link" not in answer.headers
        if len(sizes) == 2:
            add(10)
    assert sizes == [100, 100, 100, 100, 60]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 460


def test_a_page_costs_the_same_at_any_depth(client: Client, db: Database) -> None:
    """The last page of many is found by the index, not by reading what is before it."""
    execute(db, "INSERT INTO notes (word) SELECT 'n' FROM generate_series(1, 20000)")
    execute(db, "ANALYZE notes")
    statements: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
        statements.append((statement, parameters))

    after = _cursor_after(db, 19_980)
    sa_event.listen(db.engine, "before_cursor_execute", note)
    first = client.get("/v1/notes?limit=10").json
    deep = client.get("/v1/notes", query_string={"limit": "10", "after": after}).json
    sa_event.remove(db.engine, "before_cursor_execute", note)
    assert len(first["items"]) == len(deep["items"]) == 10  # type: ignore[index]
    assert len(statements) == 2
    read = []
    for statement, parameters in statements:
        with db.engine.connect() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar_one()
        assert "Index" in json.dumps(plan)
        read.append(plan[0]["Plan"]["Plans"][0]["Actual Rows"])
    assert read[0] == read[1]


def _cursor_after(db: Database, place: int) -> str:
    from xinhuo.chassis.web.pages import cursor_of

    number = fetch(db, "SELECT number FROM notes ORDER BY number OFFSET :place LIMIT 1", place=place)[0].number
    return cursor_of(number)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=201", "query.invalid"), ("limit=0", "query.invalid"), ("limit=x", "query.invalid"),
        ("after=x", "page.cursor_invalid"), ("unknown=1", "query.invalid"), ("limit=1&limit=2", "query.invalid"),
    ],
)  # fmt: skip
def test_what_a_list_does_not_take_is_refused_by_name(client: Client, query: str, code: str) -> None:
    answer = client.get(f"/v1/notes?{query}")
    assert (answer.status_code, answer.json["code"]) == (400, code)  # type: ignore[index]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/notes", {"word": "taken"}, 409),
        ("POST", "/v1/notes", {}, 422),
        ("POST", "/v1/notes", {"word": 5, "wrod": "x"}, 422),
        ("POST", "/v1/notes", {"word": "boom"}, 500),
        ("GET", "/nothing", None, 404),
        ("DELETE", "/v1/notes", None, 405),
        ("GET", "/v1/notes?x=1", None, 400),
    ],
)
def test_every_error_is_a_problem_in_both_languages_with_a_stable_code_and_its_trace(
    client: Client, method: str, path: str, body: Any, status: int
) -> None:
    answer = client.open(path, method=method, json=body, headers={"traceparent": TRACEPARENT})
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Xinhuo-Trace-Id"] == TRACE
    problem: dict[str, Any] = answer.json  # type: ignore[assignment]
    assert problem["type"] == f"urn:xinhuo:error:{problem['code']}"
    assert (problem["status"], problem["trace_id"]) == (status, TRACE)
    assert all(isinstance(problem[name], str) and problem[name] for name in ("title", "detail", "detail_en", "code"))
    assert any("\u4e00" <= character <= "\u9fff" for character in problem["detail"])
    assert problem["detail_en"].isascii()
    assert set(problem) <= {
        "type", "title", "status", "code", "detail", "detail_en", "trace_id", "clause", "errors", "allow",
    }  # fmt: skip
    for each in problem.get("errors", []):
        assert set(each) == {"pointer", "code", "detail", "detail_en"}
        assert each["pointer"].startswith("/")


def test_a_500_shows_nothing_of_the_inside_and_leads_to_the_log_by_its_trace(
    client: Client, logged: list[dict[str, Any]]
) -> None:
    answer = client.post("/v1/notes", json={"word": "boom of 王小明"}, headers={"traceparent": TRACEPARENT})
    assert answer.status_code == 500
    problem: dict[str, Any] = answer.json  # type: ignore[assignment]
    assert problem["code"] == "internal.error"
    assert TRACE in problem["detail"]
    assert TRACE in problem["detail_en"]
    for inside in ("SELECT", "persons", "14200010000", "psycopg", 'Error"', "Traceback", ".py", "王小明"):
        assert inside not in answer.text
    (line,) = [each for each in logged if each["event"] == "request_failed"]
    assert line["trace_id"] == TRACE
    assert line["error"] == "sqlalchemy.exc.ProgrammingError"
    assert "write" in line["stack"]
    assert "王小明" not in json.dumps(line, ensure_ascii=False, default=str)
    assert "14200010000" not in json.dumps(line, default=str)


@pytest.mark.parametrize(
    ("given", "kept"),
    [(TRACEPARENT, True), (None, False), ("nonsense", False), (f"00-{'0' * 32}-b7ad6b7169203331-01", False)],
)
def test_the_trace_of_a_request_goes_into_its_events_or_is_a_new_one(
    client: Client, db: Database, given: str | None, kept: bool
) -> None:
    headers = {"traceparent": given} if given else {}
    for path in ("/v1/notes", "/v1/notes"):
        answer = client.post(path, json={"word": "a"}, headers=headers)
        trace_id = answer.headers["Xinhuo-Trace-Id"]
        payload = fetch(db, "SELECT payload FROM outbox ORDER BY seq DESC LIMIT 1")[0].payload
        traceparent = codec.decode(bytes(payload)).traceparent or ""
        assert traceparent.split("-")[1] == trace_id
        assert (trace_id == TRACE) is kept
        assert len(trace_id) == 32


def test_two_requests_without_a_trace_have_different_ones(client: Client) -> None:
    found = {client.get("/v1/notes").headers["Xinhuo-Trace-Id"] for _ in range(5)}
    assert len(found) == 5


def test_head_answers_like_get_without_a_body(client: Client) -> None:
    get, head = client.get("/v1/notes"), client.head("/v1/notes")
    assert head.status_code == get.status_code == 200
    assert head.data == b""
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert head.headers["Content-Length"] == get.headers["Content-Length"]
    assert client.head("/v1/words").status_code == 405
    assert client.head("/nothing").status_code == 404


def test_options_says_which_methods_an_address_takes_and_does_nothing(client: Client, db: Database) -> None:
    answer = client.options("/v1/notes")
    assert (answer.status_code, answer.data) == (204, b"")
    assert answer.headers["Allow"] == "GET, OPTIONS, POST"
    assert client.options("/nothing").status_code == 404
    assert topics(db) == 0


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "BREW"])
def test_another_method_is_refused_and_the_right_ones_are_named(client: Client, method: str) -> None:
    answer = client.open("/v1/notes", method=method)
    assert (answer.status_code, answer.json["code"]) == (405, "route.method_not_allowed")  # type: ignore[index]
    assert answer.headers["Allow"] == "GET, OPTIONS, POST"


def test_answers_are_neither_cached_nor_guessed_at(client: Client) -> None:
    for answer in (client.get("/v1/notes"), client.get("/nothing"), write(client, "a")):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_database_that_is_away_is_a_503_that_says_to_try_again(desk: Desk) -> None:
    away = Database("postgresql+psycopg://nobody:x@127.0.0.1:1/none", "volunteers")
    desk.runtime.db, before = away, desk.runtime.db
    answer = client_of(desk).get("/v1/notes")
    desk.runtime.db = before
    away.close()
    assert (answer.status_code, answer.json["code"]) == (503, "database.unavailable")  # type: ignore[index]
    assert answer.headers["Retry-After"] == "2"
    with pytest.raises(sa.exc.OperationalError):
        away.engine.connect()


@pytest.mark.parametrize(
    ("works_on", "said"), [(True, "nothing was changed"), (False, "may or may not have been made")]
)
def test_an_outage_says_that_nothing_was_changed_unless_it_came_during_the_commit(
    db: Database, other_db: Database, works_on: bool, said: str
) -> None:
    def work() -> None:
        with db.transaction() as session, other_db.as_owner() as other:
            pid = session.scalar(sa.text("SELECT pg_backend_pid()"))
            assert other.scalar(sa.text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
            if works_on:
                session.execute(sa.text("SELECT 1"))

    with pytest.raises(DatabaseUnavailable) as caught:
        work()
    assert said in caught.value.en
    assert ("没有改动" in caught.value.zh) is works_on

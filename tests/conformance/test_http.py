"""HTTP and its limits; what is no sound request is in tests/integration/bad_inputs/test_syntax.py, on both servers."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conformance.house import PATIENCE, Answer, House, Running, word
from tests.conformance.service import BODY_LIMIT
from tests.support.processes import LOOPBACK
from tests.support.waiting import wait_for

REQUEST_SECONDS = 2
HEALTHY = b'{"ok":true}'


@pytest.fixture
def hasty(house: House) -> Iterator[Running]:
    """A process that gives a client little time and works on two requests at once."""
    with house.running(XINHUO_REQUEST_SECONDS=str(REQUEST_SECONDS), XINHUO_HTTP_WORKERS="2") as running:
        yield running


def all_at_once(running: Running, path: str, *words: str) -> list[Answer]:
    answers: dict[int, Answer] = {}

    def ask(number: int, said: str) -> None:
        answers[number] = running.ask("POST", path, {"word": said})

    threads = [threading.Thread(target=ask, args=pair, daemon=True) for pair in enumerate(words)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return [answers[number] for number in range(len(words))]


def test_a_request_is_answered_and_kept(house: House, bench: Running) -> None:
    ok = word()
    answer = bench.ask("POST", "/v1/words", {"word": ok})
    assert (answer.status, answer.json) == (201, {"word": ok, "together": 1})
    assert answer.headers["Xinhuo-Trace-Id"]
    assert house.rows("SELECT count(*) FROM answers WHERE word = :w", w=ok)[0][0] == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/words", {}, 422, "input.invalid"),
        ("POST", "/v1/words", {"word": "a", "colour": "red"}, 422, "input.invalid"),
        ("POST", "/v1/words", b"{", 400, "body.not_json"),
        ("POST", "/v1/words", b" " * (BODY_LIMIT + 1), 413, "body.too_large"),
        ("POST", "/v1/words", {"word": "taken-1"}, 409, "bench.word_taken"),
        ("DELETE", "/v1/words", None, 405, "route.method_not_allowed"),
        ("GET", "/v1/nowhere", None, 404, "route.not_found"),
    ],
)
def test_what_is_refused_is_refused_alike(
    house: House, bench: Running, method: str, path: str, body: object, status: int, code: str
) -> None:
    answer = bench.ask(method, path, body)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["detail"]
    assert answer.json["detail_en"]


def test_an_error_of_ours_says_nothing_of_the_inside(house: House, bench: Running) -> None:
    boom = word("boom")
    answer = bench.ask("POST", "/v1/words", {"word": boom})
    assert (answer.status, answer.json["code"]) == (500, "internal.error")
    assert b"persons" not in answer.body
    assert "14200010000" not in bench.output
    assert house.rows("SELECT count(*) FROM answers WHERE word = :w", w=boom)[0][0] == 0


def test_the_same_idempotency_key_has_one_effect(house: House, bench: Running) -> None:
    ok, key = word(), word("key")
    answers = [bench.ask("POST", "/v1/words", {"word": ok}, Idempotency_Key=key) for _ in range(3)]
    assert [answer.status for answer in answers] == [201] * 3
    assert len({answer.body for answer in answers}) == 1
    assert bench.ask("POST", "/v1/words", {"word": word()}, Idempotency_Key=key).status == 422
    assert house.rows("SELECT count(*) FROM answers WHERE word = :w", w=ok)[0][0] == 1


def test_requests_that_come_together_share_a_transaction_and_each_gets_its_own_answer(
    house: House, bench: Running
) -> None:
    kind = word("ride")
    names = [f"{'taken-' if number % 10 == 9 else ''}{kind}-{number}" for number in range(40)]
    answers = all_at_once(bench, "/v1/words:together", *names)
    for name, answer in zip(names, answers, strict=True):
        if name.startswith("taken-"):
            assert (answer.status, answer.json["code"]) == (409, "bench.word_taken")
        else:
            assert (answer.status, answer.json["word"]) == (201, name)
    assert max(answer.json["together"] for answer in answers if answer.status == 201) > 5
    assert house.rows("SELECT count(*) FROM answers WHERE word LIKE :w", w=f"%{kind}%")[0][0] == 40


def test_many_connections_one_after_the_other_and_at_once_are_all_answered(house: House, bench: Running) -> None:
    answers = all_at_once(bench, "/v1/words", *[word() for _ in range(60)])
    assert {answer.status for answer in answers} == {201}
    with ExitStack() as stack:
        idle = [stack.enter_context(connected(bench)) for _ in range(100)]
        assert {bench.ask("GET", "/healthz").status for _ in range(10)} == {200}
        for connection in idle[:5]:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def connected(running: Running) -> socket.socket:
    return socket.create_connection((LOOPBACK, running.port), timeout=PATIENCE)


def test_a_connection_is_used_for_several_requests(house: House, bench: Running) -> None:
    with connected(bench) as connection:
        for _ in range(3):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            # Head and body may come one after the other.
            while not received.endswith(HEALTHY) and (part := connection.recv(2000)):
                received += part
            assert received.startswith(b"HTTP/1.1 200")
            assert received.endswith(HEALTHY)


def test_slow_requests_and_half_sent_ones_do_not_stop_the_others(house: House, hasty: Running) -> None:
    half = b"POST /v1/words HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    with ExitStack() as stack:
        for number in range(40):
            connection = stack.enter_context(connected(hasty))
            connection.sendall(half if number % 2 else half[:40])
        slow = threading.Thread(target=lambda: all_at_once(hasty, "/v1/words", *[word("slow")] * 4), daemon=True)
        slow.start()
        began = time.monotonic()
        assert {hasty.ask("GET", "/healthz").status for _ in range(5)} == {200}
        assert time.monotonic() - began < REQUEST_SECONDS / 2
        slow.join(PATIENCE)


@pytest.mark.parametrize("begun", [b"POST /v1/words HTTP/1.1\r\nHost: x\r\nX-Long: ", b"POST /v1/words?"])
def test_a_request_that_drips_is_given_up_in_time(house: House, hasty: Running, begun: bytes) -> None:
    with connected(hasty) as connection:
        connection.sendall(begun)
        assert seconds_until_closed(connection, b"a") < REQUEST_SECONDS * 2


def test_a_body_that_nobody_wants_is_given_up_in_time_too(house: House, hasty: Running) -> None:
    head = b"POST /v1/nowhere HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n"
    with connected(hasty) as connection:
        connection.sendall(head)
        assert b" 404 " in connection.recv(1000)
        assert seconds_until_closed(connection, b"a" * 1000) < REQUEST_SECONDS * 4


def test_a_first_line_that_is_none_is_answered_at_once(house: House, hasty: Running) -> None:
    with connected(hasty) as connection:
        connection.settimeout(REQUEST_SECONDS / 2)
        connection.sendall(b"HELLO\r\n")
        assert b"400" in connection.recv(1000), "as to a client of the time before versions, on one of the servers"


def seconds_until_closed(connection: socket.socket, drop: bytes) -> float:
    """Send drop after drop, five a second, until the server gives up; return after how long it did."""
    began = time.monotonic()
    connection.settimeout(0.2)

    def is_closed() -> bool:
        try:
            connection.sendall(drop)
            return connection.recv(1000)[:12] in {b"", b"HTTP/1.1 408", b"HTTP/1.1 400"}
        except TimeoutError:
            return False
        except OSError:
            return True

    wait_for(is_closed, PATIENCE, "the server to give up")
    return time.monotonic() - began


def test_a_large_body_that_is_refused_is_not_read_and_its_sender_sees_why(house: House, bench: Running) -> None:
    with connected(bench) as connection:
        connection.sendall(
            b"POST /v1/words HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 314572800\r\n\r\n" + b" " * 100_000
        )
        assert b" 413 " in connection.recv(1000)


def test_a_slow_handler_does_not_stop_health_checks_nor_requests(house: House, bench: Running) -> None:
    slow = word("slow")
    house.record(*[slow] * 2)
    bench.wait_until_said(f"began {slow}")
    began = time.monotonic()
    assert bench.ask("GET", "/healthz").status == 200
    assert bench.ask("POST", "/v1/words", {"word": word()}).status == 201
    assert time.monotonic() - began < 1
    house.wait_until_seen(slow, 2)


def test_it_says_whether_it_is_ready_and_what_it_measures(house: House, bench: Running) -> None:
    assert bench.ask("GET", "/readyz").json["ready"] is True
    metrics = bench.ask("GET", "/metrics").body.decode()
    assert "xinhuo_http_requests_total{" in metrics
    assert "xinhuo_outbox_pending" in metrics

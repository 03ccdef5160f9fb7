"""Rows 9, 11, 17 and 18 of the traps: HTTP beside events, shared ports, held-back bytes, doubled charsets."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator

import pytest
import requests
from prometheus_client import CONTENT_TYPE_LATEST
from werkzeug.test import Client
from werkzeug.wrappers import Response

from tests.integration.traps.broker import Broker
from tests.integration.traps.running import Program, running
from tests.integration.traps.services import Tally, database, fetch
from tests.support.processes import LOOPBACK, free_port, listens
from tests.support.services import KEYS
from tests.support.waiting import wait_for
from xinhuo.chassis import config
from xinhuo.chassis.adapters.inprocess import InProcess
from xinhuo.chassis.db import Database
from xinhuo.chassis.service import Runtime
from xinhuo.chassis.topology import Topology
from xinhuo.chassis.web import health
from xinhuo.chassis.web.app import HttpApp

SECRET = "SELECT secret"
HALF = b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"


def ask(port: int, method: str, path: str, body: bytes | None = None, *, timeout: float = 10) -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers["Content-Type"]
    finally:
        connection.close()


@contextlib.contextmanager
def half_sent(port: int, path: bytes, count: int) -> Iterator[None]:
    """Open connections that each send the beginning of a request, and no more."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection((LOOPBACK, port), timeout=10))
            connection.sendall(HALF % path)
        yield


def first_line_of_stream(port: int, path: str, timeout: float) -> bytes:
    """Return the first line of a stream's body, or raise TimeoutError."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().readline()
    finally:
        connection.close()


@pytest.fixture
def plain(broker: Broker, amqp_uri: str) -> Iterator[tuple[Program, int]]:
    """A plain nameko service with HTTP and events, and its port."""
    broker.declare("evt-shop-sold--web.note", "shop.events", "sold")
    broker.empty("evt-shop-sold--web.note")
    port = free_port()
    with running("plain", "Web", AMQP_URI=amqp_uri, PORT=str(port)) as program:
        wait_for(lambda: listens(port), what="the service to listen")
        assert ask(port, "GET", "/ping")[0] == 200
        yield program, port


@pytest.fixture
def ours(tally: dict[str, str]) -> Iterator[int]:
    """Our small service's api, and its port."""
    port = free_port()
    with running("ours", "api", **tally, PORT=str(port)):
        wait_for(lambda: listens(port), what="the service to listen")
        yield port


def test_09_ten_slow_events_stop_the_http_of_plain_nameko(broker: Broker, plain: tuple[Program, int]) -> None:
    program, port = plain
    for number in range(10):
        broker.publish("shop.events", "sold", json.dumps(number).encode())
    program.wait_until_said("began", times=10)
    with pytest.raises(TimeoutError):
        ask(port, "GET", "/ping", timeout=1.5)


def test_09_twelve_half_sent_bodies_stop_the_http_of_plain_nameko_and_its_answers_show_sql(
    plain: tuple[Program, int],
) -> None:
    _, port = plain
    status, body, _ = ask(port, "GET", "/boom")
    assert status == 500
    assert SECRET.encode() in body
    assert ask(port, "POST", "/eat", b"x" * 20_000_000)[:2] == (200, b"20000000"), "any size is taken"
    with half_sent(port, b"eat", 12), pytest.raises(TimeoutError):
        ask(port, "GET", "/ping", timeout=1.5)


def test_09_remedy_half_sent_and_oversized_bodies_stop_nobody_and_answers_show_nothing(ours: int) -> None:
    with half_sent(ours, b"v1/events", 100):
        assert ask(ours, "GET", "/healthz")[0] == 200
        status, body, content_type = ask(ours, "POST", "/v1/events", b'{"category": "ok"}')
        assert status == 201, "and 100 of them leave workers for others"
    # Refused by what it announces: nobody has to read it.
    connection = http.client.HTTPConnection(LOOPBACK, ours, timeout=10)
    connection.putrequest("POST", "/v1/events")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(300_000_000))
    connection.endheaders(b"{")
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (413, "body.too_large")
    connection.close()
    status, body, content_type = ask(ours, "POST", "/v1/boom", b'{"category": "ok"}')
    assert (status, content_type) == (500, "application/problem+json")
    assert SECRET.encode() not in body
    assert b"persons" not in body


def test_09_remedy_slow_events_leave_http_alone_even_in_one_process(broker: Broker, tally: dict[str, str]) -> None:
    """Our own processes are apart; together, one slow batch a subscription leaves all other workers free."""
    port = free_port()
    with running("ours", "all", **tally, PORT=str(port)) as both:
        wait_for(lambda: listens(port), what="the service to listen")
        for _ in range(12):
            broker.publish_event("slow")
        both.wait_until_said("began")
        assert ask(port, "GET", "/healthz", timeout=1.5)[0] == 200
        assert ask(port, "POST", "/v1/events", b'{"category": "ok"}', timeout=1.5)[0] == 201


def test_work_in_a_nameko_worker_belongs_to_the_trace_of_its_request(ours: int, tally: dict[str, str]) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"Content-Type": "application/json", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    for path, status in (("/v1/events", 201), ("/v1/boom", 500)):
        connection = http.client.HTTPConnection(LOOPBACK, ours, timeout=10)
        connection.request("POST", path, b'{"category": "ok"}', headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        assert (answer.status, answer.headers["Xinhuo-Trace-Id"]) == (status, trace)
    assert json.loads(text)["trace_id"] == trace
    with contextlib.closing(database(tally["DATABASE_URL"])) as db:
        (recorded,) = fetch(db, "SELECT payload FROM outbox")
    assert trace.encode() in bytes(recorded.payload)


def test_11_two_plain_services_in_one_process_share_a_port_and_half_the_requests_are_lost(amqp_uri: str) -> None:
    port = free_port()
    with running("plain", "Left", "Right", AMQP_URI=amqp_uri, PORT=str(port)) as plain:
        wait_for(lambda: listens(port), what="the services to listen")
        statuses: set[int] = set()

        def both() -> bool:
            statuses.add(ask(port, "GET", "/left")[0])
            return statuses == {200, 404}

        wait_for(both, what="the same address to answer 200 and 404")
        assert not plain.said("Address already in use")


def test_11_remedy_a_taken_port_is_refused_by_the_nameko_adapter(ours: int, tally: dict[str, str]) -> None:
    with running("ours", "api", **tally, PORT=str(ours)) as second:
        assert second.wait_until_ended() != 0
        assert second.said("Address already in use")
    assert {ask(ours, "GET", "/healthz")[0] for _ in range(20)} == {200}


# cheroot forgets the socket that it could not bind.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_11_remedy_a_taken_port_is_refused_in_process(ours: int, empty_database: str) -> None:
    adapter = InProcess([], Topology((), ()))
    try:
        with pytest.raises(OSError, match="in use"):
            adapter.serve(lambda *_: [], LOOPBACK, ours, seconds=5)
    finally:
        adapter.stop()


def test_17_plain_nameko_holds_back_the_first_bytes_of_a_stream(plain: tuple[Program, int]) -> None:
    _, port = plain
    with pytest.raises(TimeoutError):
        first_line_of_stream(port, "/stream", timeout=1.5)


def test_17_remedy_the_first_bytes_of_a_stream_arrive_at_once(ours: int) -> None:
    assert first_line_of_stream(ours, "/stream", timeout=5) == b"data: first\n"


def test_18_given_as_mimetype_the_content_type_of_prometheus_gets_a_second_charset() -> None:
    doubled = Response(b"", mimetype=CONTENT_TYPE_LATEST).headers["Content-Type"]
    assert doubled.count("charset") == 2


def test_18_remedy_our_metrics_have_one_charset_in_every_format(empty_database: str) -> None:
    service = Tally()
    service.runtime = Runtime(config.load({}), database(empty_database), KEYS)
    app = HttpApp(service)
    health.mount(app, {})
    for accept in ("", "text/plain", "application/openmetrics-text; version=1.0.0"):
        answer = Client(app).get("/metrics", headers={"Accept": accept})
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].count("charset") == 1
        assert "version=" in answer.headers["Content-Type"]


def test_requests_connections_and_events_leave_nothing_for_the_garbage_collector_for_which_everybody_would_wait(
    tally: dict[str, str], tally_database: Database
) -> None:
    port = free_port()
    with running("ours", "all", **tally, PORT=str(port)), requests.Session() as session:
        wait_for(lambda: listens(port), what="the service to listen")

        def record(count: int) -> None:
            for _ in range(count):
                session.post(f"http://127.0.0.1:{port}/v1/events", json={"category": "ok"}, timeout=10)

        def garbage() -> int:
            return int(session.get(f"http://127.0.0.1:{port}/garbage", timeout=10).text)

        def connect_anew(count: int) -> None:
            for _ in range(count):
                requests.get(f"http://127.0.0.1:{port}/healthz", timeout=10)

        record(3)
        garbage()
        record(100)
        connect_anew(20)
        wait_for(lambda: fetch(tally_database, "SELECT count(*) FROM outbox WHERE published_at IS NULL") == [(0,)])
        assert garbage() < 100, "not one object a request, and of a connection none"

"""The command line's client: what is asked again, what is not, and what a refusal says."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from xinhuo.cli.client import Api, ApiProblem, ServiceAway

Planned = tuple[int, dict[str, str], Any]


class Stub(ThreadingHTTPServer):
    """Answers what was planned, one after the other; a plan of None breaks the connection."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.planned: list[Planned | None] = []
        self.seen: list[tuple[str, str, dict[str, str]]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Stub

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        planned = self.server.planned.pop(0)
        if planned is None:
            self.close_connection = True
            return
        status, headers, body = planned
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def stub() -> Iterator[Stub]:
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def client_of(stub: Stub, patience: float = 5.0) -> Api:
    return Api({"notices": f"http://127.0.0.1:{stub.server_port}"}, patience=patience)


def test_a_service_that_is_away_for_a_moment_is_asked_again(stub: Stub) -> None:
    stub.planned = [(503, {"Retry-After": "0"}, {"code": "database.unavailable"}), (200, {}, {"code": "A1"})]
    assert client_of(stub).get("notices", "/v1/units/A1") == {"code": "A1"}
    assert len(stub.seen) == 2


def test_a_request_still_being_worked_on_is_waited_for_under_the_same_key(stub: Stub) -> None:
    stub.planned = [(409, {}, {"code": "idempotency.in_flight"}), (201, {}, {"id": "1"})]
    assert client_of(stub).post("notices", "/v1/notices", {}, key="k1") == {"id": "1"}
    assert [headers["Idempotency-Key"] for _, _, headers in stub.seen] == ["k1", "k1"]


def test_a_service_that_stays_away_is_named(stub: Stub) -> None:
    stub.planned = [(503, {}, {"code": "database.unavailable", "detail": "数据库暂时连接不上"})]
    with pytest.raises(ServiceAway, match=r"notices.*数据库暂时连接不上"):
        client_of(stub, patience=0.0).get("notices", "/v1/units")


def test_a_refused_connection_is_told_as_one() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        api = Api({"notices": f"http://127.0.0.1:{probe.getsockname()[1]}"}, patience=0.0)
        with pytest.raises(ServiceAway, match="connection refused"):
            api.post("notices", "/v1/units", {})


def test_a_post_that_broke_half_way_is_repeated_only_when_that_is_harmless(stub: Stub) -> None:
    stub.planned = [None]
    with pytest.raises(ServiceAway, match="broke"):
        client_of(stub).post("notices", "/v1/units", {})
    assert len(stub.seen) == 1
    stub.planned = [None, (201, {}, {"code": "A1"})]
    assert client_of(stub).post("notices", "/v1/units", {}, repeatable=True) == {"code": "A1"}
    assert len(stub.seen) == 3


def test_a_refusal_carries_code_texts_and_fields(stub: Stub) -> None:
    body = {
        "code": "input.invalid",
        "detail": "输入有 2 处错误",
        "detail_en": "The input has 2 problems",
        "errors": [{"pointer": "/code", "detail": "不能为空"}, {"pointer": "/name", "detail": "过短"}],
    }
    stub.planned = [(422, {}, body)]
    with pytest.raises(ApiProblem) as caught:
        client_of(stub).post("notices", "/v1/units", {})
    problem = caught.value
    assert (problem.status, problem.code) == (422, "input.invalid")
    assert problem.lines() == ["输入有 2 处错误", "The input has 2 problems", "  /code：不能为空", "  /name：过短"]


def test_all_pages_of_a_list_are_read(stub: Stub) -> None:
    stub.planned = [(200, {}, {"items": [1, 2], "after": "c"}), (200, {}, {"items": [3], "after": None})]
    assert client_of(stub).pages("notices", "/v1/units", limit=2) == [1, 2, 3]
    assert [path for _, path, _ in stub.seen] == ["/v1/units?limit=2", "/v1/units?limit=2&after=c"]

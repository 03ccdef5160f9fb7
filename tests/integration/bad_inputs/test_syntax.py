"""1-14: what is no sound HTTP request with a JSON body, on the threaded server and on nameko's."""

import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.bad_inputs.problems import INSIDE, check_problem
from tests.integration.bad_inputs.scene import Scene
from tests.integration.bad_inputs.servers import (
    PATIENCE,
    Received,
    Server,
    json_request,
    on_nameko,
    request,
    threaded,
    token_for,
)
from tests.support.hours import person
from tests.support.identity import keys_served

PERSON = person("U-1", name="测试员乙")
WRITTEN = json.dumps(PERSON, ensure_ascii=False)
HIDDEN = [PERSON["name"], PERSON["id_number"], PERSON["phone"]]
HEAD = (
    b"POST /v1/volunteers HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer " + token_for("POST", "/v1/volunteers").encode() + b"\r\n"
)
BOTH = HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
MEBIBYTE = 1024 * 1024


def to(body: bytes, **options: object) -> bytes:
    """Write a request that registers a volunteer."""
    return request(target="/v1/volunteers", body=body, **options)  # type: ignore[arg-type]


def coded(coding: bytes, *chunks: bytes) -> bytes:
    """Write such a request with a transfer coding."""
    parts = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return HEAD + b"Transfer-Encoding: " + coding + b"\r\n\r\n" + parts + b"0\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """One bad request; without a code, the server's own plain answer stands."""

    number: int
    what: str
    raw: bytes
    status: int | set[int]
    code: str | None = None
    says: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.number:02} {self.what}"


CASES = [
    Case(1, "an empty body", to(b""), 400, "body.empty"),
    Case(1, "no body and no length", to(b"", length=-1), 400, "body.empty"),
    Case(1, "nothing but blanks", to(b" \r\n\t "), 400, "body.empty"),
    Case(2, "JSON broken off", to(WRITTEN[:-1].encode()), 400, "body.not_json", ("第 1 行第", "line 1, column")),
    Case(2, "a comma too many in line 2", to(b'{\n"a": 1,}'), 400, "body.not_json", ("第 2 行第", "line 2, column")),
    Case(2, "single quotes", to(repr(PERSON).encode()), 400, "body.not_json", ("第 1 行第 2 列",)),
    Case(2, "a form", to(b"name=a&phone=b"), 400, "body.not_json"),
    Case(3, "an array", to(f"[{WRITTEN}]".encode()), 400, "body.not_object"),
    Case(3, "a text", to(b'"abc"'), 400, "body.not_object"),
    Case(3, "null", to(b"null"), 400, "body.not_object"),
    Case(4, "NaN", to(b'{"minutes": NaN}'), 400, "body.not_json", ("NaN",)),
    Case(4, "Infinity", to(b'{"minutes": -Infinity}'), 400, "body.not_json", ("Infinity",)),
    Case(4, "a fraction beyond all bounds", to(b'{"minutes": 1e400}'), 400, "body.not_json"),
    Case(4, "a number of 5000 digits", to(b'{"minutes": %s}' % (b"9" * 5000)), 400, "body.not_json"),
    Case(5, "a key twice", to(b'{"name": "a", "name": "b"}'), 400, "body.duplicate_key", ("name",)),
    Case(5, "a key twice inside", to(b'{"a": [{"b": 1, "b": 1}]}'), 400, "body.duplicate_key"),
    Case(5, "a key twice, once escaped", to(b'{"name": "a", "n\\u0061me": "b"}'), 400, "body.duplicate_key"),
    Case(6, "21 levels", to(b'{"a":' + b"[" * 20 + b"]" * 20 + b"}"), 400, "body.too_deep", ("20",)),
    Case(6, "100,000 levels", to(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), 400, "body.too_deep"),
    Case(7, "a body over the limit, announced", to(b"{", length=300 * MEBIBYTE), 413, "body.too_large", ("1048576",)),
    Case(7, "a body over the limit, sent", to(b" " * (MEBIBYTE + 1)), 413, "body.too_large"),
    Case(7, "chunks over the limit", coded(b"chunked", *[b" " * 65536] * 17), 413, "body.too_large"),
    Case(8, "text/plain", to(WRITTEN.encode(), content_type="text/plain"), 415, "body.wrong_type"),
    Case(8, "a form's type", to(b"a=1", content_type="application/x-www-form-urlencoded"), 415, "body.wrong_type"),
    Case(8, "no Content-Type", to(WRITTEN.encode(), content_type=""), 415, "body.wrong_type"),
    Case(9, "GBK", to(WRITTEN.encode("gbk")), 400, "body.not_utf8", ("not UTF-8", "GBK")),
    Case(
        9, "GBK declared UTF-8", to(WRITTEN.encode("gbk"), content_type="application/json; charset=utf-8"),
        400, "body.not_utf8",
    ),
    Case(9, "UTF-16", to(WRITTEN.encode("utf-16")), 400, "body.not_utf8"),
    Case(9, "overlong UTF-8", to(b'{"name": "\xc0\xaf"}'), 400, "body.not_utf8"),
    Case(11, "Content-Length and chunked", BOTH, 400),
    Case(11, "two lengths", HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 400),
    Case(11, "an unknown coding", coded(b"xchunked", WRITTEN.encode()), 501),
    Case(11, "two codings", coded(b"gzip, chunked", WRITTEN.encode()), 501),
    Case(11, "a negative length", to(b"{}", length=-5), 400),
    Case(11, "a length that is no number", HEAD + b"Content-Length: abc\r\n\r\n{}", 400),
    Case(11, "a length with a sign", HEAD + b"Content-Length: +2\r\n\r\n{}", 400),
    Case(11, "a length with an underscore", HEAD + b"Content-Length: 1_0\r\n\r\n{}", 400),
    Case(11, "a length of 5000 digits", HEAD + b"Content-Length: %s\r\n\r\n{}" % (b"9" * 5000), 400),
    Case(11, "a chunk that is no number", HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n", 400),
    Case(11, "a negative chunk", HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n{}\r\n0\r\n\r\n", 400),
    Case(
        11, "a chunk larger than memory", HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}\r\n",
        400, "body.incomplete",
    ),
    Case(11, "a body that ends before its length", to(b'{"a": 1', length=100), 400, "body.incomplete"),
    Case(12, "an unknown method", request("BREW"), 405, "route.method_not_allowed", ("POST",)),
    Case(12, "a method of another address", request("DELETE"), 405, "route.method_not_allowed"),
    Case(12, "a method of 300 letters", request("A" * 300), 405, "route.method_not_allowed"),
    Case(12, "GET where only POST is", request("GET", "/v1/hours:batch"), 405, "route.method_not_allowed"),
    Case(13, "an unknown parameter", request("GET", "/v1/hours?colour=1"), 400, "query.invalid", ("/colour",)),
    Case(13, "a near miss", request("GET", "/v1/hours?mont=2026-03"), 400, "query.invalid", ("`month`",)),
    Case(13, "a parameter of a route without any", to(b"{}").replace(b"teers ", b"teers?x=1 "), 400, "query.invalid"),
    Case(13, "a parameter twice", request("GET", "/v1/hours?limit=1&limit=2"), 400, "query.invalid", ("/limit",)),
    Case(14, "a page of 100000", request("GET", "/v1/hours?limit=100000"), 400, "query.invalid", ("200", "/limit")),
    Case(14, "a page of 201", request("GET", "/v1/volunteers?limit=201"), 400, "query.invalid", ("200",)),
    Case(14, "a page of 0", request("GET", "/v1/hours?limit=0"), 400, "query.invalid", ("200",)),
    Case(14, "a page of -1", request("GET", "/v1/hours?limit=-1"), 400, "query.invalid", ("200",)),
    Case(50, "a way out of the folder", request("GET", "/../../etc/passwd"), 404, "route.not_found"),
    Case(50, "the same, escaped", request("GET", "/v1/%2e%2e/%2e%2e/etc/passwd"), 404, "route.not_found"),
    Case(50, "inside a code", request("GET", "/v1/teams/..%2f..%2fetc%2fpasswd"), 404, "route.not_found"),
    Case(50, "NUL in a path", request("GET", "/v1/teams/a%00"), 404, "route.not_found"),
    Case(50, "no UTF-8 in a path", request("GET", "/v1/teams/%ff"), 404, "route.not_found"),
]  # fmt: skip

#: Not on the list; what each server makes of it stays its own, as long as it is plain, prompt and harmless.
GARBAGE = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
    "HTTP of the future": b"GET /v1/hours HTTP/9.9\r\nHost: x\r\n\r\n",
    "a head of 100 KB": request(headers=["X-A: " + "a" * 100_000]),
    "an address of 20 KB": request("GET", "/v1/hours?unit=" + "a" * 20_000),
    "a header without a colon": request(headers=[PERSON["id_number"]]),
    "5000 headers": request(headers=[f"X-{n}: {PERSON['phone']}" for n in range(5000)]),
}

#: A sound request, to see that a server goes on.
LIST = request("GET")

NUMBERS = {case.number for case in CASES} | {10}


@pytest.fixture(scope="module")
def both_servers(
    database: str, scene: Scene, amqp_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[Server, Callable[[], str]]]]:
    """Both servers on the scene's database."""
    folder: Path = tmp_path_factory.mktemp("api")
    with (
        threaded(database) as plain,
        keys_served() as portal_url,
        on_nameko(database, amqp_uri, folder, portal_url) as (nameko, log),
    ):
        yield {"threads": (plain, lambda: ""), "nameko": (nameko, log)}


@pytest.fixture(params=["threads", "nameko"])
def server(
    request: pytest.FixtureRequest, both_servers: dict[str, tuple[Server, Callable[[], str]]], written: io.StringIO
) -> Iterator[Server]:
    """One of the servers; what it logs is JSON and says nothing about anybody."""
    served, log = both_servers[request.param]
    before = len(log())
    yield served
    for line in (log()[before:] + written.getvalue()).splitlines():
        assert "event" in json.loads(line)
        assert not any(value in line for value in HIDDEN)
    assert served.ask(LIST).status == 200, "it goes on answering"


def refused(received: Received, status: int | set[int], code: str | None, says: tuple[str, ...] = ()) -> None:
    text = received.body.decode()
    if code is None and not received.is_problem:
        assert received.status in ({status} if isinstance(status, int) else status)
        assert len(text) < 200, "a plain line"
        assert not INSIDE.search(text)
        return
    found = json.loads(text)
    check_problem(
        received.status, received.headers.get("content-type"), text,
        expected=received.status, code=code or found["code"], says=says, hidden=HIDDEN,
    )  # fmt: skip
    assert received.status == status
    assert received.headers["xinhuo-trace-id"] == found["trace_id"]
    assert received.headers["cache-control"] == "no-store"
    if status == 405:
        assert set(received.headers["allow"].split(", ")) == set(found["allow"]) >= {"POST"}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_request_that_is_not_sound_is_refused_and_changes_nothing(scene: Scene, server: Server, case: Case) -> None:
    with scene.tables.unchanged():
        started = time.monotonic()
        received = server.ask(case.raw)
        assert time.monotonic() - started < PATIENCE * 3
    refused(received, case.status, case.code, case.says)


def test_10_a_byte_order_mark_is_accepted(scene: Scene, server: Server) -> None:
    written = json.dumps(scene.hours()).encode()
    received = server.ask(request(body=b"\xef\xbb\xbf" + written))
    assert received.status in {200, 201}, received.body
    assert json.loads(received.body)["minutes"] == 120


@pytest.mark.parametrize("raw", GARBAGE.values(), ids=GARBAGE)
def test_what_is_hardly_http_gets_a_plain_answer(scene: Scene, server: Server, raw: bytes) -> None:
    with scene.tables.unchanged():
        received = server.ask(raw)
    assert 400 <= received.status < 600
    assert received.status != 500
    text = received.body.decode()
    assert not INSIDE.search(text)
    assert not any(value in text for value in HIDDEN)


def test_garbage_after_a_request_does_not_spoil_its_answer(scene: Scene, server: Server) -> None:
    with scene.tables.unchanged():
        first, second = server.exchange(request("GET", close=False) + b"\x00\x01garbage\r\n\r\n")
    assert (first.status, second.status) == (200, 400)


def test_two_requests_at_once_get_two_answers(scene: Scene, server: Server) -> None:
    first, second = server.exchange(request("GET", close=False) + request("GET", "/v1/nowhere"))
    assert (first.status, second.status) == (200, 404)


def test_what_follows_a_refused_body_is_no_request(scene: Scene, server: Server) -> None:
    """A length that two readers may understand differently must not smuggle a second request."""
    inner = json_request(scene.world.body(scene.volunteer, "2026-04-01 09:00", "2026-04-01 10:00"))
    attempts = {
        "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + inner,
        "a length beside chunks": BOTH + inner,
    }
    for what, raw in attempts.items():
        with scene.tables.unchanged():
            received = server.exchange(raw.replace(b"Connection: close", b"Connection: keep-alive", 1))
        assert {answer.status // 100 for answer in received} <= {4, 5}, what


#: What no header field may look like: a proxy in front could read each of these otherwise.
BROKEN_FIELDS = {
    "no colon": b"Nonsense\r\n",
    "an empty name": b": x\r\n",
    "a space before the colon": b"Content-Length : 5\r\n",
    "a folded line": b"X-Long: a\r\n b\r\n",
    "a folded first line": b" X: a\r\n",
    "a bare carriage return": b"X-Odd: a\rContent-Length: 5\r\n",
    "a zero byte": b"X-Odd: a\0b\r\n",
    "a name that is no token": "X-名: a\r\n".encode(),
}


@pytest.mark.parametrize("what", BROKEN_FIELDS)
def test_a_header_field_that_is_none_is_refused_with_the_connection(scene: Scene, server: Server, what: str) -> None:
    raw = json_request(scene.world.body(scene.volunteer, "2026-04-01 09:00", "2026-04-01 10:00"), close=False)
    line, _, rest = raw.partition(b"\r\n")
    with scene.tables.unchanged():
        received = server.exchange(line + b"\r\n" + BROKEN_FIELDS[what] + rest + request("GET"))
    assert [answer.status for answer in received] == [400]


def test_more_than_a_hundred_header_fields_are_refused_and_a_hundred_are_read(server: Server) -> None:
    head = b"GET /healthz HTTP/1.1\r\nConnection: close\r\n"
    statuses = [
        server.exchange(head + b"".join(b"X-%d: a\r\n" % number for number in range(count)) + b"\r\n")[0].status
        for count in (99, 100)
    ]
    assert statuses == [200, 431]


@pytest.mark.parametrize(
    ("head", "answers", "stays_open"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 2, True),
        (b"GET /healthz HTTP/1.1\nHost: x\n\n", 2, True),
        (b"GET /healthz HTTP/1.1\r\nConnection: Close\r\n\r\n", 1, False),
        (b"GET /healthz HTTP/1.0\r\nHost: x\r\n\r\n", 1, False),
        (b"GET //healthz HTTP/1.1\r\nHost: x\r\n\r\n", 2, True),
        (b"GET  /healthz  HTTP/1.1\r\nHost:x\r\n\r\n", 2, True),
    ],
)
def test_requests_written_in_other_ways_are_read_alike(
    both_servers: dict[str, tuple[Server, Callable[[], str]]], head: bytes, answers: int, stays_open: bool
) -> None:
    served, _ = both_servers["nameko"]
    received = served.exchange(head + b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert [answer.status for answer in received] == [200] * answers
    assert (len(received) == 2) is stays_open


def test_a_connection_that_says_nothing_more_is_closed_in_time(scene: Scene, server: Server) -> None:
    with scene.tables.unchanged():
        started = time.monotonic()
        received = server.exchange(b"POST /v1/hours HTTP/1.1\r\nHost: x")
        assert time.monotonic() - started < PATIENCE * 3
    assert [answer.status for answer in received] in ([], [408])


@pytest.mark.parametrize(
    ("what", "head"),
    [("head", b"POST /v1/hours HTTP/1.1\r\nX-"), ("body", to(b"", length=1000)),
     ("chunk", HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n")],
)  # fmt: skip
def test_a_request_that_drips_is_given_up_in_time(scene: Scene, server: Server, what: str, head: bytes) -> None:
    started = time.monotonic()

    def drip() -> Iterator[bytes]:
        yield head
        with server.connect() as clock:  # silent, and so closed after the same time
            clock.settimeout(0.2)
            while time.monotonic() - started < PATIENCE + 1:
                try:
                    clock.recv(1)
                except TimeoutError:
                    yield b"a"

    with scene.tables.unchanged():
        received = server.exchange(drip())
    assert time.monotonic() - started < PATIENCE * 2.5
    said = [(answer.status, answer.is_problem and json.loads(answer.body)["code"]) for answer in received]
    assert said in ([], [(400, "body.incomplete")], [(408, False)])

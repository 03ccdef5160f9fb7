"""What arrives is refused with a stable code before anything is done with it; no database is asked."""

import io
import json

import pytest
from werkzeug.test import Client, EnvironBuilder
from werkzeug.wrappers import Request

from tests.support.identity import for_everybody
from tests.support.services import client_of, make_service
from xinhuo.chassis.errors import RuleError
from xinhuo.chassis.identity.rights import PUBLIC_RIGHT
from xinhuo.chassis.markers import http
from xinhuo.chassis.service import Service
from xinhuo.chassis.web import body, schema
from xinhuo.chassis.web.pages import Listed

LIMIT = 2048


class Log(schema.Schema):
    minutes = schema.Integer(min=1, max=1440, required=True)
    served_on = schema.Date(required=True)
    note = schema.Text(max=100)
    parts = schema.ListOf(schema.Nested(schema.Schema.from_dict({"place": schema.Text(required=True)})))


class Query(schema.Page):
    unit = schema.Code()
    kinds = schema.ListOf(schema.Code())


@for_everybody
class Kettles(Service):
    """Gives back what it was sent."""

    name = "kettles"

    @http("POST", "/v1/logs", right=PUBLIC_RIGHT, accepts=Log, body_limit=LIMIT, status=201)
    def log(self, session, body):
        return {"minutes": body["minutes"], "served_on": body["served_on"].isoformat()}

    @http("PUT", "/v1/logs/{code}", right=PUBLIC_RIGHT, accepts=Log)
    def change(self, session, body, code, if_match):
        return {"code": code, "revision": if_match}

    @http("GET", "/v1/logs", right=PUBLIC_RIGHT, query=Query)
    def logs(self, session, query):
        return Listed([{"limit": query["limit"]}], after="next")

    @http("GET", "/v1/plain", right=PUBLIC_RIGHT)
    def plain(self, session):
        return {}

    @http("POST", "/v1/files", right=PUBLIC_RIGHT, media_type="application/octet-stream", body_limit=1 << 20)
    def files(self, session, body):
        return {"bytes": len(body)}


@pytest.fixture(scope="module")
def client() -> Client:
    # The routes above ask nothing of the session, so no connection is ever opened.
    return client_of(make_service(Kettles, "postgresql://nobody@127.0.0.1:1/nothing"))


GOOD = {"minutes": 60, "served_on": "2026-03-05"}


def deep(levels):
    return b'{"minutes":' + b"[" * (levels - 1) + b"1" + b"]" * (levels - 1) + b"}"


JSON_REFUSED = [
    # bad input 1: empty
    (400, "body.empty", b""),
    (400, "body.empty", b"  \n"),
    (400, "body.empty", b"\xef\xbb\xbf "),
    # 2: broken
    (400, "body.not_json", b"{"),
    (400, "body.not_json", b'{"minutes": 60,}'),
    (400, "body.not_json", b"minutes=60"),
    (400, "body.not_json", b"{'minutes': 60}"),
    (400, "body.not_json", json.dumps(GOOD).encode() + b"x"),
    (400, "body.not_json", b'{"note": "a\x00b"}'),
    (400, "body.not_json", b'{"note": "a\nb"}'),
    # 3: not an object
    (400, "body.not_object", b"[]"),
    (400, "body.not_object", b"[" + json.dumps(GOOD).encode() + b"]"),
    (400, "body.not_object", b"null"),
    (400, "body.not_object", b"7"),
    (400, "body.not_object", b'"text"'),
    # 4: no numbers of JSON
    (400, "body.not_json", b'{"minutes": NaN}'),
    (400, "body.not_json", b'{"minutes": Infinity}'),
    (400, "body.not_json", b'{"minutes": -Infinity}'),
    (400, "body.not_json", b'{"minutes": 1e999}'),
    (400, "body.not_json", b'{"minutes": -1e999}'),
    (400, "body.not_json", b'{"minutes": ' + b"9" * 4400 + b"}"),
    # 5: a key twice
    (400, "body.duplicate_key", b'{"minutes": 60, "minutes": 61}'),
    (400, "body.duplicate_key", b'{"minutes": 60, "parts": [{"place": "a", "place": "a"}]}'),
    (400, "body.duplicate_key", rb'{"a": 1, "\u0061": 2}'),
    (400, "body.duplicate_key", rb'{"\ud800": 1, "\ud800": 2}'),
    # 6: too deep
    (400, "body.too_deep", deep(21)),
    (400, "body.too_deep", deep(900)),
    (400, "body.too_deep", deep(100_000)),
    (400, "body.too_deep", b"[" * 100_000),
    # 9: GBK
    (400, "body.not_utf8", json.dumps({"note": "服务"}, ensure_ascii=False).encode("gbk")),
    (400, "body.not_utf8", json.dumps(GOOD).encode("utf-16")),
    (400, "body.not_utf8", b'{"note": "\xed\xa0\x80"}'),
    # half a surrogate pair is no character
    (400, "body.not_json", rb'{"note": "\ud800"}'),
    (400, "body.not_json", rb'{"\uDC00": 1}'),
    (400, "body.not_json", rb'{"parts": [{"place": "\udbff"}]}'),
]


@pytest.mark.parametrize(("status", "code", "data"), JSON_REFUSED, ids=lambda value: repr(value)[:40])
def test_a_body_that_is_no_sound_json_object_is_refused(status, code, data):
    with pytest.raises(RuleError) as caught:
        body.parse_object(data)
    assert (caught.value.status, caught.value.code) == (status, code)
    json.dumps([caught.value.zh, caught.value.en], ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"{}", {}),
        (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), GOOD),  # 10: a byte order mark
        (b'{"a": 1.5, "b": -0, "c": 1e5}', {"a": 1.5, "b": 0, "c": 1e5}),
        (rb'{"a": "\ud83d\ude00", "b": "\\ud800"}', {"a": "😀", "b": "\\ud800"}),
        ('{"name": "𠮷·"}'.encode(), {"name": "𠮷·"}),
        (deep(20), None),
    ],
)
def test_a_sound_body_is_read(data, value):
    assert value is None or body.parse_object(data) == value
    assert isinstance(body.parse_object(data), dict)


def test_broken_json_is_pointed_at_by_line_and_column():
    with pytest.raises(RuleError) as caught:
        body.parse_object(b'{\n  "minutes": 60,\n  "note" 1}')
    assert caught.value.extra == {"line": 3, "column": 10}
    assert "第 3 行第 10 列" in caught.value.zh


def test_a_body_that_is_not_utf8_is_pointed_at_by_its_first_wrong_byte():
    with pytest.raises(RuleError) as caught:
        body.parse_object(b'{"a": "' + "服".encode("gbk"))
    assert "第 8 字节" in caught.value.zh
    assert "GBK" in caught.value.zh


def request_of(data=b"", **environ):
    builder = EnvironBuilder(method="POST", input_stream=io.BytesIO(data))
    values = {**builder.get_environ(), "wsgi.input": io.BytesIO(data), **environ}
    return Request({key: value for key, value in values.items() if value is not None})


def test_a_body_as_large_as_the_limit_is_read_and_a_larger_one_refused():
    assert body.read(request_of(b"12345", CONTENT_LENGTH="5"), 5) == b"12345"
    with pytest.raises(RuleError) as caught:
        body.read(request_of(b"123456", CONTENT_LENGTH="6"), 5)
    assert (caught.value.status, caught.value.code, caught.value.extra) == (413, "body.too_large", {"limit": 5})


class Untouchable(io.BytesIO):
    """A stream that must not be read."""

    def read(self, *_):
        raise AssertionError("read")


def test_a_body_announced_as_too_large_is_refused_before_it_is_read():
    with pytest.raises(RuleError) as caught:
        body.read(request_of(CONTENT_LENGTH="300000000", **{"wsgi.input": Untouchable()}), 1 << 20)
    assert caught.value.code == "body.too_large"


def test_a_chunked_body_is_read_no_further_than_the_limit():
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": None}
    assert body.read(request_of(b"12345", **chunked), 5) == b"12345"
    stream = io.BytesIO(b"x" * 100)
    with pytest.raises(RuleError) as caught:
        body.read(request_of(**{**chunked, "wsgi.input": stream}), 5)
    assert caught.value.code == "body.too_large"
    assert stream.tell() == 6


def test_a_length_beside_chunks_is_refused():
    with pytest.raises(RuleError) as caught:
        body.read(request_of(b"{}", HTTP_TRANSFER_ENCODING="gzip, Chunked", CONTENT_LENGTH="2"), 5)
    assert (caught.value.status, caught.value.code) == (400, "body.length_ambiguous")


@pytest.mark.parametrize(("coding", "code"), [("gzip", "body.wrong_type"), ("identity", None), (" Identity ", None)])
def test_a_compressed_body_is_refused_and_says_so(coding, code):
    request = request_of(b"{}", HTTP_CONTENT_ENCODING=coding)
    if code is None:
        assert body.read(request, 5) == b"{}"
        return
    with pytest.raises(RuleError) as caught:
        body.read(request, 5)
    assert (caught.value.status, caught.value.code) == (415, code)


@pytest.mark.parametrize("error", [OSError("timed out"), ValueError("bad chunk")])
def test_a_body_that_does_not_arrive_whole_is_refused(error):
    class Broken(io.BytesIO):
        def read(self, *_):
            raise error

    with pytest.raises(RuleError) as caught:
        body.read(request_of(HTTP_TRANSFER_ENCODING="chunked", CONTENT_LENGTH=None, **{"wsgi.input": Broken()}), 5)
    assert (caught.value.status, caught.value.code) == (400, "body.incomplete")


def test_a_body_shorter_than_announced_is_refused():
    with pytest.raises(RuleError) as caught:
        body.read(request_of(b"12", CONTENT_LENGTH="5"), 5)
    assert caught.value.code == "body.incomplete"
    terminated = request_of(b"12", CONTENT_LENGTH="5", **{"wsgi.input_terminated": True})
    with pytest.raises(RuleError) as caught:
        body.read(terminated, 5)
    assert caught.value.code == "body.incomplete"


def test_a_request_without_a_body_reads_as_nothing():
    assert body.read(request_of(CONTENT_LENGTH=None), 5) == b""


@pytest.mark.parametrize(
    ("given", "wanted", "taken"),
    [
        ("application/json", "application/json", True),
        ("application/json; charset=utf-8", "application/json", True),
        ("APPLICATION/JSON", "application/json", True),
        ("application/merge-patch+json", "application/json", True),
        ("text/plain", "application/json", False),
        ("text/json", "application/json", False),
        ("application/x-www-form-urlencoded", "application/json", False),
        ("multipart/form-data; boundary=x", "application/json", False),
        ("application/json, text/html", "application/json", False),
        ("", "application/json", False),
        ("application/octet-stream", "application/octet-stream", True),
        ("application/json", "application/octet-stream", False),
        ("application/vnd+json", "application/octet-stream", False),
    ],
)
def test_the_media_type_must_be_the_one_of_the_route(given, wanted, taken):
    request = request_of(CONTENT_TYPE=given)
    if taken:
        body.require_type(request, wanted)
        return
    with pytest.raises(RuleError) as caught:
        body.require_type(request, wanted)
    assert (caught.value.status, caught.value.code) == (415, "body.wrong_type")
    assert wanted in caught.value.zh


def refused(answer, status, code):
    """Check that an answer is a problem in both languages with a trace id, and return it."""
    assert answer.status_code == status, answer.get_data(as_text=True)
    assert answer.content_type == "application/problem+json"
    said = answer.get_json(force=True)
    assert (said["status"], said["code"]) == (status, code)
    assert said["type"] == f"urn:xinhuo:error:{code}"
    assert said["title"]
    assert said["detail"] != said["detail_en"]
    assert said["trace_id"] == answer.headers["Xinhuo-Trace-Id"]
    return said


def problems(said):
    return {(problem["pointer"], problem["code"]) for problem in said["errors"]}


@pytest.mark.parametrize(("status", "code", "data"), JSON_REFUSED, ids=lambda value: repr(value)[:40])
def test_the_route_answers_an_unsound_body_with_a_problem(client, status, code, data):
    if len(data) > LIMIT:
        status, code = 413, "body.too_large"
    refused(client.post("/v1/logs", data=data, content_type="application/json"), status, code)


def test_a_sound_request_is_answered(client):
    answer = client.post("/v1/logs", json=GOOD)
    assert (answer.status_code, answer.get_json()) == (201, {"minutes": 60, "served_on": "2026-03-05"})


def test_a_body_over_the_limit_of_its_route_is_refused_and_the_limit_named(client):
    said = refused(client.post("/v1/logs", json={**GOOD, "note": "x" * LIMIT}), 413, "body.too_large")
    assert said["limit"] == LIMIT
    answer = client.post("/v1/files", data=b"x" * (LIMIT + 1), content_type="application/octet-stream")
    assert answer.get_json() == {"bytes": LIMIT + 1}


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_of_another_type_is_refused(client, content_type):
    refused(client.post("/v1/logs", data=json.dumps(GOOD), content_type=content_type), 415, "body.wrong_type")


def test_a_length_beside_chunks_is_refused_by_the_route(client):
    answer = client.post("/v1/logs", json=GOOD, headers={"Transfer-Encoding": "chunked"})
    refused(answer, 400, "body.length_ambiguous")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/logs", {"GET", "OPTIONS", "POST"}),
        ("PATCH", "/v1/logs/A", {"OPTIONS", "PUT"}),
        ("KETTLE", "/v1/plain", {"GET", "OPTIONS"}),
        ("POST", "/v1/plain", {"GET", "OPTIONS"}),
    ],
)
def test_a_method_that_an_address_does_not_take_is_refused_with_those_it_takes(client, method, path, allowed):
    answer = client.open(path, method=method, json=GOOD)
    said = refused(answer, 405, "route.method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == allowed == set(said["allow"])


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/../v1/plain", "/v1/logs/a%2Fb", "/v1/logs/名", "//v1/plain"])
def test_an_address_that_is_not_there_is_answered_with_a_problem(client, path):
    refused(client.get(path), 404, "route.not_found")


@pytest.mark.parametrize(
    ("path", "pointer", "code"),
    [
        ("/v1/logs?unti=A", "/unti", "field.unknown"),
        ("/v1/logs?limit=100000", "/limit", "field.out_of_range"),
        ("/v1/logs?limit=201", "/limit", "field.out_of_range"),
        ("/v1/logs?limit=0", "/limit", "field.out_of_range"),
        ("/v1/logs?limit=--5", "/limit", "field.not_integer"),
        ("/v1/logs?limit=ten", "/limit", "field.not_integer"),
        ("/v1/logs?limit=", "/limit", "field.not_integer"),
        ("/v1/logs?limit=5&limit=6", "/limit", "field.not_integer"),
        ("/v1/logs?unit=%00", "/unit", "text.invisible"),
        ("/v1/logs?unit=a%20b", "/unit", "code.malformed"),
        ("/v1/logs?unit=%ff", "/unit", "code.malformed"),
        ("/v1/logs?after=%00", "/after", "text.invisible"),
        ("/v1/plain?limit=5", "/limit", "field.unknown"),
    ],
)
def test_a_query_parameter_that_is_unknown_or_wrong_is_named(client, path, pointer, code):
    said = refused(client.get(path), 400, "query.invalid")
    assert problems(said) == {(pointer, code)}
    assert pointer.removeprefix("/") in said["detail"]


def test_a_page_may_be_as_large_as_200_and_says_so_otherwise(client):
    assert client.get("/v1/logs?limit=200").get_json()["items"] == [{"limit": 200}]
    (problem,) = refused(client.get("/v1/logs?limit=201"), 400, "query.invalid")["errors"]
    assert "1–200" in problem["detail"]


def test_the_link_of_the_next_page_keeps_every_parameter(client):
    answer = client.get("/v1/logs?kinds=a&kinds=b&limit=5")
    assert answer.headers["Link"] == '</v1/logs?kinds=a&kinds=b&limit=5&after=next>; rel="next"'
    assert answer.get_json()["after"] == "next"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"minuts": 60}, {("/minuts", "field.unknown")}),
        ({"minutes": 0}, {("/minutes", "field.out_of_range")}),
        ({"minutes": -5}, {("/minutes", "field.out_of_range")}),
        ({"minutes": 1441}, {("/minutes", "field.out_of_range")}),
        ({"minutes": 12.5}, {("/minutes", "field.not_integer")}),
        ({"minutes": 60.0}, {("/minutes", "field.not_integer")}),
        ({"minutes": "60"}, {("/minutes", "field.not_integer")}),
        ({"minutes": "两小时"}, {("/minutes", "field.not_integer")}),
        ({"minutes": True}, {("/minutes", "field.not_integer")}),
        ({"minutes": None}, {("/minutes", "field.null")}),
        ({"minutes": [60]}, {("/minutes", "field.not_integer")}),
        ({"served_on": "2026-02-30"}, {("/served_on", "field.not_date")}),
        ({"served_on": "05.03.2026"}, {("/served_on", "field.not_date")}),
        ({"note": "a\u202eb"}, {("/note", "text.invisible")}),
        ({"note": "a\u200bb"}, {("/note", "text.invisible")}),
        ({"note": "a\u0000b"}, {("/note", "text.invisible")}),
        ({"note": "x" * 101}, {("/note", "text.length")}),
        ({"parts": {}}, {("/parts", "field.not_list")}),
        ({"parts": ["x"]}, {("/parts/0", "field.wrong_type")}),
        (
            {"parts": [{"place": "甲"}, {}, {"place": "", "plcae": 1}]},
            {
                ("/parts/1/place", "field.required"),
                ("/parts/2/place", "text.length"),
                ("/parts/2/plcae", "field.unknown"),
            },
        ),
        ({"a/b~c": 1}, {("/a~1b~0c", "field.unknown")}),
    ],
)
def test_a_wrong_field_is_named_with_pointer_and_code(client, changes, expected):
    said = refused(client.post("/v1/logs", json={**GOOD, **changes}), 422, "input.invalid")
    assert problems(said) == expected
    assert all(problem["detail"] != problem["detail_en"] for problem in said["errors"])


def test_all_that_is_missing_is_listed_at_once(client):
    said = refused(client.post("/v1/logs", json={"note": ""}), 422, "input.invalid")
    assert problems(said) == {
        ("/minutes", "field.required"),
        ("/served_on", "field.required"),
        ("/note", "text.length"),
    }


def test_an_unknown_field_is_answered_with_the_nearest_known_one(client):
    said = refused(client.post("/v1/logs", json={**GOOD, "minuts": 60, "zzz": 1}), 422, "input.invalid")
    details = {problem["pointer"]: problem["detail_en"] for problem in said["errors"]}
    assert "did you mean `minutes`" in details["/minuts"]
    assert details["/zzz"] == "There is no such field."


def test_a_change_without_if_match_is_refused(client):
    refused(client.put("/v1/logs/A", json=GOOD), 428, "precondition.required")
    answer = client.put("/v1/logs/A", json=GOOD, headers={"If-Match": 'W/"7"'})
    assert answer.get_json() == {"code": "A", "revision": "7"}


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "钥匙".encode().decode("latin-1")])
def test_an_idempotency_key_that_is_no_visible_ascii_is_refused(client, key):
    answer = client.post("/v1/logs", json=GOOD, headers={"Idempotency-Key": key})
    refused(answer, 400, "idempotency.key_malformed")

"""The command line's client: what is asked again, what is not, and what a refusal says."""

import socket

import pytest

from tests.support.stub import Stub
from xinhuo.cli.client import Api, ApiProblem, ServiceAway


class Tokens:
    """Shows the first of some tokens until that is refused, then the next."""

    def __init__(self, *tokens: str) -> None:
        self.left = list(tokens)

    def token(self) -> str:
        return self.left[0]

    def renew(self) -> None:
        self.left.pop(0)


REFUSED = {"code": "token.expired", "detail": "令牌已过期"}


def client_of(stub: Stub, patience: float = 5.0, bearer: Tokens | None = None) -> Api:
    return Api({"notices": stub.url}, patience=patience, bearer=bearer)


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


def shown(stub: Stub) -> list[str | None]:
    return [headers.get("Authorization") for _, _, headers in stub.seen]


def test_a_token_is_shown_with_each_request_and_none_where_nobody_signed_in(stub: Stub) -> None:
    stub.planned = [(200, {}, {}), (503, {"Retry-After": "0"}, {}), (200, {}, {})]
    client_of(stub).get("notices", "/v1/units")
    client_of(stub, bearer=Tokens("one")).get("notices", "/v1/units")
    assert shown(stub) == [None, "Bearer one", "Bearer one"]


def test_a_refused_token_is_renewed_and_the_request_sent_again_even_one_that_is_not_repeatable(stub: Stub) -> None:
    stub.planned = [(401, {}, REFUSED), (201, {}, {"code": "A1"})]
    made = client_of(stub, patience=0.0, bearer=Tokens("old", "new")).post("notices", "/v1/units", {"code": "A1"})
    assert made == {"code": "A1"}
    assert shown(stub) == ["Bearer old", "Bearer new"]
    assert stub.bodies[0] == stub.bodies[1] != b""


def test_a_token_is_renewed_once_a_request_and_the_refusal_then_told(stub: Stub) -> None:
    tokens = Tokens("one", "two", "three", "four")
    api = client_of(stub, bearer=tokens)
    stub.planned = [(401, {}, REFUSED)] * 2
    with pytest.raises(ApiProblem) as caught:
        api.get("notices", "/v1/units")
    assert (caught.value.status, caught.value.code, tokens.left) == (401, "token.expired", ["two", "three", "four"])
    stub.planned = [(401, {}, REFUSED), (200, {}, {"items": []})]
    assert api.get("notices", "/v1/units") == {"items": []}
    assert tokens.left == ["three", "four"]


def test_a_token_is_renewed_between_tries_of_a_service_that_is_away(stub: Stub) -> None:
    away = (503, {"Retry-After": "0"}, {"code": "identity.unavailable"})
    stub.planned = [away, (401, {}, REFUSED), away, (200, {}, {"code": "A1"})]
    assert client_of(stub, bearer=Tokens("old", "new")).get("notices", "/v1/units/A1") == {"code": "A1"}
    assert shown(stub) == ["Bearer old", "Bearer old", "Bearer new", "Bearer new"]


def test_a_right_that_is_missing_renews_nothing(stub: Stub) -> None:
    stub.planned = [(403, {}, {"code": "right.missing"})]
    tokens = Tokens("one", "two")
    with pytest.raises(ApiProblem, match=r"right\.missing"):
        client_of(stub, bearer=tokens).get("notices", "/v1/units")
    assert tokens.left == ["one", "two"]


def test_without_a_token_a_refusal_is_told_at_once(stub: Stub) -> None:
    stub.planned = [(401, {}, {"code": "token.missing"})]
    with pytest.raises(ApiProblem, match=r"token\.missing"):
        client_of(stub).get("notices", "/v1/units")

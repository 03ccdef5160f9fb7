"""Tokens for an API key: fetched once, renewed in time, and clearly missing when the portal gives none."""

import json
import socket

import pytest

from tests.support.stub import Planned, Stub, stubbed
from tests.support.threads import at_once
from xinhuo.chassis.identity.bearer import KeyBearer, NoBearer, PortalAway

KEY = "xhk_abcdefgh_" + 43 * "k"


class Clock:
    """A clock that is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bearer(stub: Stub, clock: Clock) -> KeyBearer:
    return KeyBearer(f"{stub.url}/", KEY, clock=clock)


def token(text: str, seconds: float = 600) -> Planned:
    return 201, {}, {"access_token": text, "token_type": "Bearer", "expires_in": seconds}


def test_a_key_is_exchanged_once_and_stands_in_the_body_only(stub: Stub, bearer: KeyBearer) -> None:
    stub.planned = [token("one")]
    assert [bearer.token() for _ in range(3)] == ["one"] * 3
    [(method, path, headers)] = stub.seen
    assert (method, path) == ("POST", "/v1/client-tokens")
    assert json.loads(stub.bodies[0]) == {"key": KEY}
    assert KEY not in f"{path} {headers}"


def test_nothing_is_asked_before_a_token_is_wanted(stub: Stub, bearer: KeyBearer) -> None:
    bearer.renew()
    assert stub.seen == []


@pytest.mark.parametrize(("passed", "shown"), [(0.0, "one"), (479.9, "one"), (480.0, "two"), (10_000.0, "two")])
def test_a_token_is_renewed_when_four_fifths_of_its_time_are_over(
    stub: Stub, bearer: KeyBearer, clock: Clock, passed: float, shown: str
) -> None:
    stub.planned = [token("one"), token("two")]
    assert bearer.token() == "one"
    clock.now += passed
    assert bearer.token() == shown


def test_a_token_that_was_refused_is_not_shown_again(stub: Stub, bearer: KeyBearer) -> None:
    stub.planned = [token("one"), token("two")]
    assert bearer.token() == "one"
    bearer.renew()
    assert [bearer.token(), bearer.token()] == ["two", "two"]


def test_while_the_portal_is_away_the_token_is_shown_until_it_ends(stub: Stub, bearer: KeyBearer, clock: Clock) -> None:
    stub.planned = [token("one"), (503, {}, {}), None, token("two")]
    assert bearer.token() == "one"
    clock.now += 480
    assert bearer.token() == "one"
    clock.now += 119.9
    assert bearer.token() == "one"
    clock.now += 5
    assert bearer.token() == "two"
    assert len(stub.seen) == 4


def test_a_token_that_has_ended_is_not_shown(stub: Stub, bearer: KeyBearer, clock: Clock) -> None:
    stub.planned = [token("one"), (503, {}, {}), token("two")]
    bearer.token()
    clock.now += 600
    with pytest.raises(PortalAway):
        bearer.token()
    assert bearer.token() == "two"


def test_a_portal_that_is_away_is_asked_again_after_a_pause(stub: Stub, bearer: KeyBearer, clock: Clock) -> None:
    stub.planned = [token("one"), (503, {}, {}), token("two")]
    bearer.token()
    clock.now += 480
    assert [bearer.token() for _ in range(3)] == ["one"] * 3
    assert len(stub.seen) == 2
    clock.now += 4.9
    assert bearer.token() == "one"
    clock.now += 0.1
    assert [bearer.token(), bearer.token()] == ["two", "two"]


def test_threads_that_want_a_token_together_ask_for_one(stub: Stub, bearer: KeyBearer) -> None:
    stub.planned = [token("one")]
    assert at_once([bearer.token] * 8) == ["one"] * 8
    assert len(stub.seen) == 1


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_a_portal_that_refuses_is_named_with_its_status_and_asked_again_next_time(
    stub: Stub, bearer: KeyBearer, status: int
) -> None:
    stub.planned = [(status, {}, {"code": "client.key_refused"}), token("one")]
    with pytest.raises(PortalAway) as caught:
        bearer.token()
    assert f"HTTP {status}" in caught.value.zh
    assert f"HTTP {status}" in caught.value.en
    assert KEY not in str(caught.value.zh + caught.value.en)
    assert bearer.token() == "one"


def test_a_portal_that_is_away_is_said_to_be_so(stub: Stub, bearer: KeyBearer) -> None:
    stub.planned = [None, token("one")]
    with pytest.raises(PortalAway):
        bearer.token()
    assert bearer.token() == "one"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(PortalAway) as caught:
            KeyBearer(f"http://127.0.0.1:{probe.getsockname()[1]}", KEY).token()
    assert "XINHUO_PORTAL_URL" in caught.value.en


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"\xff\xfe", b"[]", b"null", b"7", b"{}", b'{"access_token": "a"}', b'{"expires_in": 600}',
        b'{"access_token": "a", "expires_in": "soon"}', b'{"access_token": "a", "expires_in": null}',
    ],
)  # fmt: skip
def test_nonsense_is_no_token(stub: Stub, bearer: KeyBearer, body: bytes) -> None:
    stub.planned = [(201, {}, body), token("one")]
    with pytest.raises(PortalAway):
        bearer.token()
    assert bearer.token() == "one"


def test_a_failure_keeps_no_token_that_was_refused(stub: Stub, bearer: KeyBearer) -> None:
    stub.planned = [token("one"), (401, {}, {}), token("two")]
    bearer.token()
    bearer.renew()
    with pytest.raises(PortalAway):
        bearer.token()
    assert bearer.token() == "two"


def test_a_proxy_of_the_environment_gets_no_key(stub: Stub, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    with stubbed() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        stub.planned = [token("one")]
        assert KeyBearer(stub.url, KEY, clock=clock).token() == "one"
        assert proxy.seen == []


def test_without_a_key_there_is_nothing_to_show() -> None:
    none = NoBearer()
    none.renew()
    with pytest.raises(PortalAway) as caught:
        none.token()
    assert "XINHUO_SERVICE_KEY" in caught.value.en

"""The door: who is let in, how often, and by which address a stranger is known."""

import time
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from tests.support.identity import bearing, verifier
from xinhuo.chassis.config import load
from xinhuo.chassis.identity.actor import Actor, Reach
from xinhuo.chassis.identity.errors import RightMissing, TokenExpired, TokenInvalid, TokenMissing
from xinhuo.chassis.identity.rights import PUBLIC_RIGHT
from xinhuo.chassis.markers import Http
from xinhuo.chassis.web.guard import Door, Unguarded, check_rights
from xinhuo.chassis.web.limits import Limit, TooManyRequests, address_of

LOG = Http("POST", "/v1/hours", "hours:log")
SIGN_IN = Http("POST", "/v1/sessions", PUBLIC_RIGHT)
OPERATOR = Actor(UUID(int=1), "unit_operator", unit="S1")


def runtime(**settings: str) -> Any:
    return SimpleNamespace(settings=load(settings), verifier=verifier())


def asked(header: str | None = None, address: str = "192.0.2.1", **more: str) -> dict[str, Any]:
    return {"REMOTE_ADDR": address, **({"HTTP_AUTHORIZATION": header} if header is not None else {}), **more}


def by(actor: Actor, seconds: int = 600) -> dict[str, Any]:
    return asked(bearing(actor, seconds=seconds)["Authorization"])


def test_who_has_the_right_comes_in_with_its_reach() -> None:
    access = Door()(runtime(), LOG, by(OPERATOR))
    assert (access.actor, access.right, access.reach) == (OPERATOR, "hours:log", Reach.OWN)


@pytest.mark.parametrize("word", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_written_as_one_likes(word: str) -> None:
    header = bearing(OPERATOR)["Authorization"].replace("Bearer", word)
    assert Door()(runtime(), LOG, asked(header)).actor == OPERATOR


@pytest.mark.parametrize(
    ("environ", "error"),
    [
        (asked(), TokenMissing),
        (asked(""), TokenMissing),
        (asked("Basic YTpi"), TokenInvalid),
        (asked("Bearer"), TokenInvalid),
        (asked("Bearer "), TokenInvalid),
        (asked("Bearer a b"), TokenInvalid),
        (by(OPERATOR, seconds=-100), TokenExpired),
        (by(Actor(UUID(int=2), "clerk")), RightMissing),
        (by(Actor(UUID(int=2), "unit_operator", unit="S1", scopes=frozenset({"people:read"}))), RightMissing),
    ],
)
def test_anybody_else_does_not(environ: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Door()(runtime(), LOG, environ)


def test_a_stranger_may_try_so_often_and_then_waits_whatever_he_shows() -> None:
    door, here = Door(), runtime(XINHUO_RATE_OF_STRANGERS="1")
    for _ in range(5):
        door(here, SIGN_IN, asked())
        with pytest.raises(TokenInvalid):
            door(here, LOG, asked("Bearer wrong"))
    with pytest.raises(TooManyRequests) as refused:
        door(here, SIGN_IN, asked())
    assert refused.value.extra == {"seconds": 1}
    with pytest.raises(TooManyRequests):
        door(here, LOG, asked("Bearer wrong"))
    door(here, SIGN_IN, asked(address="192.0.2.2"))
    assert door(here, LOG, by(OPERATOR)).actor == OPERATOR, "who is known is not kept out with him"


def test_one_caller_does_not_use_up_what_another_may() -> None:
    door, here = Door(), runtime(XINHUO_RATE_OF_CALLERS="1")
    for _ in range(10):
        door(here, LOG, by(OPERATOR))
    with pytest.raises(TooManyRequests):
        door(here, LOG, by(OPERATOR))
    door(here, LOG, by(Actor(UUID(int=9), "unit_operator", unit="S1")))


def test_a_bucket_fills_again_at_its_rate_and_no_further_than_ten_seconds() -> None:
    clock = [0.0]
    limit = Limit(2, clock=lambda: clock[0])
    for _ in range(20):
        limit.take("a")
    with pytest.raises(TooManyRequests):
        limit.take("a")
    clock[0] = 0.5
    limit.take("a")
    with pytest.raises(TooManyRequests):
        limit.take("a")
    clock[0] = 10_000.0
    for _ in range(20):
        limit.take("a")
    with pytest.raises(TooManyRequests):
        limit.take("a")


def test_nought_is_no_limit() -> None:
    limit = Limit(0)
    for _ in range(1000):
        limit.take("a")


def test_so_many_callers_are_remembered_and_no_more() -> None:
    limit = Limit(1)
    began = time.monotonic()
    for number in range(30_000):
        limit.take(number)
    assert len(limit._left) == 10_000
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("proxies", "remote", "forwarded", "found"),
    [
        (0, "192.0.2.1", "198.51.100.7", "192.0.2.1"),
        (1, "10.0.0.1", "198.51.100.7", "198.51.100.7"),
        (1, "10.0.0.1", "203.0.113.66, 198.51.100.7", "198.51.100.7"),
        (2, "10.0.0.1", "203.0.113.66, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        (2, "10.0.0.1", "198.51.100.7", "10.0.0.1"),
        (1, "10.0.0.1", "", "10.0.0.1"),
        (0, "2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        (0, "::ffff:198.51.100.7", "", "198.51.100.7"),
        (1, "10.0.0.1", "x" * 200, "x" * 64),
        (0, "", "", ""),
    ],
)
def test_a_stranger_is_known_by_the_address_that_the_outermost_proxy_saw(
    proxies: int, remote: str, forwarded: str, found: str
) -> None:
    assert address_of({"REMOTE_ADDR": remote, "HTTP_X_FORWARDED_FOR": forwarded}, proxies) == found


@pytest.mark.parametrize(
    "mark",
    [
        Http("GET", "/v1/secrets"),
        Http("GET", "/v1/secrets", ""),
        Http("GET", "/v1/secrets", "everything"),
        Http("GET", "/v1/secrets", PUBLIC_RIGHT),
        Http("POST", "/v1/sessions", "units:read"),
    ],
)
def test_a_service_with_a_route_that_names_no_right_does_not_start(mark: Http) -> None:
    with pytest.raises(Unguarded, match=mark.path):
        check_rights("portal", [mark])

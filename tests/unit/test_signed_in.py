"""The session that commands share in a file: kept for its owner, renewed in turn, never half written."""

import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.stub import Planned, Stub
from tests.support.threads import at_once
from xinhuo.chassis.identity.bearer import KeyBearer
from xinhuo.cli import signed_in
from xinhuo.cli.client import ApiProblem, ServiceAway
from xinhuo.cli.signed_in import SessionBearer, bearer_of, forget, read, session_path, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "session.json"


def tokens(access: str, refresh: str, seconds: float = 600) -> dict[str, Any]:
    return {
        "access_token": access, "refresh_token": refresh, "expires_in": seconds, "account": {"role": "clerk"}
    }  # fmt: skip


def renewed(access: str, refresh: str) -> Planned:
    return 200, {}, tokens(access, refresh)


def sent(stub: Stub) -> list[str]:
    """Return the refresh tokens that came."""
    assert {seen[:2] for seen in stub.seen} <= {("POST", "/v1/sessions:refresh")}
    return [json.loads(body)["refresh_token"] for body in stub.bodies]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_session_is_kept_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert session_path({}) == tmp_path / ".config/xinhuo/session.json"
    assert session_path({"XDG_CONFIG_HOME": "/x", "XINHUO_SESSION_FILE": ""}) == Path("/x/xinhuo/session.json")
    assert session_path({"XDG_CONFIG_HOME": "/x", "XINHUO_SESSION_FILE": "/y/z"}) == Path("/y/z")


def test_a_key_of_the_environment_goes_before_a_session_and_without_either_nobody_asks(path: Path) -> None:
    environment = {"XINHUO_SESSION_FILE": str(path)}
    assert bearer_of(environment) is None
    write(path, "http://portal", tokens("a", "r"))
    assert isinstance(bearer_of(environment), SessionBearer)
    assert isinstance(bearer_of({**environment, "XINHUO_API_KEY": "xhk_x"}), KeyBearer)


def test_what_is_kept_is_for_its_owner_only_and_leaves_nothing_beside(path: Path) -> None:
    write(path, "http://portal", tokens("a", "r"))
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    path.chmod(0o644)
    write(path, "http://portal", tokens("b", "s"))
    assert (mode(path), read(path)["access_token"]) == (0o600, "b")
    assert sorted(one.name for one in path.parent.iterdir()) == ["session.json", "session.json.lock"]


def test_a_file_of_any_name_is_not_its_own_lock(tmp_path: Path) -> None:
    path = tmp_path / "session.lock"
    write(path, "http://portal", tokens("a", "r"))
    assert SessionBearer(path).token() == "a"
    assert read(path)["refresh_token"] == "r"


def test_a_token_with_time_left_is_shown_without_asking_anybody(stub: Stub, path: Path) -> None:
    write(path, stub.url, tokens("a", "r"))
    assert [SessionBearer(path).token() for _ in range(2)] == ["a", "a"]
    assert stub.seen == []


@pytest.mark.parametrize("seconds", [59.0, 0.0, -3600.0])
def test_a_token_with_less_than_a_minute_left_is_renewed_and_the_new_ones_are_kept(
    stub: Stub, path: Path, seconds: float
) -> None:
    write(path, stub.url, tokens("a", "r", seconds))
    stub.planned = [renewed("b", "s")]
    bearer = SessionBearer(path)
    assert [bearer.token(), bearer.token()] == ["b", "b"]
    assert sent(stub) == ["r"]
    kept = read(path)
    assert (kept["access_token"], kept["refresh_token"], kept["portal"], mode(path)) == ("b", "s", stub.url, 0o600)
    assert 590 < kept["until"] - time.time() <= 600


def test_of_many_commands_at_once_one_renews_and_all_show_the_new_token(stub: Stub, path: Path) -> None:
    write(path, stub.url, tokens("a", "r", 0))
    stub.planned = [renewed("b", "s")]
    assert at_once([SessionBearer(path).token for _ in range(8)]) == ["b"] * 8
    assert sent(stub) == ["r"]


def test_a_token_that_was_refused_is_not_shown_again(stub: Stub, path: Path) -> None:
    write(path, stub.url, tokens("a", "r"))
    stub.planned = [renewed("b", "s")]
    bearer = SessionBearer(path)
    assert bearer.token() == "a"
    bearer.renew()
    assert [bearer.token(), bearer.token()] == ["b", "b"]
    assert sent(stub) == ["r"]


def test_a_token_that_another_command_renewed_meanwhile_is_taken_as_it_is(stub: Stub, path: Path) -> None:
    write(path, stub.url, tokens("a", "r"))
    bearer = SessionBearer(path)
    assert bearer.token() == "a"
    write(path, stub.url, tokens("b", "s"))
    bearer.renew()
    assert bearer.token() == "b"
    assert stub.seen == []


def test_a_lost_answer_is_asked_for_again_with_the_same_token(stub: Stub, path: Path) -> None:
    write(path, stub.url, tokens("a", "r", 0))
    stub.planned = [None, (503, {"Retry-After": "0"}, {}), renewed("b", "s")]
    assert SessionBearer(path).token() == "b"
    assert sent(stub) == ["r"] * 3


def test_a_session_that_has_ended_is_told_and_the_file_stays_as_it_is(stub: Stub, path: Path) -> None:
    write(path, stub.url, tokens("a", "r", 0))
    before = path.read_bytes()
    stub.planned = [(401, {}, {"code": "session.ended", "detail": "会话已终止"})]
    with pytest.raises(ApiProblem, match=r"session\.ended"):
        SessionBearer(path).token()
    assert path.read_bytes() == before


def test_a_portal_that_is_away_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, "http://127.0.0.1:9", tokens("a", "r", 0))
    patient = signed_in.Api
    monkeypatch.setattr(signed_in, "Api", lambda urls, **_: patient(urls, patience=0.0))
    with pytest.raises(ServiceAway, match="portal"):
        SessionBearer(path).token()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"portal": "x"}', "\udcff",
     '{"portal": "x", "access_token": "a", "refresh_token": "r", "until": "soon", "account": {}}',
     '{"portal": "x", "access_token": "a", "refresh_token": "r", "until": null, "account": {}}'],
)  # fmt: skip
def test_what_is_no_session_asks_to_sign_in_again(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    for work in (lambda: read(path), SessionBearer(path).token):
        with pytest.raises(ApiProblem, match=r"session\.unreadable") as caught:
            work()
        assert str(path) in caught.value.detail
        assert "xinhuo login" in caught.value.detail_en


def test_signing_out_returns_what_was_kept_and_removes_it_readable_or_not(path: Path) -> None:
    assert forget(path) is None
    assert not path.parent.exists()
    write(path, "http://portal", tokens("a", "r"))
    found = forget(path)
    assert found is not None
    assert found["refresh_token"] == "r"
    path.write_text("{")
    assert forget(path) is None
    assert not path.exists()


def test_a_command_that_comes_after_the_sign_out_finds_no_session(path: Path) -> None:
    write(path, "http://portal", tokens("a", "r"))
    bearer = SessionBearer(path)
    forget(path)
    with pytest.raises(ApiProblem, match=r"session\.unreadable"):
        bearer.token()

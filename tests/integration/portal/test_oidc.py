"""Signing in with the office's directory, and attacks on it, against a directory on 127.0.0.1, on PostgreSQL."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from werkzeug.test import Client, TestResponse

from services.portal import directory as provider
from services.portal import passwords
from services.portal.oidc_service import COOKIE
from services.portal.service import Portal
from tests.support import directory as directories
from tests.support import portal as house
from tests.support.directory import FakeDirectory
from tests.support.portal import Person, account, change, outcome, row, signed_in, web
from tests.support.services import fetch
from tests.support.threads import at_once
from xinhuo.chassis.config import BadSettings, load
from xinhuo.chassis.web.app import HttpApp


@pytest.fixture
def directory() -> Iterator[FakeDirectory]:
    with directories.running() as fake:
        yield fake


@pytest.fixture
def portal(portal: Portal, directory: FakeDirectory, monkeypatch: pytest.MonkeyPatch) -> Portal:
    settings = replace(
        portal.runtime.settings,
        oidc_issuer=directory.url,
        oidc_client_id=directories.CLIENT_ID,
        oidc_client_secret=directories.CLIENT_SECRET,
        oidc_redirect_url=directories.REDIRECT_URL,
    )
    monkeypatch.setattr(portal.runtime, "settings", settings)
    return portal


@pytest.fixture
def linked(portal: Portal, directory: FakeDirectory) -> str:
    account_id = str(account(portal, "lin.anhe"))
    change(portal, "UPDATE accounts SET oidc_issuer = :issuer, oidc_subject = 'person-1'", issuer=directory.url)
    return account_id


class Browser:
    """Somebody's browser: it goes where it is sent, with the cookie it was given."""

    def __init__(self, portal: Portal, directory: FakeDirectory) -> None:
        # Without a jar of its own, which would send the right cookie whatever a test says.
        self.client = Client(HttpApp(portal), use_cookies=False)
        self.directory = directory
        self.cookie: str | None = None
        self.state = self.code = ""

    def start(self) -> TestResponse:
        answer = self.client.get("/v1/oidc/start")
        assert answer.status_code == 302, answer.text
        address = answer.headers["Location"]
        self.cookie = answer.headers["Set-Cookie"].partition(";")[0].partition("=")[2]
        self.state = parse_qs(urlsplit(address).query)["state"][0]
        self.code = self.directory.visit(address)
        return answer

    def come_back(self, **given: str) -> TestResponse:
        query = {"code": self.code, "state": self.state, **given}
        headers = {"Cookie": f"{COOKIE}={self.cookie}"} if self.cookie else {}
        return self.client.get("/v1/oidc/callback", query_string=query, headers=headers)


@pytest.fixture
def browser(portal: Portal, directory: FakeDirectory) -> Browser:
    return Browser(portal, directory)


def test_who_is_linked_signs_in_and_has_a_session_like_any_other(portal: Portal, linked: str, browser: Browser) -> None:
    started = browser.start()
    cookie = started.headers["Set-Cookie"]
    for option in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"):
        assert option in cookie.split("; ")
    assert cookie.startswith("__Host-")
    answer = browser.come_back(session_state="words", iss="of their own")
    assert answer.status_code == 200, answer.text
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    person = Person(browser.client, answer.json or {})
    assert person.tokens["account"]["id"] == linked
    assert person.get("/v1/me").status_code == 200
    assert person.refresh().status_code == 200
    assert fetch(portal, "SELECT * FROM oidc_states") == []


def test_nothing_of_a_sign_in_under_way_is_readable_in_the_table(portal: Portal, browser: Browser) -> None:
    browser.start()
    line = row(portal, "SELECT t::text AS line FROM oidc_states t")["line"]
    for secret in (browser.state, browser.cookie or "", next(iter(browser.directory.codes.values()))["nonce"]):
        assert secret not in line
        assert secret.encode().hex() not in line
    assert row(portal, "SELECT verifier FROM oidc_states")["verifier"].startswith("a1.")


ATTACKS: dict[str, dict[str, Any]] = {
    "another nonce": {"claims": {"nonce": "another"}},
    "no nonce": {"claims": {"nonce": None}},
    "for somebody else": {"claims": {"aud": "another-client"}},
    "for nobody": {"claims": {"aud": None}},
    "for two and no word who asked": {"claims": {"aud": ["xinhuo-portal", "another-client"]}},
    "asked for by another": {"claims": {"azp": "another-client"}},
    "of another issuer": {"claims": {"iss": "https://evil.example"}},
    "of no issuer": {"claims": {"iss": None}},
    "expired": {"claims": {"exp": 1_600_000_000}},
    "without an end": {"claims": {"exp": None}},
    "of a time to come": {"claims": {"iat": 4_000_000_000}},
    "about nobody": {"claims": {"sub": None}},
    "about an empty name": {"claims": {"sub": ""}},
    "about a number": {"claims": {"sub": 1}},
    "not signed": {"sign_with": "none"},
    "signed with the shared secret": {"sign_with": "HS256"},
    "signed with a stranger's key": {"key": directories.STRANGE_KEY},
    "about somebody unknown": {"subject": "person-2"},
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_answer_that_is_not_right_in_all_respects_opens_nothing(
    portal: Portal, linked: str, browser: Browser, attack: dict[str, Any]
) -> None:
    for name, value in attack.items():
        setattr(browser.directory, name, value)
    browser.start()
    assert outcome(browser.come_back()) == (401, "oidc.refused")
    assert fetch(portal, "SELECT * FROM sessions") == []
    assert outcome(browser.come_back()) == (401, "oidc.refused"), "the state is used up"


@pytest.mark.parametrize(
    "given",
    [
        {"state": "another"},
        {"code": "another"},
        {"code": ""},
        {"state": "A" * 43},
        {"error": "access_denied", "code": ""},
    ],
)
def test_another_state_or_code_opens_nothing(
    portal: Portal, linked: str, browser: Browser, given: dict[str, str]
) -> None:
    browser.start()
    assert browser.come_back(**given).status_code in (401, 400, 422)
    assert fetch(portal, "SELECT * FROM sessions") == []


def test_a_refusal_of_the_directory_is_answered_as_one(portal: Portal, linked: str, browser: Browser) -> None:
    browser.start()
    answer = browser.client.get(
        "/v1/oidc/callback",
        query_string={"error": "access_denied", "state": browser.state},
        headers={"Cookie": f"{COOKIE}={browser.cookie}"},
    )
    assert outcome(answer) == (401, "oidc.refused")


@pytest.mark.parametrize("cookie", [None, "A" * 43])
def test_a_browser_that_did_not_start_does_not_come_back(
    portal: Portal, linked: str, browser: Browser, cookie: str | None
) -> None:
    browser.start()
    browser.cookie = cookie
    assert outcome(browser.come_back()) == (401, "oidc.refused")
    assert browser.directory.codes, "the directory was not even asked"


def test_the_states_of_two_browsers_cannot_be_exchanged(portal: Portal, linked: str, directory: FakeDirectory) -> None:
    one, two = Browser(portal, directory), Browser(portal, directory)
    one.start()
    two.start()
    assert outcome(one.come_back(state=two.state)) == (401, "oidc.refused")
    assert one.come_back().status_code == 200


def test_the_code_of_another_sign_in_does_not_fit_the_verifier(
    portal: Portal, linked: str, directory: FakeDirectory
) -> None:
    one, two = Browser(portal, directory), Browser(portal, directory)
    one.start()
    two.start()
    assert outcome(one.come_back(code=two.code)) == (401, "oidc.refused")
    assert directory.refused == ["pkce"]


def test_a_callback_works_once_also_for_two_at_once(portal: Portal, linked: str, browser: Browser) -> None:
    browser.start()
    answers = at_once([browser.come_back] * 2)
    assert sorted(answer.status_code for answer in answers) == [200, 401]
    assert outcome(browser.come_back()) == (401, "oidc.refused")


def test_who_comes_back_after_ten_minutes_begins_again(portal: Portal, linked: str, browser: Browser) -> None:
    browser.start()
    waits = row(portal, "SELECT extract(epoch FROM expires_at - clock_timestamp()) AS left FROM oidc_states")["left"]
    assert 590 < float(waits) <= 600
    change(portal, "UPDATE oidc_states SET expires_at = clock_timestamp() - interval '1 second'")
    assert outcome(browser.come_back()) == (401, "oidc.refused")


def test_the_account_must_be_in_use_and_an_invited_one_then_is(portal: Portal, linked: str, browser: Browser) -> None:
    change(portal, "UPDATE accounts SET state = 'disabled'")
    browser.start()
    assert outcome(browser.come_back()) == (401, "oidc.refused")
    change(portal, "UPDATE accounts SET state = 'invited', password_hash = NULL")
    browser.start()
    assert browser.come_back().status_code == 200
    assert row(portal, "SELECT state FROM accounts")["state"] == "active"
    assert outcome(Person(browser.client).sign_in("lin.anhe")) == (401, "login.failed"), "it has no password"


def test_signing_in_by_the_directory_is_written_down_and_so_is_who_has_no_account(
    portal: Portal, linked: str, browser: Browser
) -> None:
    change(portal, "UPDATE accounts SET state = 'invited', password_hash = NULL")
    before = row(portal, "SELECT seq FROM audit_head")["seq"]
    for subject, of in (("person-1", None), ("person-2", "unknown"), ("person-1", linked)):
        browser.directory.subject = subject
        if of == linked:
            change(portal, "UPDATE accounts SET state = 'disabled'")
        browser.start()
        assert browser.come_back().status_code == (401 if of else 200)
    rows = fetch(portal, "SELECT * FROM audit_log WHERE seq > :seq ORDER BY seq", seq=before)
    assert [(one["action"], one["outcome"]) for one in rows] == [
        ("account.activated", "done"), ("session.begun", "done"), ("login.failed", "refused"),
        ("login.failed", "refused"),
    ]  # fmt: skip
    assert [str(one["subject"]) for one in rows[:2]] == [linked] * 2
    assert [one["object_id"] for one in rows[2:]] == ["unknown", linked]
    assert not any("person-" in str(one) for one in rows)


def test_an_administrator_links_accounts_one_person_to_one(portal: Portal, browser: Browser) -> None:
    admin = signed_in(portal, "admin.gao", "bureau_admin")
    paths = [f"/v1/accounts/{account(portal, login)}" for login in ("lin.anhe", "chen.yue")]
    answer = admin.patch(paths[0], {"oidc_subject": "person-1"})
    assert (answer.status_code, answer.json and answer.json["oidc_subject"]) == (200, "person-1")
    assert outcome(admin.patch(paths[1], {"oidc_subject": "person-1"})) == (409, "oidc.subject_taken")
    browser.start()
    assert browser.come_back().status_code == 200
    assert admin.patch(paths[0], {"oidc_subject": None}).status_code == 200
    assert admin.patch(paths[1], {"oidc_subject": "person-1"}).status_code == 200
    browser.start()
    assert browser.come_back().json["account"]["id"] == paths[1].rpartition("/")[2]  # type: ignore[index]


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": None},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
)
def test_a_directory_that_speaks_for_another_is_not_used(browser: Browser, metadata: dict[str, Any]) -> None:
    browser.directory.metadata = metadata
    answer = browser.client.get("/v1/oidc/start")
    assert outcome(answer) == (503, "oidc.unavailable")


def test_a_directory_that_is_away_is_not_asked_by_everybody(
    portal: Portal, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    read = provider._read
    monkeypatch.setattr(provider, "_read", lambda address: asked.append(address) or read(address))
    browser.directory.metadata = {"issuer": "https://evil.example"}
    answers = [browser.client.get("/v1/oidc/start") for _ in range(3)]
    assert {outcome(answer) for answer in answers} == {(503, "oidc.unavailable")}
    assert len(asked) == 1


def test_a_directory_that_is_away_is_said_to_be(portal: Portal, linked: str, browser: Browser) -> None:
    browser.start()
    browser.directory.token_status = 500
    assert outcome(browser.come_back()) == (503, "oidc.unavailable")


def test_without_a_directory_there_is_no_such_way_in(running: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "hasher", house.QUICK)
    house.empty(running)
    client = web(running)
    assert outcome(client.get("/v1/oidc/start")) == (404, "oidc.not_configured")
    assert outcome(client.get("/v1/oidc/callback?state=x&code=y")) == (404, "oidc.not_configured")
    admin = signed_in(running, "admin.gao", "bureau_admin")
    path = f"/v1/accounts/{account(running, 'lin.anhe')}"
    assert outcome(admin.patch(path, {"oidc_subject": "person-1"})) == (404, "oidc.not_configured")


@pytest.mark.parametrize("left_out", range(4))
def test_the_four_settings_go_together(left_out: int) -> None:
    given = {
        "XINHUO_OIDC_ISSUER": "https://sso.example",
        "XINHUO_OIDC_CLIENT_ID": "xinhuo",
        "XINHUO_OIDC_CLIENT_SECRET": "hunter2",
        "XINHUO_OIDC_REDIRECT_URL": "https://portal.example/v1/oidc/callback",
    }
    assert load(given).oidc_issuer == "https://sso.example"
    missing = list(given)[left_out]
    del given[missing]
    with pytest.raises(BadSettings) as caught:
        load(given)
    assert missing in str(caught.value)
    assert "hunter2" not in str(caught.value)

"""Signing in, staying signed in, and ending it, by HTTP, on PostgreSQL."""

from typing import Any

import pyotp
import pytest
from argon2 import PasswordHasher
from werkzeug.test import Client

from services.portal import passwords
from services.portal.domain.sessions import lock_seconds
from services.portal.service import Portal
from tests.support import portal as house
from tests.support.portal import OTHER_PASSWORD, PASSWORD, Person, account, change, outcome, row, signed_in, web
from tests.support.services import fetch
from tests.support.threads import at_once


@pytest.fixture
def client(portal: Portal) -> Client:
    return web(portal)


# Login and password


def test_who_signs_in_gets_tokens_that_open_the_door(portal: Portal, client: Client) -> None:
    account_id = account(portal, "lin.anhe", "unit_operator", unit_code="QH-XX", display_name="林安禾")
    person = Person(client)
    answer = person.sign_in("lin.anhe")
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json is not None
    assert answer.json["account"] == {
        "id": str(account_id),
        "role": "unit_operator",
        "unit_code": "QH-XX",
        "team_code": None,
        "volunteer_id": None,
    }
    assert (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 600)
    me = person.get("/v1/me")
    assert me.json is not None
    assert (me.json["login"], me.json["display_name"], me.json["kind"]) == ("lin.anhe", "林安禾", "account")
    assert outcome(Person(client).get("/v1/me")) == (401, "token.missing")


@pytest.mark.parametrize("login", ["LIN.ANHE", "  lin.anhe ", "ｌｉｎ．ａｎｈｅ"])
def test_a_login_is_the_same_however_it_is_typed(portal: Portal, client: Client, login: str) -> None:
    account(portal, "lin.anhe")
    assert Person(client).sign_in(login).status_code == 201


def test_a_password_is_the_same_from_any_keyboard(portal: Portal, client: Client) -> None:
    account(portal, "lin.anhe")
    assert Person(client).sign_in("lin.anhe", PASSWORD.replace("7", "７")).status_code == 201
    assert outcome(Person(client).sign_in("lin.anhe", PASSWORD + " ")) == (401, "login.failed")


@pytest.mark.parametrize(
    ("login", "password", "state"),
    [
        ("nobody.here", PASSWORD, "active"),
        ("lin.anhe", "不是这个密码不是这个", "active"),
        ("lin.anhe", PASSWORD, "disabled"),
        ("lin.anhe", PASSWORD, "invited"),
        ("no such login!", PASSWORD, "active"),
        ("l", PASSWORD, "active"),
    ],
)
def test_all_that_fails_is_answered_alike(
    portal: Portal, client: Client, login: str, password: str, state: str
) -> None:
    account(portal, "lin.anhe")
    change(portal, "UPDATE accounts SET state = :state", state=state)
    answer = Person(client).sign_in(login, password)
    assert outcome(answer) == (401, "login.failed")
    reference = Person(client).sign_in("yet.another")
    shown = ("title", "detail", "detail_en", "status", "code")
    assert [answer.json[name] for name in shown] == [reference.json[name] for name in shown]  # type: ignore[index]
    assert fetch(portal, "SELECT failures FROM login_failures") == [{"failures": 1}] * 2


def test_an_unknown_login_is_hashed_like_a_known_one(
    portal: Portal, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    account(portal, "lin.anhe")
    checked: list[Any] = []
    fits = passwords.fits
    monkeypatch.setattr(passwords, "fits", lambda text, kept: checked.append(kept) or fits(text, kept))
    for login in ("lin.anhe", "nobody.here"):
        Person(client).sign_in(login, "不是这个密码不是这个")
    assert len(checked) == 2
    assert checked[1] is None
    assert passwords._nobodys(house.QUICK).split("$")[:4] == checked[0].split("$")[:4], "as dear as a real one"


def test_passwords_are_kept_as_argon2id_with_the_parameters_for_little_memory(portal: Portal) -> None:
    kept = PasswordHasher().hash("x")
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.is_old(kept), "for the quick ones of this test"


def test_an_old_hash_is_made_anew_at_the_next_sign_in(
    portal: Portal, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    account(portal, "lin.anhe")
    monkeypatch.setattr(passwords, "hasher", PasswordHasher(time_cost=2, memory_cost=64, parallelism=1))
    assert [Person(client).sign_in("lin.anhe").status_code for _ in range(2)] == [201, 201]
    assert "t=2" in row(portal, "SELECT password_hash FROM accounts")["password_hash"]


def test_a_password_or_a_token_leaves_nothing_under_an_idempotency_key(portal: Portal, client: Client) -> None:
    account(portal, "lin.anhe")
    given = {"login": "lin.anhe", "password": PASSWORD}
    answers = [client.post("/v1/sessions", json=given, headers={"Idempotency-Key": "one"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json != answers[1].json
    assert fetch(portal, "SELECT key FROM idempotency_keys") == []


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"login": "a"},
        {"login": 1, "password": "x"},
        {"login": "a", "password": ""},
        {"login": "a\x00", "password": "x"},
    ],
)
def test_what_is_no_sign_in_is_refused_field_by_field(client: Client, given: dict[str, Any]) -> None:
    assert outcome(client.post("/v1/sessions", json=given)) == (422, "input.invalid")


# The lock


def test_the_lock_doubles_from_the_fifth_failure_on_up_to_fifteen_minutes() -> None:
    assert [lock_seconds(failures) for failures in (0, 4, 5, 6, 7, 14, 15, 1000)] == [0, 0, 1, 2, 4, 512, 900, 900]


@pytest.mark.parametrize("login", ["lin.anhe", "nobody.here"])
def test_after_five_failures_even_the_right_password_waits(portal: Portal, client: Client, login: str) -> None:
    account(portal, "lin.anhe")
    wrong = [Person(client).sign_in(login, "不是这个密码不是这个") for _ in range(5)]
    assert {outcome(answer) for answer in wrong} == {(401, "login.failed")}
    change(portal, "UPDATE login_failures SET locked_until = clock_timestamp() + interval '7 seconds'")
    locked = Person(client).sign_in(login)
    assert outcome(locked) == (429, "login.locked")
    assert (locked.headers["Retry-After"], locked.json and locked.json["seconds"]) == ("7", 7)
    assert row(portal, "SELECT failures FROM login_failures")["failures"] == 5, "a refused attempt is none"


def test_each_failure_after_the_lock_doubles_it(portal: Portal, client: Client) -> None:
    account(portal, "lin.anhe")
    left = []
    for failures in (4, 5, 8, 13, 14, 500):
        change(portal, "DELETE FROM login_failures")
        Person(client).sign_in("lin.anhe", "不是这个密码不是这个")
        change(portal, "UPDATE login_failures SET failures = :failures", failures=failures)
        Person(client).sign_in("lin.anhe", "不是这个密码不是这个")
        waits = "extract(epoch FROM locked_until - failed_at) AS seconds"
        left.append(round(float(row(portal, f"SELECT {waits} FROM login_failures")["seconds"])))  # noqa: S608
    assert left == [1, 2, 16, 512, 900, 900]


def test_success_begins_the_count_anew(portal: Portal, client: Client) -> None:
    account(portal, "lin.anhe")
    for _ in range(4):
        Person(client).sign_in("lin.anhe", "不是这个密码不是这个")
    assert Person(client).sign_in("lin.anhe").status_code == 201
    assert fetch(portal, "SELECT * FROM login_failures") == []


def test_of_ten_wrong_attempts_at_once_five_are_tried_and_counted_and_the_others_locked_out(portal: Portal) -> None:
    account(portal, "lin.anhe")
    clients = [web(portal) for _ in range(10)]
    given = {"login": "lin.anhe", "password": "不是这个密码不是这个"}
    answers = at_once([lambda client=client: client.post("/v1/sessions", json=given) for client in clients])  # type: ignore[misc]
    assert sorted(outcome(answer) for answer in answers) == [(401, "login.failed")] * 5 + [(429, "login.locked")] * 5
    assert row(portal, "SELECT failures FROM login_failures")["failures"] == 5


def test_the_table_of_failures_names_no_login(portal: Portal, client: Client) -> None:
    Person(client).sign_in("nobody.here")
    kept = row(portal, "SELECT login_index FROM login_failures")["login_index"]
    assert len(kept) == 32
    assert b"nobody" not in bytes(kept)


# The second factor


def with_factor(portal: Portal, login: str = "lin.anhe") -> tuple[Person, pyotp.TOTP]:
    person = signed_in(portal, login)
    begun = person.post("/v1/me/totp", {})
    assert begun.status_code == 201
    assert begun.json is not None
    assert begun.json["otpauth_uri"].startswith(f"otpauth://totp/Xinhuo:{login}?secret={begun.json['secret']}")
    codes = pyotp.TOTP(begun.json["secret"])
    confirmed = person.post("/v1/me/totp:confirm", {"code": codes.now()})
    assert confirmed.status_code == 204, confirmed.text
    change(portal, "UPDATE accounts SET totp_last_step = NULL")
    return person, codes


def test_with_a_second_factor_the_code_is_asked_for_only_after_the_right_password(portal: Portal) -> None:
    _, codes = with_factor(portal)
    person = Person(web(portal))
    assert outcome(person.sign_in("lin.anhe", "不是这个密码不是这个")) == (401, "login.failed")
    assert outcome(person.sign_in("lin.anhe")) == (401, "login.code_needed")
    assert person.sign_in("lin.anhe", code=codes.now()).status_code == 201


def test_a_code_is_taken_once_and_a_wrong_one_counts(portal: Portal) -> None:
    _, codes = with_factor(portal)
    person = Person(web(portal))
    code = codes.now()
    assert person.sign_in("lin.anhe", code=code).status_code == 201
    assert outcome(person.sign_in("lin.anhe", code=code)) == (401, "login.failed")
    assert outcome(person.sign_in("lin.anhe", code="abcdef")) == (401, "login.failed")
    assert row(portal, "SELECT failures FROM login_failures")["failures"] == 2


def test_asking_for_the_code_again_and_again_does_not_undo_wrong_codes(portal: Portal) -> None:
    with_factor(portal)
    person = Person(web(portal))
    for _ in range(4):
        assert outcome(person.sign_in("lin.anhe", code="000")) == (401, "login.failed")
        assert outcome(person.sign_in("lin.anhe")) == (401, "login.code_needed")
    assert row(portal, "SELECT failures, locked_until FROM login_failures") == {"failures": 4, "locked_until": None}


def test_of_two_sign_ins_at_once_with_one_code_one_works(portal: Portal) -> None:
    _, codes = with_factor(portal)
    given = {"login": "lin.anhe", "password": PASSWORD, "code": codes.now()}
    answers = at_once([lambda: web(portal).post("/v1/sessions", json=given)] * 2)
    assert sorted(answer.status_code for answer in answers) == [201, 401]


def test_full_width_digits_are_digits_and_clocks_may_be_a_step_off(portal: Portal) -> None:
    _, codes = with_factor(portal)
    now = row(portal, "SELECT extract(epoch FROM clock_timestamp())::bigint AS now")["now"]
    person = Person(web(portal))
    early = codes.at(now - 30).translate(str.maketrans("0123456789", "０１２３４５６７８９"))
    assert outcome(person.sign_in("lin.anhe", code=codes.at(now - 120))) == (401, "login.failed")
    assert outcome(person.sign_in("lin.anhe", code=codes.at(now + 120))) == (401, "login.failed")
    assert person.sign_in("lin.anhe", code=early).status_code == 201


def test_the_secret_of_the_second_factor_is_encrypted(portal: Portal) -> None:
    with_factor(portal)
    kept = row(portal, "SELECT totp_secret, totp_pending FROM accounts")
    assert kept["totp_secret"].startswith("a1.")
    assert kept["totp_pending"] is None


def test_a_second_factor_is_set_up_step_by_step_and_removed_with_the_password(portal: Portal) -> None:
    person = signed_in(portal, "lin.anhe")
    assert outcome(person.post("/v1/me/totp:confirm", {"code": "123456"})) == (409, "totp.not_begun")
    assert outcome(person.post("/v1/me/totp:remove", {"password": PASSWORD})) == (409, "totp.off")
    begun = person.post("/v1/me/totp", {}).json
    assert begun is not None
    assert outcome(person.post("/v1/me/totp:confirm", {"code": "x"})) == (422, "totp.code_wrong")
    assert Person(web(portal)).sign_in("lin.anhe").status_code == 201, "it is not on yet"
    assert person.post("/v1/me/totp:confirm", {"code": pyotp.TOTP(begun["secret"]).now()}).status_code == 204
    assert outcome(person.post("/v1/me/totp", {})) == (409, "totp.on")
    assert outcome(person.post("/v1/me/totp:remove", {"password": OTHER_PASSWORD})) == (422, "password.wrong")
    assert row(portal, "SELECT failures FROM login_failures")["failures"] == 1
    assert person.post("/v1/me/totp:remove", {"password": PASSWORD}).status_code == 204
    assert person.get("/v1/me").json["second_factor"] is False  # type: ignore[index]
    assert Person(web(portal)).sign_in("lin.anhe").status_code == 201


# Refresh tokens


def test_a_refresh_token_is_changed_for_the_next_two(portal: Portal) -> None:
    person = signed_in(portal, "lin.anhe")
    first = dict(person.tokens)
    second = person.refresh()
    assert second.status_code == 200
    assert second.json is not None
    assert second.json["refresh_token"] != first["refresh_token"]
    assert person.get("/v1/me").status_code == 200
    assert person.refresh().status_code == 200


def test_a_lost_answer_is_given_again_within_ten_seconds(portal: Portal) -> None:
    person = signed_in(portal, "lin.anhe")
    old = person.tokens["refresh_token"]
    lost = person.refresh(old).json
    again = person.refresh(old).json
    assert lost is not None
    assert again is not None
    assert again["refresh_token"] == lost["refresh_token"], "the thief of a token gets no line of his own"
    assert person.refresh().status_code == 200


def test_a_used_token_that_comes_later_ends_the_session_for_everybody(portal: Portal) -> None:
    person = signed_in(portal, "lin.anhe")
    old = person.tokens["refresh_token"]
    person.refresh()
    change(portal, "UPDATE sessions SET used_at = used_at - interval '11 seconds'")
    assert outcome(Person(web(portal)).refresh(old)) == (401, "session.reused")
    assert outcome(person.refresh()) == (401, "session.ended")
    assert row(portal, "SELECT reason FROM sessions")["reason"] == "reused"


def test_one_used_twice_before_ends_the_session_even_within_ten_seconds(portal: Portal) -> None:
    person = signed_in(portal, "lin.anhe")
    old = person.tokens["refresh_token"]
    person.refresh()
    person.refresh()
    assert outcome(person.refresh(old)) == (401, "session.reused")


def test_two_refreshes_at_once_both_go_on_with_the_same_next_token(portal: Portal) -> None:
    person = signed_in(portal, "lin.anhe")
    for _ in range(5):
        given = {"refresh_token": person.tokens["refresh_token"]}
        answers = at_once([lambda given=given: web(portal).post("/v1/sessions:refresh", json=given)] * 2)  # type: ignore[misc]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert len({(answer.json or {})["refresh_token"] for answer in answers}) == 1
        person.tokens = answers[0].json or {}
    assert row(portal, "SELECT generation FROM sessions")["generation"] == 5


@pytest.mark.parametrize(
    "moved",
    ["used_at = used_at - interval '12 hours 1 second'", "expires_at = clock_timestamp() - interval '1 second'"],
)
def test_a_session_ends_after_twelve_idle_hours_and_after_thirty_days(portal: Portal, moved: str) -> None:
    person = signed_in(portal, "lin.anhe")
    change(portal, f"UPDATE sessions SET {moved}")  # noqa: S608
    assert [outcome(person.refresh()) for _ in range(2)] == [(401, "session.expired")] * 2
    assert person.get("/v1/me/sessions").json == {"items": [], "after": None}


def test_a_session_that_is_used_does_not_become_idle(portal: Portal) -> None:
    person = signed_in(portal, "lin.anhe")
    for _ in range(3):
        change(portal, "UPDATE sessions SET used_at = used_at - interval '11 hours'")
        assert person.refresh().status_code == 200


def altered(token: str, at: int) -> str:
    return token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]


def test_what_we_did_not_give_is_no_refresh_token_and_ends_nothing(portal: Portal) -> None:
    person = signed_in(portal, "lin.anhe")
    token = person.tokens["refresh_token"]
    for forged in (
        altered(token, 6),
        altered(token, 30),
        altered(token, 60),
        token + "A",
        token[:-1],
        "x",
        "xhr_",
        "令牌",
    ):
        assert outcome(Person(web(portal)).refresh(forged)) == (401, "session.invalid"), forged
    access = person.tokens["access_token"]
    assert outcome(Person(web(portal)).client.post("/v1/sessions:refresh", json={"refresh_token": access}))[0] in (
        401,
        422,
    )
    assert person.refresh(token).status_code == 200


def test_a_change_of_role_or_unit_shows_in_the_next_token(portal: Portal) -> None:
    person = signed_in(portal, "lin.anhe", "unit_operator", unit_code="QH-XX")
    change(portal, "UPDATE accounts SET unit_code = 'QH-YY'")
    assert person.refresh().json["account"]["unit_code"] == "QH-YY"  # type: ignore[index]


def test_the_sessions_of_a_disabled_account_end(portal: Portal) -> None:
    person = signed_in(portal, "lin.anhe")
    change(portal, "UPDATE accounts SET state = 'disabled'")
    assert [outcome(person.refresh()) for _ in range(2)] == [(401, "session.ended")] * 2


def test_signing_out_ends_the_session_and_says_the_same_of_anything(portal: Portal) -> None:
    person = signed_in(portal, "lin.anhe")
    for token in (person.tokens["refresh_token"], person.tokens["refresh_token"], "x", "xhr_" + "A" * 70):
        answer = person.client.post("/v1/sessions:end", json={"refresh_token": token})
        assert (answer.status_code, answer.data) == (204, b"")
    assert outcome(person.refresh()) == (401, "session.ended")


def test_one_sees_and_ends_ones_own_sessions_only(portal: Portal) -> None:
    person, stranger = signed_in(portal, "lin.anhe"), signed_in(portal, "chen.yue")
    other = Person(web(portal))
    other.sign_in("lin.anhe")
    listed = person.get("/v1/me/sessions").json
    assert listed is not None
    assert [set(item) for item in listed["items"]] == [{"id", "created_at", "used_at", "expires_at"}] * 2
    newest = listed["items"][0]["id"]
    assert outcome(stranger.post(f"/v1/me/sessions/{newest}:end")) == (404, "session.not_found")
    assert [person.post(f"/v1/me/sessions/{newest}:end").status_code for _ in range(2)] == [204, 204]
    assert outcome(other.refresh()) == (401, "session.ended")
    assert person.refresh().status_code == 200


# The password


def test_changing_the_password_ends_all_sessions(portal: Portal) -> None:
    person = signed_in(portal, "lin.anhe")
    assert person.post("/v1/me/password", {"old": PASSWORD, "new": OTHER_PASSWORD}).status_code == 204
    assert outcome(person.refresh()) == (401, "session.ended")
    assert outcome(person.sign_in("lin.anhe")) == (401, "login.failed")
    assert person.sign_in("lin.anhe", OTHER_PASSWORD).status_code == 201


def test_a_stolen_token_does_not_open_a_way_to_guess_the_password(portal: Portal) -> None:
    person = signed_in(portal, "lin.anhe")
    change_it = {"old": "不是这个密码不是这个", "new": OTHER_PASSWORD}
    assert {outcome(person.post("/v1/me/password", change_it)) for _ in range(5)} == {(422, "password.wrong")}
    assert outcome(person.post("/v1/me/password", {**change_it, "old": PASSWORD})) == (429, "login.locked")
    assert outcome(person.sign_in("lin.anhe")) == (429, "login.locked"), "one count for both"


def test_a_weak_new_password_is_refused_before_the_old_one_is_tried(portal: Portal) -> None:
    person = signed_in(portal, "lin.anhe")
    answer = person.post("/v1/me/password", {"old": "x", "new": "password1234"})
    assert outcome(answer) == (422, "password.too_weak")
    assert answer.json["errors"][0]["pointer"] == "/new"  # type: ignore[index]
    assert fetch(portal, "SELECT * FROM login_failures") == []


# What is forgotten


def test_what_ended_long_ago_is_forgotten_and_what_lives_stays(portal: Portal) -> None:
    person, gone = signed_in(portal, "lin.anhe"), signed_in(portal, "chen.yue")
    gone.client.post("/v1/sessions:end", json={"refresh_token": gone.tokens["refresh_token"]})
    Person(web(portal)).sign_in("nobody.here")
    change(portal, "UPDATE sessions SET ended_at = ended_at - interval '31 days' WHERE ended_at IS NOT NULL")
    change(portal, "UPDATE login_failures SET failed_at = failed_at - interval '25 hours'")
    Person(web(portal)).sign_in("somebody.else")
    with portal.runtime.db.transaction() as session:
        portal.remove_what_is_due(session)
    assert row(portal, "SELECT count(*) AS n FROM sessions")["n"] == 1
    assert row(portal, "SELECT count(*) AS n FROM login_failures")["n"] == 1
    assert person.refresh().status_code == 200

"""Accounts: who makes them, for whom, with which one-time links, by HTTP, on PostgreSQL."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from services.portal.commands import accounts
from services.portal.domain.accounts import AdminExists
from services.portal.domain.common_passwords import COMMON
from services.portal.domain.passwords import PasswordTooWeak, check_password
from services.portal.service import Portal
from tests.support import portal as house
from tests.support.notices import codes_of
from tests.support.portal import OTHER_PASSWORD, PASSWORD, Person, account, change, outcome, row, signed_in, web
from tests.support.services import fetch
from tests.support.threads import at_once
from xinhuo.chassis.db import database_now


@pytest.fixture
def operator(portal: Portal) -> Person:
    return signed_in(portal, "op.xu", "unit_operator", unit_code="QH-XX")


def create(person: Person, login: str, role: str = "clerk", **given: Any) -> dict[str, Any]:
    answer = person.post("/v1/accounts", {"login": login, "role": role, **given})
    assert answer.status_code == 201, answer.text
    assert answer.json is not None
    return dict(answer.json)


def activate(portal: Portal, secret: str, password: str = PASSWORD) -> Any:
    return web(portal).post("/v1/activations", json={"secret": secret, "password": password})


# Making accounts


def test_an_administrator_makes_an_account_that_its_owner_activates(portal: Portal, admin: Person) -> None:
    answer = admin.post("/v1/accounts", {"login": "Lin.Anhe", "role": "clerk", "display_name": "林安禾"})
    made = answer.json
    assert made is not None
    assert answer.headers["Location"] == f"/v1/accounts/{made['id']}"
    assert answer.headers["ETag"] == '"1"'
    assert (made["login"], made["state"], made["display_name"]) == ("lin.anhe", "invited", "林安禾")
    owner = Person(web(portal))
    assert outcome(owner.sign_in("lin.anhe")) == (401, "login.failed")
    done = activate(portal, made["activation"]["secret"])
    assert (done.status_code, done.json) == (200, {"id": made["id"], "login": "lin.anhe"})
    assert owner.sign_in("lin.anhe").status_code == 201
    shown = admin.get(f"/v1/accounts/{made['id']}")
    assert (shown.json["state"], shown.headers["ETag"]) == ("active", '"2"')  # type: ignore[index]


def test_names_and_secrets_are_not_readable_in_the_tables(portal: Portal, admin: Person) -> None:
    made = create(admin, "lin.anhe", display_name="林安禾")
    secret = made["activation"]["secret"]
    activate(portal, secret)
    tables = [fetch(portal, f"SELECT t::text AS line FROM {table} t") for table in house.TABLES]  # noqa: S608
    lines = "\n".join(line["line"] for table in tables for line in table)
    assert "lin.anhe" in lines
    for kept in ("林安禾", secret, secret.encode().hex(), PASSWORD, admin.tokens["refresh_token"]):
        assert kept not in lines


def test_no_answer_holds_a_hash_or_a_secret_but_the_one_that_made_it(portal: Portal, admin: Person) -> None:
    made = create(admin, "lin.anhe")
    texts = [admin.get(path).text for path in ("/v1/accounts", f"/v1/accounts/{made['id']}", "/v1/me")]
    assert not [text for text in texts if "argon2" in text or "secret" in text or "a1." in text]


def test_a_repeated_request_gets_the_same_link(portal: Portal, admin: Person) -> None:
    body = {"login": "lin.anhe", "role": "clerk"}
    answers = [admin.post("/v1/accounts", body, **{"Idempotency-Key": "one"}) for _ in range(2)]
    assert answers[0].json == answers[1].json
    assert activate(portal, answers[1].json["activation"]["secret"]).status_code == 200  # type: ignore[index]
    [kept] = fetch(portal, "SELECT answer FROM idempotency_keys")
    assert kept["answer"].startswith("a1.")


def test_a_login_can_be_taken_once_also_by_two_at_once(portal: Portal, admin: Person) -> None:
    create(admin, "lin.anhe")
    assert outcome(admin.post("/v1/accounts", {"login": "LIN.ANHE", "role": "clerk"})) == (409, "login.taken")
    body = {"login": "chen.yue", "role": "clerk"}
    answers = at_once([lambda: admin.post("/v1/accounts", body)] * 2)
    assert sorted(answer.status_code for answer in answers) == [201, 409]


@pytest.mark.parametrize(
    ("given", "pointer", "code"),
    [
        ({"login": "ab"}, "/login", "login.malformed"),
        ({"login": "a" * 65}, "/login", "login.malformed"),
        ({"login": "lin anhe"}, "/login", "login.malformed"),
        ({"login": "林安禾"}, "/login", "login.malformed"),
        ({"role": "king"}, "/role", "field.not_listed"),
        ({"role": "service"}, "/role", "field.not_listed"),
        ({"role": "unit_operator"}, "/unit_code", "account.belonging_missing"),
        ({"role": "unit_operator", "unit_code": None}, "/unit_code", "account.belonging_missing"),
        ({"role": "unit_operator", "unit_code": "qh"}, "/unit_code", "account.unit_code_malformed"),
        ({"role": "team_leader", "unit_code": "QH-XX"}, "/team_code", "account.belonging_missing"),
        ({"role": "volunteer"}, "/volunteer_id", "account.belonging_missing"),
        ({"role": "guardian", "wards": []}, "/wards", "account.belonging_missing"),
        ({"role": "guardian", "wards": ["x"]}, "/wards/0", "field.not_uuid"),
        ({"display_name": "林\u202e禾"}, "/display_name", "text.invisible"),
        ({"password": PASSWORD}, "/password", "field.unknown"),
    ],
)
def test_an_account_that_breaks_a_rule_is_refused(
    portal: Portal, admin: Person, given: dict[str, Any], pointer: str, code: str
) -> None:
    answer = admin.post("/v1/accounts", {"login": "lin.anhe", "role": "clerk", **given})
    assert answer.status_code == 422, answer.text
    assert codes_of(answer) == {pointer: code}
    assert row(portal, "SELECT count(*) AS n FROM accounts")["n"] == 1


@pytest.mark.parametrize(
    "harm",
    [
        "role = 'king'",
        "role = 'unit_operator'",
        "role = 'team_leader'",
        "role = 'volunteer'",
        "role = 'guardian'",
        "state = 'asleep'",
        "login = 'Lin'",
        "password_hash = 'plain'",
        "password_hash = NULL",
        "display_name = '林安禾'",
        "totp_secret = 'JBSWY3DP'",
        "oidc_subject = 'x'",
    ],
)
def test_the_database_itself_refuses_what_no_account_may_be(portal: Portal, harm: str) -> None:
    account(portal, "lin.anhe")
    with pytest.raises(IntegrityError):
        change(portal, f"UPDATE accounts SET {harm}")  # noqa: S608


# Whose accounts


def test_only_those_with_the_right_manage_accounts(portal: Portal) -> None:
    given: dict[str, dict[str, Any]] = {
        "clerk": {},
        "team_leader": {"team_code": "T-1", "unit_code": "QH-XX"},
        "volunteer": {"volunteer_id": uuid4()},
        "guardian": {"wards": [uuid4()]},
        "auditor": {},
        "privacy_officer": {},
        "ops": {},
    }
    for role, more in given.items():
        person = signed_in(portal, f"person.{role}", role, **more)
        assert outcome(person.get("/v1/accounts")) == (403, "right.missing")
        assert outcome(person.post("/v1/accounts", {"login": "x" * 5, "role": "clerk"})) == (403, "right.missing")
        assert outcome(person.get("/v1/clients")) == (403, "right.missing")
        me = person.get("/v1/me").json
        assert me is not None
        assert (me["role"], me["wards"]) == (role, [str(ward) for ward in more.get("wards", [])])


def test_an_operator_makes_operators_and_leaders_of_his_own_unit(portal: Portal, operator: Person) -> None:
    made = create(operator, "op.two", "unit_operator")
    assert made["unit_code"] == "QH-XX"
    assert create(operator, "lead.one", "team_leader", team_code="T-1", unit_code="QH-XX")["unit_code"] == "QH-XX"
    for role in ("bureau_admin", "clerk", "auditor", "ops", "privacy_officer"):
        refused = operator.post("/v1/accounts", {"login": "someone", "role": role, "unit_code": "QH-XX"})
        assert outcome(refused) == (403, "account.role_beyond")
    elsewhere = {"login": "someone", "role": "unit_operator", "unit_code": "QH-YY"}
    assert outcome(operator.post("/v1/accounts", elsewhere)) == (403, "account.unit_beyond")


def test_to_an_operator_the_accounts_of_others_are_not_there(portal: Portal, operator: Person) -> None:
    others = [
        account(portal, "op.yy", "unit_operator", unit_code="QH-YY"),
        account(portal, "clerk.xx", "clerk", unit_code="QH-XX"),
        account(portal, "admin.xx", "bureau_admin", unit_code="QH-XX"),
        account(portal, "lead.none", "team_leader", team_code="T-9"),
        uuid4(),
    ]
    for other in others:
        path = f"/v1/accounts/{other}"
        assert outcome(operator.get(path)) == (404, "account.not_found")
        assert outcome(operator.patch(path, {"state": "disabled"})) == (404, "account.not_found")
        assert outcome(operator.post(f"{path}:reset")) == (404, "account.not_found")
    assert [item["login"] for item in operator.get("/v1/accounts").json["items"]] == ["op.xu"]  # type: ignore[index]


def test_an_operator_cannot_lift_or_move_an_account(portal: Portal, operator: Person) -> None:
    path = f"/v1/accounts/{create(operator, 'op.two', 'unit_operator')['id']}"
    assert outcome(operator.patch(path, {"role": "bureau_admin"})) == (403, "account.role_beyond")
    assert outcome(operator.patch(path, {"unit_code": "QH-YY"})) == (403, "account.unit_beyond")
    assert outcome(operator.patch(path, {"unit_code": None})) == (403, "account.unit_beyond")
    assert operator.patch(path, {"state": "disabled"}).json["state"] == "disabled"  # type: ignore[index]
    assert row(portal, "SELECT role, unit_code FROM accounts WHERE login = 'op.two'") == {
        "role": "unit_operator",
        "unit_code": "QH-XX",
    }


@pytest.mark.parametrize("harm", ["state = 'disabled'", "role = 'clerk'", "unit_code = 'QH-YY'"])
def test_a_token_from_before_changes_nothing_once_its_account_stands_differently(
    portal: Portal, operator: Person, harm: str
) -> None:
    other = account(portal, "op.two", "unit_operator", unit_code="QH-XX")
    change(portal, f"UPDATE accounts SET {harm} WHERE login = 'op.xu'")  # noqa: S608
    body = {"login": "op.new", "role": "unit_operator"}
    assert outcome(operator.post("/v1/accounts", body)) == (401, "session.ended")
    assert outcome(operator.patch(f"/v1/accounts/{other}", {"state": "disabled"})) == (401, "session.ended")
    assert outcome(operator.post(f"/v1/accounts/{other}:reset")) == (401, "session.ended")


# Changing accounts


def test_accounts_are_listed_by_login_in_pages_and_by_what_they_are(portal: Portal, admin: Person) -> None:
    for number in range(5):
        account(portal, f"op.{number}", "unit_operator", unit_code=f"U-{number % 2}")
    first = admin.get("/v1/accounts?limit=4").json
    assert first is not None
    rest = admin.get(f"/v1/accounts?limit=4&after={first['after']}").json
    assert rest is not None
    logins = [item["login"] for item in first["items"] + rest["items"]]
    assert logins == ["admin.gao", *(f"op.{number}" for number in range(5))]
    for query, count in (("role=unit_operator", 5), ("unit=U-1", 2), ("state=disabled", 0), ("role=clerk&unit=U-1", 0)):
        assert len(admin.get(f"/v1/accounts?{query}").json["items"]) == count  # type: ignore[index]
    assert outcome(admin.get("/v1/accounts?after=x"))[0] == 400


def test_a_change_needs_the_present_etag_and_nothing_changed_is_no_change(portal: Portal, admin: Person) -> None:
    path = f"/v1/accounts/{create(admin, 'lin.anhe', display_name='林安禾')['id']}"
    assert outcome(admin.patch(path, {"display_name": "林禾"}, '"7"')) == (412, "precondition.stale")
    same = admin.patch(path, {"display_name": "林安禾", "role": "clerk"}, '"1"')
    assert (same.status_code, same.headers["ETag"]) == (200, '"1"')
    other = admin.patch(path, {"display_name": None}, '"1"')
    assert (other.headers["ETag"], other.json["display_name"]) == ('"2"', None)  # type: ignore[index]
    assert admin.patch("/v1/accounts/" + str(uuid4()), {}).status_code == 404


def test_of_two_changes_at_once_on_one_revision_one_wins(portal: Portal, admin: Person) -> None:
    path = f"/v1/accounts/{create(admin, 'lin.anhe')['id']}"
    answers = at_once([lambda name=name: admin.patch(path, {"display_name": name}, '"1"') for name in "甲乙"])  # type: ignore[misc]
    assert sorted(answer.status_code for answer in answers) == [200, 412]


@pytest.mark.parametrize(
    ("given", "ends"),
    [
        ({"role": "auditor"}, True),
        ({"state": "disabled"}, True),
        ({"unit_code": "QH-XX"}, False),
        ({"display_name": "林禾"}, False),
    ],
)
def test_a_change_of_role_or_state_ends_the_sessions(
    portal: Portal, admin: Person, given: dict[str, Any], ends: bool
) -> None:
    person = signed_in(portal, "lin.anhe")
    path = f"/v1/accounts/{person.tokens['account']['id']}"
    assert admin.patch(path, given).status_code == 200
    assert outcome(person.refresh()) == ((401, "session.ended") if ends else (200, None))


def test_a_role_cannot_be_given_without_what_it_needs(portal: Portal, admin: Person) -> None:
    path = f"/v1/accounts/{create(admin, 'lin.anhe')['id']}"
    assert outcome(admin.patch(path, {"role": "unit_operator"})) == (422, "account.belonging_missing")
    assert admin.patch(path, {"role": "unit_operator", "unit_code": "QH-XX"}).status_code == 200
    assert outcome(admin.patch(path, {"unit_code": None})) == (422, "account.belonging_missing")


def test_a_disabled_account_comes_back_as_far_as_it_was(portal: Portal, admin: Person) -> None:
    made = create(admin, "lin.anhe")
    path = f"/v1/accounts/{made['id']}"
    assert admin.patch(path, {"state": "disabled"}).json["state"] == "disabled"  # type: ignore[index]
    assert outcome(activate(portal, made["activation"]["secret"])) == (422, "link.unusable")
    assert admin.patch(path, {"state": "active"}).json["state"] == "invited"  # type: ignore[index]
    assert activate(portal, admin.post(f"{path}:reset").json["secret"]).status_code == 200  # type: ignore[index]
    assert admin.patch(path, {"state": "disabled"}).json["state"] == "disabled"  # type: ignore[index]
    assert admin.patch(path, {"state": "active"}).json["state"] == "active"  # type: ignore[index]
    assert Person(web(portal)).sign_in("lin.anhe").status_code == 201


def test_a_lost_second_factor_is_taken_off_by_who_manages_the_account(portal: Portal, admin: Person) -> None:
    person = signed_in(portal, "lin.anhe")
    change(portal, "UPDATE accounts SET totp_secret = 'a1.x' WHERE login = 'lin.anhe'")
    path = f"/v1/accounts/{person.tokens['account']['id']}"
    assert outcome(admin.patch(path, {"second_factor": True})) == (422, "input.invalid")
    assert admin.patch(path, {"second_factor": False}).json["second_factor"] is False  # type: ignore[index]
    assert outcome(person.refresh()) == (401, "session.ended")
    assert person.sign_in("lin.anhe").status_code == 201


# Administrators


def test_the_last_administrator_stays(portal: Portal, admin: Person) -> None:
    me = admin.tokens["account"]["id"]
    account(portal, "admin.old", "bureau_admin")
    change(portal, "UPDATE accounts SET state = 'disabled' WHERE login = 'admin.old'")
    assert outcome(admin.patch(f"/v1/accounts/{me}", {"state": "disabled"})) == (409, "account.last_admin")
    second = signed_in(portal, "admin.two", "bureau_admin")
    assert second.patch(f"/v1/accounts/{me}", {"role": "clerk"}).status_code == 200
    mine = second.tokens["account"]["id"]
    assert outcome(second.patch(f"/v1/accounts/{mine}", {"state": "disabled"})) == (409, "account.last_admin")


def test_nobody_changes_his_own_role(portal: Portal, admin: Person) -> None:
    account(portal, "admin.two", "bureau_admin")
    me = admin.tokens["account"]["id"]
    assert outcome(admin.patch(f"/v1/accounts/{me}", {"role": "ops"})) == (409, "account.own_role")
    assert admin.patch(f"/v1/accounts/{me}", {"display_name": "高管"}).status_code == 200


def test_two_administrators_who_disable_each_other_at_once_leave_one(portal: Portal) -> None:
    for round_ in range(4):
        change(portal, "UPDATE accounts SET state = 'disabled'")
        pair = [signed_in(portal, f"admin.{round_}{side}", "bureau_admin") for side in "ab"]
        ids = [person.tokens["account"]["id"] for person in pair]
        works = [(pair[0], ids[1]), (pair[1], ids[0])]
        answers = at_once(
            [lambda who=who, id_=id_: who.patch(f"/v1/accounts/{id_}", {"state": "disabled"}) for who, id_ in works]  # type: ignore[misc]
        )
        assert sorted(answer.status_code for answer in answers) in ([200, 401], [200, 409])
        assert row(portal, "SELECT count(*) AS n FROM accounts WHERE state = 'active'")["n"] == 1


def first_admin(portal: Portal, login: str) -> tuple[UUID, str]:
    with portal.runtime.db.transaction() as session:
        return accounts.first_admin(session, portal.runtime.keys, login, database_now(session))


def test_the_first_administrator_is_made_on_the_server_with_a_link_and_no_second_one(portal: Portal) -> None:
    account_id, lost = first_admin(portal, "Admin.Gao")
    again, secret = first_admin(portal, "admin.gao")
    assert again == account_id
    assert outcome(activate(portal, lost)) == (422, "link.unusable")
    assert activate(portal, secret).json == {"id": str(account_id), "login": "admin.gao"}
    with pytest.raises(AdminExists):
        first_admin(portal, "admin.two")
    assert Person(web(portal)).sign_in("admin.gao").json["account"]["role"] == "bureau_admin"  # type: ignore[index]


def test_two_commands_at_once_make_one_first_administrator(portal: Portal) -> None:
    made = at_once([lambda: first_admin(portal, "admin.gao")] * 2)
    assert len({account_id for account_id, _ in made}) == 1


# One-time links


def test_a_link_is_used_once_also_by_two_at_once(portal: Portal, admin: Person) -> None:
    secret = create(admin, "lin.anhe")["activation"]["secret"]
    answers = at_once([lambda word=word: activate(portal, secret, word) for word in (PASSWORD, OTHER_PASSWORD)])  # type: ignore[misc]
    assert sorted(outcome(answer) for answer in answers) == [(200, None), (422, "link.unusable")]
    assert outcome(activate(portal, secret)) == (422, "link.unusable")


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE links SET expires_at = clock_timestamp() - interval '1 second'",
        "UPDATE links SET used_at = clock_timestamp()",
        "UPDATE accounts SET state = 'disabled' WHERE login = 'lin.anhe'",
        "DELETE FROM links",
    ],
)
def test_a_link_past_its_use_is_refused_whatever_the_cause(portal: Portal, admin: Person, harm: str) -> None:
    secret = create(admin, "lin.anhe")["activation"]["secret"]
    change(portal, harm)
    assert outcome(activate(portal, secret)) == (422, "link.unusable")
    assert outcome(activate(portal, "xhl_" + "A" * 43)) == (422, "link.unusable")


def test_a_link_is_good_for_three_days(portal: Portal, admin: Person) -> None:
    create(admin, "lin.anhe")
    kept = row(portal, "SELECT extract(epoch FROM expires_at - made_at) / 3600 AS hours, purpose FROM links")
    assert (float(kept["hours"]), kept["purpose"]) == (72, "activate")


def test_a_reset_ends_sessions_and_the_lock_when_it_is_used_not_before(portal: Portal, admin: Person) -> None:
    person = signed_in(portal, "lin.anhe")
    path = f"/v1/accounts/{person.tokens['account']['id']}:reset"
    first, second = (admin.post(path).json for _ in range(2))
    assert first is not None
    assert second is not None
    assert person.refresh().status_code == 200
    change(portal, "DELETE FROM login_failures")
    for _ in range(5):
        Person(web(portal)).sign_in("lin.anhe", "不是这个密码不是这个")
    assert outcome(activate(portal, first["secret"], OTHER_PASSWORD)) == (422, "link.unusable"), "there is a newer one"
    assert activate(portal, second["secret"], OTHER_PASSWORD).status_code == 200
    assert outcome(person.refresh()) == (401, "session.ended")
    assert person.sign_in("lin.anhe", OTHER_PASSWORD).status_code == 201
    assert row(portal, "SELECT purpose FROM links")["purpose"] == "reset"


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("短密码", "length"),
        ("a" * 11, "length"),
        ("ab12" * 33, "length"),
        ("password1234", "common"),
        ("ＰＡＳＳＷＯＲＤ１２３４", "common"),
        ("aaaaaaaaaaaaaaaa", "common"),
        ("1212121212121212", "common"),
        ("my lin.anhe 2026", "login"),
        ("LIN.ANHE-2026-x", "login"),
    ],
)
def test_a_weak_password_is_refused_with_the_reason_and_the_link_stays(
    portal: Portal, admin: Person, password: str, why: str
) -> None:
    secret = create(admin, "lin.anhe")["activation"]["secret"]
    answer = activate(portal, secret, password)
    assert outcome(answer) == (422, "password.too_weak")
    assert (answer.json["why"], answer.json["errors"][0]["pointer"]) == (why, "/password")
    assert activate(portal, secret).status_code == 200


@pytest.mark.parametrize(
    "password", ["正好十二个字的一句话呀呀", "x1y2" * 32, "correct horse battery st", "         abc "]
)
def test_what_is_long_enough_is_accepted(password: str) -> None:
    check_password(password, "lin.anhe")


def test_the_common_ones_are_about_two_hundred_and_long_enough_to_matter() -> None:
    assert 200 <= len(COMMON) <= 300
    assert all(12 <= len(word) <= 128 and word == word.casefold() for word in COMMON)
    for word in COMMON:
        with pytest.raises(PasswordTooWeak):
            check_password(word.upper(), "lin.anhe")

"""API clients and their keys, by HTTP, on PostgreSQL."""

from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from services.portal.service import Portal
from tests.support import portal as house
from tests.support.notices import codes_of
from tests.support.portal import Person, change, outcome, row, signed_in, web
from tests.support.services import fetch, waits_for_a_lock
from tests.support.threads import Begun, at_once
from tests.support.waiting import wait_for

FEED = {"name": "文明办对接", "role": "department", "department_code": "WMB", "scopes": ["statistics:read"]}


def create(admin: Person, **given: Any) -> str:
    answer = admin.post("/v1/clients", {**FEED, **given})
    assert answer.status_code == 201, answer.text
    return f"/v1/clients/{answer.json['id']}"  # type: ignore[index]


def new_key(admin: Person, path: str, **given: Any) -> dict[str, Any]:
    answer = admin.post(f"{path}/keys", given)
    assert answer.status_code == 201, answer.text
    return dict(answer.json or {})


def exchange(portal: Portal, key: str) -> Any:
    return web(portal).post("/v1/client-tokens", json={"key": key})


def test_a_key_is_changed_for_a_token_with_the_scopes_of_its_client(portal: Portal, admin: Person) -> None:
    path = create(admin, role="unit_operator", unit_code="QH-XX", scopes=["hours:read", "units:read", "hours:read"])
    key = new_key(admin, path)
    assert key["key"].startswith(f"xhk_{key['prefix']}_")
    assert len(key["key"]) == 4 + 8 + 1 + 43
    answer = exchange(portal, key["key"])
    assert (answer.status_code, answer.json["expires_in"]) == (201, 600)
    program = Person(web(portal), answer.json)
    me = program.get("/v1/me").json
    assert me is not None
    assert (me["kind"], me["role"], me["unit_code"], me["scopes"]) == (
        "client",
        "unit_operator",
        "QH-XX",
        ["hours:read", "units:read"],
    )
    assert outcome(program.get("/v1/accounts")) == (403, "right.missing")
    assert outcome(program.post("/v1/me/totp", {})) == (404, "account.not_found")
    assert outcome(program.post("/v1/me/password", {"old": "x", "new": house.PASSWORD})) == (404, "account.not_found")


def test_of_a_key_only_a_digest_is_kept_and_it_is_shown_once(portal: Portal, admin: Person) -> None:
    path = create(admin)
    key = new_key(admin, path)["key"]
    kept = row(portal, "SELECT k::text AS line, secret_hash FROM client_keys k")
    assert key[13:] not in kept["line"]
    assert len(kept["secret_hash"]) == 32
    shown = admin.get(path)
    assert key[13:] not in shown.text
    assert shown.json["keys"][0]["prefix"] == key[4:12]  # type: ignore[index]
    assert "secret_hash" not in shown.text


@pytest.mark.parametrize(
    ("given", "pointer", "code"),
    [
        ({"name": ""}, "/name", "text.length"),
        ({"role": "bureau_admin"}, "/role", "field.not_listed"),
        ({"role": "volunteer"}, "/role", "field.not_listed"),
        ({"department_code": None}, "/department_code", "client.belonging_missing"),
        ({"role": "unit_operator", "scopes": ["hours:read"]}, "/unit_code", "client.belonging_missing"),
        ({"role": "team_leader", "scopes": ["hours:read"]}, "/team_code", "client.belonging_missing"),
        ({"scopes": []}, "/scopes", "list.length"),
        ({"scopes": ["people:read"]}, "/scopes", "client.scope_beyond"),
        ({"scopes": ["no:such"]}, "/scopes", "client.scope_beyond"),
        (
            {"role": "unit_operator", "unit_code": "QH-XX", "scopes": ["accounts:manage"]},
            "/scopes",
            "client.scope_beyond",
        ),
    ],
)
def test_a_client_that_breaks_a_rule_is_refused(
    portal: Portal, admin: Person, given: dict[str, Any], pointer: str, code: str
) -> None:
    answer = admin.post("/v1/clients", {**FEED, **given})
    assert answer.status_code == 422, answer.text
    assert codes_of(answer) == {pointer: code}
    assert fetch(portal, "SELECT * FROM clients") == []


def test_scopes_beyond_the_role_are_named_with_those_that_could_be_given(admin: Person) -> None:
    answer = admin.post("/v1/clients", {**FEED, "scopes": ["statistics:read", "people:read"]})
    assert answer.json is not None
    assert answer.json["beyond"] == ["people:read"]
    assert answer.json["allowed"] == ["account:own", "keys:own", "statistics:read"]


def test_only_an_administrator_manages_clients(portal: Portal, admin: Person) -> None:
    path = create(admin)
    operator = signed_in(portal, "op.xu", "unit_operator", unit_code="QH-XX")
    for answer in (
        operator.get("/v1/clients"),
        operator.get(path),
        operator.post("/v1/clients", FEED),
        operator.patch(path, {"name": "x"}),
        operator.post(f"{path}/keys", {}),
        operator.post(f"{path}/keys/abcdefgh:revoke"),
    ):
        assert outcome(answer) == (403, "right.missing")


REFUSED = {
    "unknown": "DELETE FROM client_keys",
    "expired": "UPDATE client_keys SET expires_at = clock_timestamp() - interval '1 second'",
    "revoked": "UPDATE client_keys SET revoked_at = clock_timestamp()",
    "disabled": "UPDATE clients SET state = 'disabled'",
}


@pytest.mark.parametrize("harm", REFUSED.values(), ids=REFUSED)
def test_a_key_that_is_good_no_more_is_refused_for_all_causes_alike(portal: Portal, admin: Person, harm: str) -> None:
    key = new_key(admin, create(admin))["key"]
    assert exchange(portal, key).status_code == 201
    change(portal, harm)
    answer = exchange(portal, key)
    assert outcome(answer) == (401, "client.key_refused")
    other = exchange(portal, "nothing like a key").json
    assert {**answer.json, "trace_id": ""} == {**other, "trace_id": ""}


def test_what_is_nearly_a_key_is_refused(portal: Portal, admin: Person) -> None:
    key = new_key(admin, create(admin))["key"]
    last = "A" if key[-1] != "A" else "B"
    for wrong in (key[:-1] + last, key[:-1], key + "A", key.upper(), key[:13] + key[13:].swapcase(), "xhk_", "密钥"):
        assert outcome(exchange(portal, wrong)) == (401, "client.key_refused"), wrong


def test_the_last_use_is_noted_at_most_once_a_minute(portal: Portal, admin: Person) -> None:
    key = new_key(admin, create(admin))["key"]
    noted = []
    for moved in ("0 seconds", "0 seconds", "59 seconds", "2 seconds"):
        change(portal, "UPDATE client_keys SET last_used_at = last_used_at - CAST(:by AS interval)", by=moved)
        before = row(portal, "SELECT last_used_at FROM client_keys")["last_used_at"]
        exchange(portal, key)
        noted.append(row(portal, "SELECT last_used_at FROM client_keys")["last_used_at"] != before)
    assert noted == [True, False, False, True]


@pytest.mark.parametrize(("given", "days"), [({}, 90), ({"days": 1}, 1), ({"days": 365}, 365)])
def test_a_key_is_good_for_so_many_days(portal: Portal, admin: Person, given: dict[str, int], days: int) -> None:
    new_key(admin, create(admin), **given)
    kept = row(portal, "SELECT extract(epoch FROM expires_at - created_at) / 86400 AS days FROM client_keys")
    assert float(kept["days"]) == days


@pytest.mark.parametrize("given", [{"days": 0}, {"days": 366}, {"days": "x"}, {"hours": 1}])
def test_a_key_is_not_made_for_ever(admin: Person, given: dict[str, Any]) -> None:
    assert outcome(admin.post(f"{create(admin)}/keys", given)) == (422, "input.invalid")


def test_a_client_has_at_most_five_live_keys_also_when_asked_at_once(portal: Portal, admin: Person) -> None:
    path = create(admin)
    answers = at_once([lambda: admin.post(f"{path}/keys", {})] * 8)
    assert sorted(answer.status_code for answer in answers) == [201] * 5 + [409] * 3
    assert outcome(admin.post(f"{path}/keys", {})) == (409, "client.too_many_keys")
    prefix = row(portal, "SELECT min(prefix) AS prefix FROM client_keys")["prefix"]
    assert admin.post(f"{path}/keys/{prefix}:revoke").status_code == 200
    assert admin.post(f"{path}/keys", {}).status_code == 201


def test_a_revoked_key_is_refused_at_once(portal: Portal, admin: Person) -> None:
    path = create(admin)
    key = new_key(admin, path)
    answers = [admin.post(f"{path}/keys/{key['prefix']}:revoke") for _ in range(2)]
    assert answers[0].json == answers[1].json
    assert outcome(exchange(portal, key["key"])) == (401, "client.key_refused")
    assert outcome(admin.post(f"{path}/keys/{key['prefix']}:rotate", {})) == (409, "client.key_not_live")
    assert outcome(admin.post(f"{path}/keys/abcdefgh:revoke")) == (404, "client.key_not_found")
    assert outcome(admin.post(f"/v1/clients/{uuid4()}/keys/{key['prefix']}:revoke")) == (404, "client.not_found")


def test_the_key_of_one_client_is_not_touched_by_way_of_another(portal: Portal, admin: Person) -> None:
    path, other = create(admin), create(admin, name="另一个")
    prefix = new_key(admin, path)["prefix"]
    assert outcome(admin.post(f"{other}/keys/{prefix}:revoke")) == (404, "client.key_not_found")
    assert outcome(admin.post(f"{other}/keys/{prefix}:rotate", {})) == (404, "client.key_not_found")


@pytest.mark.parametrize(("given", "hours"), [({}, 24), ({"overlap_hours": 168}, 168), ({"overlap_hours": 0}, 0)])
def test_while_keys_overlap_both_are_good(portal: Portal, admin: Person, given: dict[str, int], hours: int) -> None:
    path = create(admin)
    old = new_key(admin, path)
    answer = admin.post(f"{path}/keys/{old['prefix']}:rotate", given)
    assert answer.status_code == 201
    assert exchange(portal, answer.json["key"]).status_code == 201  # type: ignore[index]
    assert exchange(portal, old["key"]).status_code == (201 if hours else 401)
    left = "extract(epoch FROM expires_at - clock_timestamp()) / 3600 AS hours"
    kept = row(portal, f"SELECT {left} FROM client_keys WHERE prefix = :prefix", prefix=old["prefix"])  # noqa: S608
    assert float(kept["hours"]) == pytest.approx(hours, abs=0.1)


def test_a_rotation_does_not_lengthen_the_life_of_the_old_key(portal: Portal, admin: Person) -> None:
    path = create(admin)
    old = new_key(admin, path)
    change(portal, "UPDATE client_keys SET expires_at = clock_timestamp() + interval '1 hour'")
    assert admin.post(f"{path}/keys/{old['prefix']}:rotate", {"overlap_hours": 24}).status_code == 201
    left = "expires_at < clock_timestamp() + interval '1 hour' AS soon"
    assert row(portal, f"SELECT {left} FROM client_keys WHERE prefix = :p", p=old["prefix"])["soon"]  # noqa: S608


def test_clients_are_changed_with_an_etag_and_listed(portal: Portal, admin: Person) -> None:
    path = create(admin)
    create(admin, name="图书馆", role="service", department_code=None, scopes=["books:read"])
    assert outcome(admin.patch(path, {"name": "新名"}, '"9"')) == (412, "precondition.stale")
    changed = admin.patch(path, {"name": "新名", "state": "disabled"}, '"1"')
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    assert admin.patch(path, {"name": "新名"}, '"2"').headers["ETag"] == '"2"'
    assert outcome(admin.patch(path, {"scopes": ["people:read"]})) == (422, "client.scope_beyond")
    assert outcome(admin.patch(f"/v1/clients/{uuid4()}", {})) == (404, "client.not_found")
    first = admin.get("/v1/clients?limit=1").json
    assert first is not None
    second = admin.get(f"/v1/clients?limit=1&after={first['after']}").json
    assert second is not None
    assert [item["name"] for item in first["items"] + second["items"]] == ["新名", "图书馆"]
    assert len(admin.get("/v1/clients?state=disabled&role=department").json["items"]) == 1  # type: ignore[index]


def test_who_is_no_administrator_any_more_makes_no_keys(portal: Portal, admin: Person) -> None:
    path = create(admin)
    change(portal, "UPDATE accounts SET state = 'disabled'")
    assert outcome(admin.post(f"{path}/keys", {})) == (401, "session.ended")
    assert outcome(admin.post("/v1/clients", FEED)) == (401, "session.ended")
    assert outcome(admin.patch(path, {"state": "active"})) == (401, "session.ended")


OWN = ["statistics:read", "keys:own"]


def test_a_token_of_a_key_that_was_ended_makes_no_other_key(portal: Portal, admin: Person) -> None:
    """Else whoever found a key could stay by ten minutes' work after it was taken away from him."""
    path = create(admin, scopes=OWN)
    found, other = new_key(admin, path), new_key(admin, path)
    thief = Person(web(portal), exchange(portal, found["key"]).json)
    assert thief.post(f"/v1/me/keys/{other['prefix']}:rotate", {}).status_code == 201

    assert admin.post(f"{path}/keys/{found['prefix']}:revoke").status_code == 200
    before = row(portal, "SELECT count(*) AS keys FROM client_keys")
    assert outcome(thief.post(f"/v1/me/keys/{other['prefix']}:rotate", {})) == (409, "client.key_ended_lately")
    assert row(portal, "SELECT count(*) AS keys FROM client_keys") == before

    change(portal, "UPDATE client_keys SET revoked_at = revoked_at - interval '11 minutes' WHERE revoked_at < now()")
    program = Person(web(portal), exchange(portal, other["key"]).json)
    assert program.post(f"/v1/me/keys/{other['prefix']}:rotate", {"overlap_hours": 0}).status_code == 201
    newest = row(portal, "SELECT prefix FROM client_keys ORDER BY id DESC LIMIT 1")["prefix"]
    assert outcome(program.post(f"/v1/me/keys/{newest}:rotate", {})) == (409, "client.key_ended_lately")


def test_who_is_disabled_while_his_rotation_waits_makes_no_key(portal: Portal, admin: Person) -> None:
    path = create(admin, scopes=OWN)
    key = new_key(admin, path)
    program = Person(web(portal), exchange(portal, key["key"]).json)
    with portal.runtime.db.transaction() as session:
        session.execute(sa.text("UPDATE clients SET state = 'disabled'"))
        waiting = Begun(lambda: program.post(f"/v1/me/keys/{key['prefix']}:rotate", {}))
        wait_for(lambda: waiting.is_done() or waits_for_a_lock(portal))
    assert outcome(waiting.result()) == (401, "session.ended")
    assert row(portal, "SELECT count(*) AS keys FROM client_keys")["keys"] == 1

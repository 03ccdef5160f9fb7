"""The keys that sign tokens: made at first use, shown, changed every 30 days, forgotten; on PostgreSQL."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.portal import passwords, signing
from services.portal.service import Portal
from tests.support import portal as house
from tests.support.portal import Person, change, outcome, row, signed_in, web
from tests.support.services import fetch
from tests.support.threads import at_once
from xinhuo.chassis.db import DatabaseUnavailable, database_now
from xinhuo.chassis.identity.actor import Actor
from xinhuo.chassis.identity.errors import TokenInvalid
from xinhuo.chassis.identity.keyring import KeyRing
from xinhuo.chassis.identity.tokens import Verifier, new_key, sign
from xinhuo.chassis.security import Keys


@pytest.fixture
def portal(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    monkeypatch.setattr(passwords, "hasher", house.QUICK)
    service = house.make_portal(database)
    house.empty(service)
    yield service
    service.runtime.db.close()


def shown(portal: Portal) -> list[dict[str, Any]]:
    answer = web(portal).get("/v1/keys")
    assert answer.status_code == 200
    return list((answer.json or {})["keys"])


def move(portal: Portal, days: float) -> None:
    """Let the keys become older by so many days."""
    moved = ", ".join(f"{name} = {name} - :by" for name in ("made_at", "signs_from", "signs_until", "shown_until"))
    change(portal, f"UPDATE signing_keys SET {moved}", by=timedelta(days=days))  # noqa: S608


def rotate(portal: Portal) -> None:
    with portal.runtime.db.transaction() as session:
        portal.rotate_signing_key(session)


def signing_kid(portal: Portal) -> str:
    with portal.runtime.db.transaction() as session:
        return signing.current(session, portal.runtime.keys, database_now(session)).kid


def test_the_first_who_asks_finds_a_key_and_its_private_half_is_encrypted(portal: Portal) -> None:
    answer = web(portal).get("/v1/keys")
    assert answer.headers["Cache-Control"] == "max-age=60"
    [key] = (answer.json or {})["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}
    assert key["alg"] == "Ed25519"
    kept = row(portal, "SELECT kid, public, private FROM signing_keys")
    assert (kept["kid"], kept["public"]) == (key["kid"], key)
    assert kept["private"].startswith("a1.")
    assert shown(portal) == [key], "asked again there is no other"


def test_processes_that_start_at_once_make_one_key(database: str, portal: Portal) -> None:
    processes = [house.make_portal(database) for _ in range(4)]
    try:
        kids = at_once([lambda process=process: signing_kid(process) for process in processes])  # type: ignore[misc]
    finally:
        for process in processes:
            process.runtime.db.close()
    assert len(set(kids)) == 1
    assert row(portal, "SELECT count(*) AS n FROM signing_keys")["n"] == 1


def test_who_asked_for_the_time_before_another_made_the_key_takes_that_one(portal: Portal) -> None:
    with portal.runtime.db.transaction() as session:
        before = database_now(session)
    first = signing_kid(portal)
    with portal.runtime.db.transaction() as session:
        assert signing.current(session, portal.runtime.keys, before).kid == first
    rotate(portal)
    assert row(portal, "SELECT count(*) AS n FROM signing_keys")["n"] == 1


def test_other_services_check_tokens_with_the_key_set(portal: Portal) -> None:
    person = signed_in(portal, "op.xu", "unit_operator", unit_code="QH-XX")
    ring = KeyRing(lambda: web(portal).get("/v1/keys").json)
    actor = Verifier(ring).actor_of(person.tokens["access_token"])
    assert (str(actor.subject), actor.role, actor.unit) == (person.tokens["account"]["id"], "unit_operator", "QH-XX")


def test_a_key_signs_for_thirty_days_and_the_next_is_shown_a_day_before(portal: Portal) -> None:
    first = signing_kid(portal)
    for days in (1, 26.9):
        move(portal, days)
        rotate(portal)
        assert [key["kid"] for key in shown(portal)] == [first]
    move(portal, 0.2)
    rotate(portal)
    rotate(portal)
    kids = [key["kid"] for key in shown(portal)]
    assert len(kids) == 2
    assert signing_kid(portal) == kids[0] == first
    seen = row(portal, "SELECT max(signs_from) - max(made_at) AS before FROM signing_keys")["before"]
    assert seen >= timedelta(days=1)
    move(portal, 1.92)
    assert signing_kid(portal) == kids[1]
    assert [key["kid"] for key in shown(portal)] == kids, "what the old one signed can still be checked"


def test_an_old_key_is_shown_until_nothing_it_signed_is_good_then_both_halves_are_gone(portal: Portal) -> None:
    first = signing_kid(portal)
    lasting = row(portal, "SELECT shown_until - signs_until AS lasting FROM signing_keys")["lasting"]
    assert lasting == timedelta(minutes=11, hours=1)
    move(portal, 29)
    rotate(portal)
    move(portal, 1 + 1 / 24)
    rotate(portal)
    assert first in [key["kid"] for key in shown(portal)]
    move(portal, 1 / 24)
    assert first not in [key["kid"] for key in shown(portal)]
    rotate(portal)
    assert first not in [kept["kid"] for kept in fetch(portal, "SELECT kid FROM signing_keys")]


def test_after_a_long_standstill_a_key_is_made_at_once(portal: Portal) -> None:
    first = signing_kid(portal)
    move(portal, 400)
    assert signing_kid(portal) != first
    rotate(portal)
    assert len(fetch(portal, "SELECT kid FROM signing_keys")) == 1


def test_a_token_of_a_key_that_another_process_just_made_is_known_at_once(database: str, portal: Portal) -> None:
    person = signed_in(portal, "lin.anhe")
    assert person.get("/v1/me").status_code == 200
    move(portal, 31)
    other = house.make_portal(database)
    try:
        newer = Person(web(other))
        assert newer.sign_in("lin.anhe").status_code == 201
    finally:
        other.runtime.db.close()
    assert Person(web(portal), newer.tokens).get("/v1/me").status_code == 200


def test_a_key_that_was_taken_away_ends_soon(portal: Portal) -> None:
    now = [0.0]
    source = signing.OwnKeys(portal.runtime.db, clock=lambda: now[0])
    person = signed_in(portal, "lin.anhe")
    verifier = Verifier(source)
    assert verifier.actor_of(person.tokens["access_token"]).role == "clerk"
    change(portal, "DELETE FROM signing_keys")
    now[0] = 11
    with pytest.raises(TokenInvalid):
        verifier.actor_of(person.tokens["access_token"])


def test_while_the_database_is_away_known_keys_serve_on(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    source = signing.OwnKeys(portal.runtime.db, clock=lambda: now[0])
    kid = signing_kid(portal)

    def away() -> None:
        raise DatabaseUnavailable()

    with monkeypatch.context() as patched:
        patched.setattr(portal.runtime.db, "transaction", away)
        with pytest.raises(DatabaseUnavailable):
            source(kid)
    known = source(kid)[kid]
    with monkeypatch.context() as patched:
        patched.setattr(portal.runtime.db, "transaction", away)
        now[0] = 60
        assert source(kid)[kid] is known


def test_tokens_that_we_did_not_sign_do_not_open_the_door(portal: Portal) -> None:
    signing_kid(portal)
    forged = new_key()
    actor = Actor(uuid4(), "bureau_admin")
    for token in (sign(actor, forged, now=2_000_000_000), "x.y.z", "", "xhk_abcdefgh_" + "A" * 43):
        answer = Person(web(portal), {"access_token": token}).get("/v1/accounts")
        assert outcome(answer)[0] == 401


def test_the_times_of_tokens_are_the_databases(portal: Portal) -> None:
    with portal.runtime.db.transaction() as session:
        now: datetime = database_now(session)
        token = signing.token_for(session, portal.runtime.keys, Actor(uuid4(), "clerk"), now - timedelta(hours=1))
    assert outcome(Person(web(portal), {"access_token": token}).get("/v1/me")) == (401, "token.expired")


def test_another_master_key_is_noticed(portal: Portal) -> None:
    with portal.runtime.db.transaction() as session:
        assert portal.key_fits(session), "before there is a key any fits"
    signing_kid(portal)
    with portal.runtime.db.transaction() as session:
        assert portal.key_fits(session)
    portal.runtime.keys = Keys(bytes(32))
    with portal.runtime.db.transaction() as session:
        assert not portal.key_fits(session)

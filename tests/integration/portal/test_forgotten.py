"""When a person is erased his account is emptied too: nobody signs in by it, and it names nobody."""

from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from services.portal.service import Portal
from tests.support.portal import PASSWORD, Person, account, change, outcome, row, signed_in, web
from tests.support.services import deliver, delivery_of, fetch, waits_for_a_lock
from tests.support.threads import Begun
from tests.support.waiting import wait_for
from xinhuo.chassis import audit
from xinhuo.cli.backup.erasures import erase_again
from xinhuo.contracts.volunteers import PersonErased

NAME, LOGIN = "测试员林安和", "lin.anhe"


def erase(portal: Portal, *persons: UUID) -> None:
    """Tell the portal that persons were erased, twice, as the broker may."""
    told = [delivery_of(PersonErased(volunteer_id=one)) for one in persons]
    deliver(portal, "forget_person", told)
    deliver(portal, "forget_person", told)


def stored(portal: Portal, of: UUID) -> dict[str, Any]:
    return row(portal, "SELECT * FROM accounts WHERE id = :id", id=of)


def owned(portal: Portal, **given: Any) -> tuple[UUID, Person]:
    """Return an account with everything that one may hold of a person, and who signed in with it."""
    person = signed_in(portal, LOGIN, display_name=NAME, **given)
    assert person.post("/v1/me/totp", {}).status_code == 201
    of = row(portal, "SELECT id FROM accounts WHERE login = :login", login=LOGIN)["id"]
    change(portal, "UPDATE accounts SET oidc_issuer = 'https://i', oidc_subject = 'lin' WHERE id = :id", id=of)
    return of, person


@pytest.mark.parametrize("role", ["volunteer", "guardian"])
def test_the_account_of_one_who_was_erased_holds_nothing_of_him_and_opens_nothing(
    portal: Portal, admin: Person, role: str
) -> None:
    one = uuid4()
    of, person = owned(portal, role=role, volunteer_id=one if role == "volunteer" else None, wards=[one])
    assert admin.post(f"/v1/accounts/{of}:reset").status_code == 201

    erase(portal, one)

    left = stored(portal, of)
    assert (left["login"], left["state"], left["role"]) == (f"erased-{of}", "disabled", role)
    emptied = ("display_name", "password_hash", "totp_secret", "totp_pending", "totp_last_step", "oidc_subject")
    assert {left[name] for name in emptied} == {None}
    assert NAME not in admin.get(f"/v1/accounts/{of}").text
    assert outcome(Person(web(portal)).sign_in(LOGIN, PASSWORD)) == (401, "login.failed")
    assert outcome(person.refresh()) == (401, "session.ended")
    assert fetch(portal, "SELECT FROM links WHERE account_id = :id", id=of) == []
    done = fetch(portal, "SELECT role FROM audit_log WHERE action = 'account.erased' AND object_id = :id", id=str(of))
    assert done == [{"role": "system"}], "written down once, however often it is told"


def test_a_login_that_was_emptied_may_be_anothers(portal: Portal) -> None:
    one = uuid4()
    owned(portal, role="volunteer", volunteer_id=one)
    erase(portal, one)
    account(portal, LOGIN, "volunteer", volunteer_id=uuid4())
    assert Person(web(portal)).sign_in(LOGIN).status_code == 201


def test_who_works_here_or_has_another_ward_keeps_an_account_that_no_longer_names_the_erased(portal: Portal) -> None:
    one, other = uuid4(), uuid4()
    staff = account(portal, "zhou.gong", "unit_operator", unit_code="XX-1", volunteer_id=one, display_name=NAME)
    parent = account(portal, "chen.ma", "guardian", wards=[one, other], volunteer_id=one)
    stranger = account(portal, "wu.guan", "guardian", wards=[other])
    before = stored(portal, stranger)

    erase(portal, one)

    assert (stored(portal, staff)["volunteer_id"], stored(portal, staff)["state"]) == (None, "active")
    assert (stored(portal, parent)["volunteer_id"], stored(portal, parent)["wards"]) == (None, [other])
    assert stored(portal, stranger) == before
    for login in ("zhou.gong", "chen.ma", "wu.guan"):
        assert Person(web(portal)).sign_in(login).status_code == 201
    erase(portal, other)
    assert stored(portal, parent)["login"] == f"erased-{parent}"


def test_an_account_of_an_older_copy_is_emptied_again(portal: Portal) -> None:
    one = uuid4()
    of, _ = owned(portal, role="volunteer", volunteer_id=one)
    with portal.runtime.db.transaction() as session:
        erase_again("portal", session, [one])
    assert stored(portal, of)["display_name"] is None


def test_a_login_that_looks_like_an_emptied_one_is_emptied_too(portal: Portal) -> None:
    one = uuid4()
    of = account(portal, "erased-lin", "volunteer", volunteer_id=one, display_name=NAME)
    erase(portal, one)
    assert (stored(portal, of)["login"], stored(portal, of)["display_name"]) == (f"erased-{of}", None)


def test_who_ends_a_session_does_not_wait_for_an_erasure_that_waits_for_him(portal: Portal) -> None:
    """The audit log is one lock for all: who holds it waits for nobody, or both wait for each other."""
    first, second = uuid4(), uuid4()
    signed_in(portal, "first.one", "volunteer", volunteer_id=first)
    signed_in(portal, "second.one", "volunteer", volunteer_id=second)
    held = "SELECT FROM sessions s JOIN accounts a ON a.id = s.account_id WHERE volunteer_id = :one FOR UPDATE OF s"
    with portal.runtime.db.transaction() as session:
        session.execute(sa.text(held), {"one": second})
        session.execute(sa.text("SET LOCAL lock_timeout = '500ms'"))
        erasure = Begun(lambda: erase(portal, first, second))
        wait_for(lambda: waits_for_a_lock(portal))
        audit.record(session, "session.ended", "session", second)
    erasure.result()
    assert fetch(portal, "SELECT FROM accounts WHERE state <> 'disabled'") == []

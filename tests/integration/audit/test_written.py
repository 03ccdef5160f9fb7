"""Whatever changes something over HTTP leaves a row in the audit log: who did it, as what, and to which object."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.integration.rights.own import OWN
from tests.integration.rights.table import OPEN, ROLES, TABLE, Line
from tests.integration.rights.ways import WAYS
from tests.integration.rights.world import Ask, Place, World, made_up
from tests.support.services import fetch
from xinhuo.chassis import audit
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.identity.actor import Actor
from xinhuo.chassis.web.app import routes_of
from xinhuo.cli.build import service_class

#: What leaves no row. Entries of hours name who recorded them, and the ledger is append-only itself; that somebody
#: read a message is his own affair.
SILENT = {
    ("volunteers", "POST", "/v1/hours"),
    ("volunteers", "POST", "/v1/hours:batch"),
    ("notify", "POST", "/v1/messages/{id:uuid}:read"),
}
#: What each route writes, by hand: the actions of its rows in their order, and the kind of the object.
WRITTEN: dict[tuple[str, str, str], tuple[list[str], str]] = {
    ("notices", "POST", "/v1/units"): (["unit.registered"], "unit"),
    ("notices", "PATCH", "/v1/units/{code}"): (["unit.changed"], "unit"),
    ("notices", "POST", "/v1/notices"): (["notice.drafted"], "notice"),
    ("notices", "PATCH", "/v1/notices/{id:uuid}"): (["notice.changed"], "notice"),
    ("notices", "POST", "/v1/notices/{id:uuid}:issue"): (["notice.issued"], "notice"),
    ("volunteers", "POST", "/v1/volunteers"): (["volunteer.registered", "volunteer.joined_team"], "volunteer"),
    ("volunteers", "POST", "/v1/volunteers/{id:uuid}:verify"): (["volunteer.verified"], "volunteer"),
    ("volunteers", "POST", "/v1/volunteers/{id:uuid}:suspend"): (["volunteer.suspended"], "volunteer"),
    ("volunteers", "POST", "/v1/volunteers/{id:uuid}:resume"): (["volunteer.resumed"], "volunteer"),
    ("volunteers", "POST", "/v1/volunteers/{id:uuid}:leave"): (["volunteer.left"], "volunteer"),
    ("volunteers", "POST", "/v1/volunteers/{id:uuid}:correct"): (["volunteer.corrected"], "volunteer"),
    ("volunteers", "POST", "/v1/volunteers/{id:uuid}:unmask"): (["volunteer.unmasked"], "volunteer"),
    ("volunteers", "POST", "/v1/volunteers/{id:uuid}/unmask-approvals"): (["volunteer.unmask_approved"], "volunteer"),
    ("volunteers", "POST", "/v1/volunteers/{id:uuid}/consents"): (["consent.given"], "volunteer"),
    ("volunteers", "POST", "/v1/consents/{id:uuid}:withdraw"): (["consent.withdrawn"], "volunteer"),
    ("volunteers", "POST", "/v1/volunteers/{id:uuid}:request-erasure"): (["erasure.asked"], "volunteer"),
    ("volunteers", "POST", "/v1/erasure-requests/{id:uuid}:decide"): (["erasure.refused"], "volunteer"),
    ("volunteers", "POST", "/v1/teams"): (["team.created"], "team"),
    ("volunteers", "POST", "/v1/teams/{code}/members"): (["volunteer.joined_team"], "volunteer"),
    ("volunteers", "POST", "/v1/activities"): (["activity.created"], "activity"),
    ("volunteers", "POST", "/v1/hours/{id:uuid}:reverse"): (["hours.reversed"], "ledger_entry"),
    ("volunteers", "POST", "/v1/claims"): (["claim.made"], "claim"),
    ("volunteers", "POST", "/v1/claims/{id:uuid}:withdraw"): (["claim.withdrawn"], "claim"),
    ("volunteers", "POST", "/v1/claims/{id:uuid}:approve"): (["claim.approved"], "claim"),
    ("volunteers", "POST", "/v1/claims/{id:uuid}:refuse"): (["claim.refused"], "claim"),
    ("volunteers", "POST", "/v1/reversal-requests/{id:uuid}:approve"): (
        ["reversal.approved", "hours.reversed"], "ledger_entry",
    ),
    ("volunteers", "POST", "/v1/reversal-requests/{id:uuid}:refuse"): (["reversal.refused"], "ledger_entry"),
    ("volunteers", "POST", "/v1/imports"): (["import.checked"], "import"),
    ("volunteers", "POST", "/v1/imports/{id:uuid}:confirm"): (["import.confirmed"], "import"),
    ("volunteers", "POST", "/v1/imports/{id:uuid}:undo"): (["import.undo_requested"], "import"),
    ("portal", "POST", "/v1/me/password"): (["account.password_changed"], "account"),
    ("portal", "POST", "/v1/me/totp"): (["account.factor_begun"], "account"),
    ("portal", "POST", "/v1/me/totp:confirm"): (["account.factor_on"], "account"),
    ("portal", "POST", "/v1/me/totp:remove"): (["account.factor_off"], "account"),
    ("portal", "POST", "/v1/me/sessions/{id:uuid}:end"): (["session.ended"], "session"),
    ("portal", "POST", "/v1/me/keys/{prefix}:rotate"): (["client_key.rotated", "client_key.created"], "client"),
    ("portal", "POST", "/v1/me/keys/{prefix}:revoke"): (["client_key.revoked"], "client"),
    ("portal", "POST", "/v1/accounts"): (["account.created"], "account"),
    ("portal", "PATCH", "/v1/accounts/{id:uuid}"): (["account.changed"], "account"),
    ("portal", "POST", "/v1/accounts/{id:uuid}:reset"): (["account.reset"], "account"),
    ("portal", "POST", "/v1/clients"): (["client.created"], "client"),
    ("portal", "PATCH", "/v1/clients/{id:uuid}"): (["client.changed"], "client"),
    ("portal", "POST", "/v1/clients/{id:uuid}/keys"): (["client_key.created"], "client"),
    ("portal", "POST", "/v1/clients/{id:uuid}/keys/{prefix}:revoke"): (["client_key.revoked"], "client"),
    ("portal", "POST", "/v1/clients/{id:uuid}/keys/{prefix}:rotate"): (
        ["client_key.rotated", "client_key.created"], "client",
    ),
    **{
        (service, "POST", f"/v1/dead-letters:{action}"): ([f"dead_letter.{action}"], "dead_letter")
        for service in SERVICES for action in ("retry", "drop")
    },
}  # fmt: skip
LINES = [line for line in TABLE if line.method != "GET" and line.route not in SILENT]
#: Of what holds a password or a code no answers are kept.
KEYED = [
    line
    for line in LINES
    if line.method == "POST" and line.route not in OWN and not line.path.endswith((":unmask", "-erasure"))
]
_ROWS = "SELECT * FROM audit_log WHERE seq > :seq ORDER BY seq"


@pytest.fixture(scope="module")
def world(database: str) -> Iterator[World]:
    world = World(database)
    yield world
    world.close()


@pytest.fixture(autouse=True)
def stays(world: World) -> Iterator[None]:
    """Bring back, after each test, whom it let leave."""
    yield
    world.come_back(world.here)
    world.come_back(world.there)


def newest(world: World, service: str) -> int:
    [found] = fetch(world.services[service], "SELECT seq FROM audit_head")
    number: int = found["seq"]
    return number


def asking(world: World, line: Line, who: Actor, place: Place) -> Ask:
    """Return a request that changes something; what is so already leaves no row."""
    if line.route in OWN:
        return OWN[line.route](world, who)
    ask = WAYS[line.route].asked_by(world, place, who)
    if line.path == "/v1/teams/{code}/members" and not place.made_up and line.letters[who.role] != "T":
        form = {name: value for name, value in world.person_at(place).items() if name != "team_code"}
        person = world.make("volunteers", "/v1/volunteers", form)
        return replace(ask, json={"volunteer_id": person["id"]})
    return ask


def asked(world: World, line: Line, who: Actor, place: Place) -> tuple[Ask, Any, list[dict[str, Any]]]:
    """Make what a request needs, send it, and return it with the answer and the rows that it left."""
    ask = asking(world, line, who, place)
    before = newest(world, line.service)
    answer = world.ask(who, line.service, line.method, ask)
    return ask, answer, fetch(world.services[line.service], _ROWS, seq=before)


def those_who_may(world: World, line: Line) -> list[Actor]:
    """Return somebody of each role that may do it here."""
    may = [world.actors[role][0] for role in ROLES if line.letters[role] not in {"-", "N"}]
    assert may
    return may


def named(line: Line, ask: Ask, answer: Any, who: Actor) -> set[str]:
    """Return what may be the object of a request: its body's, its address's or its answer's, or who asks."""
    parts = {part.split(":")[0] for part in ask.path.split("?")[0].split("/")}
    body = ask.json or {}
    of_body = {str(body.get("volunteer_id")), str(body.get("code")), *map(str, body.get("ids", ()))}
    shown = (answer.json or {}) if answer.is_json else {}
    of_answer = {str(shown.get(name)) for name in ("id", "code", "volunteer_id", "entry_id")}
    return parts | of_body | of_answer | ({str(who.subject)} if line.route in OWN else set())


def test_every_route_that_changes_something_is_known_here() -> None:
    routes = {
        (name, route.mark.method, route.mark.path)
        for name in SERVICES for route in routes_of(service_class(name)) if route.mark.method != "GET"
    }  # fmt: skip
    assert routes - OPEN == set(WRITTEN) | SILENT
    assert set(WRITTEN) & SILENT == set()


@pytest.mark.parametrize("line", LINES, ids=str)
def test_what_succeeds_leaves_rows_that_say_who_did_what_to_which_object(world: World, line: Line) -> None:
    actions, kind = WRITTEN[line.route]
    for who in those_who_may(world, line):
        ask, answer, rows = asked(world, line, who, world.here)
        assert answer.status_code < 300, (who, answer.text)
        # A leader reaches those who are in his team already.
        idle = line.path.endswith("/members") and line.letters[who.role] == "T"
        # The world asked for this person's erasure when it was made: asking again changes nothing.
        idle = idle or line.path.endswith(":request-erasure")
        assert [row["action"] for row in rows] == ([] if idle else actions), who
        for row in rows:
            assert (row["subject"], row["role"], row["unit"]) == (who.subject, who.role, who.unit)
            assert (row["object_kind"], row["outcome"]) == (kind, "done")
            assert row["object_id"] in named(line, ask, answer, who), row
            assert row["trace_id"] == answer.headers["Xinhuo-Trace-Id"]


@pytest.mark.parametrize("line", LINES, ids=str)
def test_what_is_refused_leaves_no_row(world: World, line: Line) -> None:
    for role in ROLES:
        who, letter = world.actors[role][0], line.letters[role]
        if letter in {"-", "N"}:
            places = [world.here]
        elif line.route in OWN or WAYS[line.route].of_nobody:
            continue
        else:
            places = [made_up()] if letter == "A" else [world.there, made_up()]
        for place in places:
            _, answer, rows = asked(world, line, who, place)
            # What is made is made anywhere by whom everything is; a file that names foreign things is checked.
            assert answer.status_code >= 400 or letter == "A" or line.path == "/v1/imports", (who, answer.text)
            assert answer.status_code < 400 or rows == [], (who, place.unit)


@pytest.mark.parametrize("line", [line for line in LINES if line.route not in OWN], ids=str)
def test_what_cannot_be_read_leaves_no_row(world: World, line: Line) -> None:
    who = those_who_may(world, line)[0]
    ask = asking(world, line, who, world.here)
    before = newest(world, line.service)
    wrong = [replace(ask, path=f"{ask.path}{'&' if '?' in ask.path else '?'}nothing=1")]
    if ask.json is not None or ask.data is not None:
        wrong.append(replace(ask, json=None, data=b'{"half": ', content_type="application/json"))
    for one in wrong:
        assert 400 <= world.ask(who, line.service, line.method, one).status_code < 500
    assert newest(world, line.service) == before


@pytest.mark.parametrize("line", [line for line in TABLE if line.route in SILENT], ids=str)
def test_what_is_silent_says_itself_who_did_it_or_is_ones_own_affair(world: World, line: Line) -> None:
    for who in those_who_may(world, line):
        _, answer, rows = asked(world, line, who, world.here)
        assert answer.status_code < 300, answer.text
        assert rows == []
        if "hours" in line.path:
            shown = answer.json["items"][0]["entry"] if "items" in answer.json else answer.json
            assert shown["recorded_by"] == str(who.subject)


@pytest.mark.parametrize("line", KEYED, ids=str)
def test_what_is_sent_again_under_its_key_is_written_once(world: World, line: Line) -> None:
    who = those_who_may(world, line)[0]
    ask = asking(world, line, who, world.here)
    ask = replace(ask, headers={**ask.headers, "Idempotency-Key": f"k-{world.serial()}"})
    before = newest(world, line.service)
    first, again = (world.ask(who, line.service, line.method, ask) for _ in range(2))
    assert (first.status_code, again.headers.get("Idempotency-Replayed")) == (again.status_code, "true")
    assert newest(world, line.service) == before + len(WRITTEN[line.route][0])


@pytest.mark.parametrize("service", SERVICES)
def test_the_chain_of_each_service_holds_after_all_of_it(world: World, service: str) -> None:
    with world.services[service].runtime.db.engine.connect() as connection:
        found = audit.verify(connection)
    assert found.broken is None
    assert found.rows > 0

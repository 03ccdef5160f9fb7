"""The second lock: what a query forgets to leave out, the database does not show and does not let be changed."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, ProgrammingError

from services.notices import reach as reach_of_notices
from services.volunteers import reach as reach_of_volunteers
from services.volunteers.commands import hours
from tests.support.services import deliver, delivery_of, recorded
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.db import Database, rows
from xinhuo.chassis.identity import reached
from xinhuo.chassis.identity.actor import Access, Actor, Reach
from xinhuo.chassis.roles import role_of
from xinhuo.chassis.row_security import narrow, wide

from .accounts import is_of, seated, session_of
from .world import Ask, Place, World, actor

_CHASSIS = {
    "alembic_version", "audit_head", "dead_letter_actions", "dead_letters", "idempotency_keys", "inbox",
    "jobs", "outbox", "parked_events", "reconciliations", "retention_reports",
}  # fmt: skip
#: Tables whose rows belong to no unit and no person, or are public as they are. Every other table has a policy. Of the
#: chassis: events (outbox, inbox, parked, dead) name people by number only, every request appends to them, and those of
#: `ops` alone read them; kept answers (idempotency_keys) are sealed, and found by caller and key together.
OPEN = {
    "notices": _CHASSIS,
    "volunteers": _CHASSIS
    | {
        "known_units",
        "known_notices",
        "activity_counters",
        "statistics_cells",
    },
    "awards": _CHASSIS | {"erased_persons"},
    "notify": _CHASSIS | {"forgotten_persons"},
    "portal": _CHASSIS,
}
_RIGHT = "people:read"


@pytest.fixture(scope="module")
def world(database: str) -> Iterator[World]:
    world = World(database)
    for place in (world.here, world.there):
        world.entry_at(place)
        world.erasure_at(place)
        world.consent_at(place)
        world.claim_at(place)
        world.issued_to(place.unit)
        world.draft_to(place.unit)
    yield world
    world.close()


def db_of(world: World, service: str) -> Database:
    return world.services[service].runtime.db


def accesses(world: World) -> dict[str, Access]:
    here, one = world.here, world.here.volunteer
    return {
        "own": Access(actor("unit_operator", unit=here.unit), _RIGHT, Reach.OWN),
        "district": Access(actor("unit_operator", unit="QU-1"), _RIGHT, Reach.OWN),
        "team": Access(actor("team_leader", unit=here.unit, team=here.team), _RIGHT, Reach.TEAM),
        "self": Access(actor("volunteer", volunteer=one), _RIGHT, Reach.SELF),
        "child": Access(actor("guardian", wards=(one,)), _RIGHT, Reach.CHILD),
        "public": Access(None, _RIGHT, Reach.PUBLIC),
        "own, of no unit": Access(actor("unit_operator"), _RIGHT, Reach.OWN),
        "team, of none": Access(actor("team_leader"), _RIGHT, Reach.TEAM),
        "self, of nobody": Access(actor("volunteer"), _RIGHT, Reach.SELF),
        "child, of nobody": Access(actor("guardian"), _RIGHT, Reach.CHILD),
    }


def seen(world: World, service: str, access: Access, statement: str) -> int:
    with db_of(world, service).transaction() as session:
        narrow(session, access)
        return int(session.scalar(sa.text(statement)) or 0)


def changed_by(world: World, service: str, access: Access, statement: str) -> list[Any]:
    """Return what a statement changes; nothing when a policy refuses it, either being right."""
    with db_of(world, service).transaction() as session:
        narrow(session, access)
        try:
            changed = list(session.execute(sa.text(statement)).all())
        except ProgrammingError as error:
            assert "row-level security" in str(error)  # noqa: PT017
            changed = []
        session.rollback()
    return changed


#: Whose rows each question counts, with ``{place}`` filled in.
OF_UNIT = {
    "volunteers": "SELECT count(*) FROM volunteers WHERE unit_code = '{unit}'",
    "person_keys": "SELECT count(*) FROM person_keys WHERE volunteer_id = '{person}'",
    "consent_records": "SELECT count(*) FROM consent_records WHERE volunteer_id = '{person}'",
    "erasure_requests": "SELECT count(*) FROM erasure_requests WHERE volunteer_id = '{person}'",
    "team_members": "SELECT count(*) FROM team_members WHERE volunteer_id = '{person}'",
    "ledger_entries": "SELECT count(*) FROM ledger_entries WHERE volunteer_id = '{person}'",
    "hour_claims": "SELECT count(*) FROM hour_claims WHERE volunteer_id = '{person}'",
}


def rows_of(place: Place, table: str) -> str:
    return OF_UNIT[table].format(unit=place.unit, person=place.volunteer)


@pytest.mark.parametrize("table", OF_UNIT)
@pytest.mark.parametrize("reach", ["own", "district", "team", "self", "child"])
def test_each_reach_sees_its_own_rows_and_no_foreign_one(world: World, table: str, reach: str) -> None:
    access = accesses(world)[reach]
    assert seen(world, "volunteers", access, rows_of(world.here, table)) > 0
    everything = Access(actor("clerk"), _RIGHT, Reach.ALL)
    assert seen(world, "volunteers", everything, rows_of(world.there, table)) > 0, "there is something to be hidden"
    assert seen(world, "volunteers", access, rows_of(world.there, table)) == 0


@pytest.mark.parametrize("table", OF_UNIT)
@pytest.mark.parametrize("reach", ["public", "own, of no unit", "team, of none", "self, of nobody", "child, of nobody"])
def test_who_belongs_nowhere_sees_nobody(world: World, table: str, reach: str) -> None:
    assert seen(world, "volunteers", accesses(world)[reach], rows_of(world.here, table)) == 0


@pytest.mark.parametrize(
    ("service", "statement", "reaches"),
    [
        ("volunteers", "SELECT count(*) FROM imports", {"own", "district", "team"}),
        ("notices", "SELECT count(*) FROM obligations WHERE unit_code = 'XX-1'", {"own", "district"}),
        ("notices", "SELECT count(*) FROM obligations WHERE unit_code = 'XX-2'", set()),
        ("notices", "SELECT count(*) FROM notices WHERE state = 'draft'", set()),
        ("awards", "SELECT count(*) FROM tallies", {"self", "child"}),
        ("notify", "SELECT count(*) FROM messages", {"self", "child"}),
    ],
)
def test_the_other_tables_show_only_what_is_reached(
    world: World, service: str, statement: str, reaches: set[str]
) -> None:
    found = {name for name, access in accesses(world).items() if seen(world, service, access, statement)}
    assert found == reaches


def test_a_foreign_import_is_hidden_and_the_own_one_shown(world: World) -> None:
    with db_of(world, "volunteers").transaction() as session:
        narrow(session, accesses(world)["own"])
        shown = {row["id"] for row in rows(session.execute(sa.text("SELECT id FROM imports")))}
    assert world.here.hours_import in shown
    assert world.there.hours_import not in shown


# --- Of the portal --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seats(world: World) -> dict[str, Actor]:
    """Two operators of one school, one of another and one above both, a clerk and a program; each with a session."""
    seats = {
        "here": world.operators["XX-1"],
        "beside": seated(world.portal, actor("unit_operator", unit="XX-1")),
        "there": world.operators["XX-2"],
        "above": world.actors["unit_operator"][1],
        "clerk": world.actors["clerk"][0],
        "leader": seated(world.portal, actor("team_leader", unit="XX-1", team="DUI-1")),
        "volunteer": world.actors["volunteer"][0],
        "program": seated(world.portal, actor("department")),
    }
    for who in seats.values():
        if is_of(world.portal, who):
            session_of(world.portal, who.subject)
            ask = Ask(f"/v1/accounts/{who.subject}:reset")
            assert world.ask(world.actors["bureau_admin"][0], "portal", "POST", ask).status_code == 201
    return seats


#: Whose rows each question counts.
OF_ACCOUNT = {
    "accounts": "SELECT count(*) FROM accounts WHERE id = '{}'",
    "sessions": "SELECT count(*) FROM sessions WHERE account_id = '{}'",
    "links": "SELECT count(*) FROM links WHERE account_id = '{}'",
    "clients": "SELECT count(*) FROM clients WHERE id = '{}'",
    "client_keys": "SELECT count(*) FROM client_keys WHERE client_id = '{}'",
}
#: Who sees whom, by hand: himself; an operator with the right to manage also those of his unit whom he manages.
SEES = {
    ("here", Reach.OWN): {"here", "beside", "leader"},
    ("above", Reach.OWN): {"above"},
    ("here", Reach.SELF): {"here"},
    ("clerk", Reach.SELF): {"clerk"},
    ("volunteer", Reach.SELF): {"volunteer"},
    ("program", Reach.SELF): {"program"},
}


@pytest.mark.parametrize(("who", "reach"), SEES)
@pytest.mark.parametrize("table", OF_ACCOUNT)
def test_an_account_sees_itself_and_those_whom_it_manages(
    world: World, seats: dict[str, Actor], who: str, reach: Reach, table: str
) -> None:
    access = Access(seats[who], _RIGHT, reach)
    programs = table.startswith("client")
    others = {name: one for name, one in seats.items() if (name == "program") == programs}
    system = Access(None, _RIGHT, Reach.ALL)
    for one in others.values():
        assert seen(world, "portal", system, OF_ACCOUNT[table].format(one.subject)) > 0, "there is something to hide"
    found = {
        name for name, one in others.items() if seen(world, "portal", access, OF_ACCOUNT[table].format(one.subject))
    }
    assert found == SEES[who, reach] & others.keys()


@pytest.mark.parametrize("table", [*OF_ACCOUNT, "signing_keys"])
def test_what_signing_in_looks_at_nobody_else_does(world: World, seats: dict[str, Actor], table: str) -> None:
    everything = f"SELECT count(*) FROM {table}"  # noqa: S608
    assert world.ask(None, "portal", "GET", Ask("/v1/keys")).status_code == 200
    assert seen(world, "portal", Access(None, _RIGHT, Reach.ALL), everything) > 0
    assert seen(world, "portal", Access(None, _RIGHT, Reach.PUBLIC), everything) == 0
    stranger = Access(actor("volunteer", volunteer=seats["volunteer"].volunteer), _RIGHT, Reach.SELF)
    assert seen(world, "portal", stranger, everything) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts SET state = 'disabled' WHERE id = '{there}' RETURNING 1",
        "UPDATE accounts SET unit_code = 'XX-2' WHERE id = '{here}' RETURNING 1",
        "UPDATE accounts SET role = 'bureau_admin' WHERE id = '{beside}' RETURNING 1",
        "UPDATE accounts SET role = 'bureau_admin' WHERE id = '{here}' RETURNING 1",
        "UPDATE sessions SET account_id = '{there}' WHERE account_id = '{here}' RETURNING 1",
        "DELETE FROM links WHERE account_id = '{there}' RETURNING 1",
        "UPDATE client_keys SET expires_at = now() + interval '9 years' RETURNING 1",
        "INSERT INTO accounts (id, login, role) VALUES (gen_random_uuid(), 'new.clerk', 'clerk') RETURNING 1",
        "INSERT INTO links (id, account_id, purpose, secret_hash, expires_at)"
        " VALUES (gen_random_uuid(), '{there}', 'reset', sha256('x'), now() + interval '1 day') RETURNING 1",
    ],
)
def test_an_operator_changes_no_foreign_account_whatever_the_statement(
    world: World, seats: dict[str, Actor], statement: str
) -> None:
    text = statement.format(**{name: one.subject for name, one in seats.items()})
    assert changed_by(world, "portal", Access(seats["here"], _RIGHT, Reach.OWN), text) == []


@pytest.mark.parametrize("service", SERVICES)
def test_of_the_audit_log_one_sees_what_concerns_oneself(world: World, service: str) -> None:
    me, other = world.actors["guardian"][0], world.actors["clerk"][0]
    about = "SELECT count(*) FROM audit_log WHERE action = 'volunteer.noted' AND object_id = '{}'"
    did = "SELECT count(*) FROM audit_log WHERE subject = '{}'"
    world.note(service, me, world.there.volunteer)
    world.note(service, other, world.there.people[1].id)
    world.note(service, other, me.wards[0])
    for reach in (Reach.CHILD, Reach.SELF):
        mine = Access(me, _RIGHT, reach)
        assert seen(world, service, mine, did.format(me.subject)) > 0
        assert seen(world, service, mine, about.format(me.wards[0])) > 0
        assert seen(world, service, mine, about.format(world.there.people[1].id)) == 0
        assert seen(world, service, mine, f"{did.format(other.subject)} AND object_id <> '{me.wards[0]}'") == 0
    assert seen(world, service, Access(None, _RIGHT, Reach.PUBLIC), "SELECT count(*) FROM audit_log") == 0


# --- The first lock taken away --------------------------------------------------------------------------------


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every query forget what it must leave out."""
    nothing: Any = lambda *_args, **_options: []  # noqa: E731
    always: Any = lambda *_args, **_options: True  # noqa: E731
    for name in ("people", "not_withdrawn", "of_teams", "of_activities", "of_entries", "of_cells"):
        monkeypatch.setattr(reach_of_volunteers, name, nothing)
    for name in ("reaches_import", "reaches_volunteer"):
        monkeypatch.setattr(reach_of_volunteers, name, always)
    for name in ("of_units", "of_notices", "of_obligations"):
        monkeypatch.setattr(reach_of_notices, name, nothing)
    monkeypatch.setattr(reached, "reaches_person", nothing)
    monkeypatch.setattr("services.notify.queries.reaches_person", nothing)
    monkeypatch.setattr("services.awards.queries.reaches_person", nothing)


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("volunteers", "/v1/volunteers/{volunteer}"),
        ("volunteers", "/v1/volunteers/{volunteer}/consents"),
        ("volunteers", "/v1/hours/{entry}"),
        ("volunteers", "/v1/imports/{hours_import}"),
        ("notify", "/v1/volunteers/{volunteer}/inbox"),
    ],
)
@pytest.mark.parametrize("role", ["unit_operator", "team_leader", "volunteer", "guardian"])
def test_a_query_that_forgets_the_reach_shows_nothing_foreign(world: World, service: str, path: str, role: str) -> None:
    there = {"volunteer": world.there.volunteer, "hours_import": world.there.hours_import, "entry": world.there.entry}
    with db_of(world, "volunteers").transaction() as session:
        entry = sa.text("SELECT id FROM ledger_entries WHERE volunteer_id = :id")
        there["entry"] = session.scalar(entry, {"id": world.there.volunteer}) or there["entry"]
    answer = world.ask(world.actors[role][0], service, "GET", Ask(path.format(**there)))
    assert answer.status_code in (403, 404) or (answer.json or {}).get("items") == [], answer.text


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize(
    ("service", "path", "fields"),
    [
        ("volunteers", "/v1/volunteers", ("unit_code", "unit")),
        ("volunteers", "/v1/hours", ("unit_code", "unit")),
        ("volunteers", "/v1/imports", ("id", "hours_import")),
    ],
)
def test_a_list_that_forgets_the_reach_lists_nothing_foreign(
    world: World, service: str, path: str, fields: tuple[str, str]
) -> None:
    operator = world.operators[world.here.unit]
    listed = [item[fields[0]] for item in world.listed(operator, service, path)]
    assert str(getattr(world.here, fields[1])) in listed
    assert str(getattr(world.there, fields[1])) not in listed


# --- Writing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE volunteers SET state = 'left' WHERE unit_code = 'XX-2' RETURNING 1",
        "DELETE FROM team_members WHERE team_code = 'DUI-2' RETURNING 1",
        "UPDATE teams SET name = 'x' WHERE code = 'DUI-2' AND unit_code = 'XX-2' RETURNING 1",
        "DELETE FROM person_keys WHERE volunteer_id IN ('{there}') RETURNING 1",
        "UPDATE imports SET state = 'confirmed' WHERE unit_code = 'XX-2' RETURNING 1",
        "UPDATE activities SET unit_code = 'XX-2' WHERE unit_code = 'XX-1' RETURNING 1",
        "INSERT INTO teams (code, name, unit_code, created_at) VALUES ('DUI-9', 'x', 'XX-2', now()) RETURNING 1",
        "INSERT INTO team_members (team_code, volunteer_id, joined_at) VALUES ('DUI-2', '{here}', now()) RETURNING 1",
        "DELETE FROM service_spans WHERE volunteer_id = '{here}' RETURNING 1",
        "UPDATE service_spans SET minutes = 1 WHERE volunteer_id = '{here}' RETURNING 1",
        "INSERT INTO service_spans (entry_id, volunteer_id, activity_id, span, served_on, minutes)"
        " SELECT gen_random_uuid(), '{here}', a.id, tstzrange('2024-01-01', '2024-01-02'), '2024-01-01', 1"
        " FROM activities AS a WHERE a.unit_code = 'XX-2' RETURNING 1",
    ],
)
def test_what_is_foreign_is_not_changed_whatever_the_statement(world: World, statement: str) -> None:
    text = statement.format(here=world.here.volunteer, there=world.there.volunteer)
    assert changed_by(world, "volunteers", accesses(world)["own"], text) == []


@pytest.mark.parametrize("path", ["/v1/hours", "/v1/hours:batch"])
@pytest.mark.parametrize("role", ["unit_operator", "team_leader"])
def test_hours_are_not_entered_at_a_foreign_place_when_the_check_forgets_the_reach(
    world: World, monkeypatch: pytest.MonkeyPatch, role: str, path: str
) -> None:
    everywhere: Any = lambda activity, *_: activity  # noqa: E731
    monkeypatch.setattr(hours, "_reached", everywhere)
    who = world.actors[role][0]
    before = world.effects("volunteers")
    foreign, own = (world.hours(place, world.there.people[1]) for place in (world.there, world.here))
    ask = [Ask(path, one if path == "/v1/hours" else {"items": [one]}) for one in (foreign, own)]
    with_key = Ask(path, ask[0].json, headers={"Idempotency-Key": uuid4().hex})
    for one in (ask[0], with_key):
        assert world.ask(who, "volunteers", "POST", one).status_code == 500
    assert world.effects("volunteers") == before
    answer = world.ask(who, "volunteers", "POST", ask[1])
    entered = answer.json if path == "/v1/hours" else (answer.json or {})["items"][0].get("entry")
    assert (entered or {}).get("unit_code", (entered or {}).get("id")), answer.text


def test_which_spans_overlap_is_still_asked_by_an_index(world: World) -> None:
    text = (
        "EXPLAIN SELECT 1 FROM service_spans"
        " WHERE volunteer_id = gen_random_uuid() AND span && tstzrange('2026-01-01', '2026-01-02')"
    )
    with db_of(world, "volunteers").transaction() as session:
        session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = " ".join(session.scalars(sa.text(text)))
    assert "Index Cond" in plan
    assert "&&" in plan.partition("Index Cond:")[2].partition("Filter")[0]


def test_after_a_wide_look_the_rest_is_narrow_again_even_when_it_was_refused(world: World) -> None:
    foreign = sa.text(rows_of(world.there, "volunteers"))
    with db_of(world, "volunteers").transaction() as session:
        narrow(session, accesses(world)["own"])
        assert session.scalar(foreign) == 0
        with wide(session):
            assert session.scalar(foreign)
            with wide(session):
                assert session.scalar(foreign)
        assert session.scalar(foreign) == 0
        with pytest.raises(LookupError), wide(session):
            raise LookupError
        assert session.scalar(foreign) == 0
    with db_of(world, "volunteers").transaction() as session:
        assert session.scalar(foreign), "the next transaction of the connection begins as the system again"


# --- The role ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_every_table_has_a_policy_or_stands_in_the_list_of_those_that_need_none(world: World, service: str) -> None:
    with db_of(world, service).as_owner() as connection:
        found = connection.execute(
            sa.text(
                "SELECT relname, relrowsecurity, EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid) AS guarded"
                " FROM pg_class AS c WHERE relnamespace = CAST(current_schema() AS regnamespace)"
                " AND relkind IN ('r', 'p') AND NOT relispartition"
            )
        ).all()
    assert {row.relname for row in found if not (row.relrowsecurity and row.guarded)} - OPEN[service] == set()
    assert {row.relname for row in found if row.relrowsecurity} & OPEN[service] == set()


@pytest.mark.parametrize("service", SERVICES)
def test_the_role_owns_nothing_and_stands_above_no_policy(world: World, service: str) -> None:
    with db_of(world, service).transaction() as session:
        [role] = rows(
            session.execute(
                sa.text(
                    "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb,"
                    " (SELECT count(*) FROM pg_class WHERE relowner = r.oid) AS tables,"
                    " (SELECT count(*) FROM pg_proc WHERE proowner = r.oid) AS functions"
                    " FROM pg_roles AS r WHERE rolname = current_user"
                )
            )
        )
    assert role.pop("rolname") == role_of(service)
    assert not any(role.values()), role


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET reason = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "UPDATE audit_head SET seq = 0",
        "DELETE FROM alembic_version",
        "ALTER TABLE outbox DISABLE TRIGGER ALL",
        "ALTER TABLE audit_log DISABLE TRIGGER ALL",
        "DROP TABLE outbox",
        "CREATE TABLE mine (id int)",
        "CREATE FUNCTION sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'",
        "SET LOCAL session_replication_role = replica",
        "SELECT make_partition('audit_log', 'audit_log_2001_01', gen_random_uuid(), gen_random_uuid())",
        "SELECT make_partition('inbox', 'inbox_2001_01; DROP TABLE jobs', gen_random_uuid(), gen_random_uuid())",
        "SELECT drop_partition('inbox', 'inbox_rest')",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY jobs TO PROGRAM 'true'",
    ],
)
def test_the_role_is_refused_what_no_service_needs(world: World, service: str, statement: str) -> None:
    with pytest.raises((ProgrammingError, IntegrityError, sa.exc.DataError)), db_of(world, service).transaction() as s:
        s.execute(sa.text(statement))


def test_a_partition_in_use_is_not_dropped(world: World) -> None:
    db = db_of(world, "notices")
    with db.transaction() as session:
        name = session.scalar(
            sa.text(
                "SELECT max(relname) FROM pg_class JOIN pg_inherits ON inhrelid = oid"
                " WHERE inhparent = CAST('inbox' AS regclass) AND relname ~ '[0-9]$'"
            )
        )
    with pytest.raises(sa.exc.DBAPIError, match="in use"), db.transaction() as session:
        session.execute(sa.text("SELECT drop_partition('inbox', :name)"), {"name": name})


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_reads_the_tables_of_another(world: World, service: str) -> None:
    for other in SERVICES:
        if other == service:
            continue
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            db_of(world, service).transaction() as session,
        ):
            session.execute(sa.text(f"SELECT count(*) FROM {other}.outbox"))  # noqa: S608  (names from here)


def test_a_head_of_ones_own_making_does_not_deceive_the_chain(world: World) -> None:
    """A temporary table of the same name comes first in what a careless function looks through."""
    before = "SELECT seq FROM volunteers.audit_head"
    with db_of(world, "volunteers").transaction() as session:
        number = session.scalar(sa.text(before)) or 0
        session.execute(sa.text("CREATE TEMPORARY TABLE audit_head (only_one bool, seq bigint, hash bytea)"))
        session.execute(sa.text("INSERT INTO pg_temp.audit_head VALUES (true, 7000, 'x')"))
        session.execute(
            sa.text(
                "INSERT INTO volunteers.audit_log (seq, at, role, action, object_kind, object_id, outcome, hash)"
                " VALUES (0, now(), 'system', 'test.noted', 'test', 'x', 'done', '')"
            )
        )
        assert session.scalar(sa.text(before)) == number + 1
        session.rollback()


def test_the_chain_of_the_audit_log_runs_on_no_table_of_somebodys_own(world: World) -> None:
    trigger = "CREATE TRIGGER forge BEFORE INSERT ON forged FOR EACH ROW EXECUTE FUNCTION volunteers.audit_chain()"
    with db_of(world, "volunteers").transaction() as session:
        session.execute(sa.text("CREATE TEMPORARY TABLE forged (LIKE audit_log)"))
        with pytest.raises(ProgrammingError, match="permission denied for function"):
            session.execute(sa.text(trigger))
        session.rollback()


@pytest.mark.usefixtures("forgotten")
def test_who_is_foreign_is_not_unmasked_when_the_query_forgets_the_reach(world: World) -> None:
    ask = Ask(f"/v1/volunteers/{world.there.volunteer}:unmask", {"fields": ["name"], "reason": "核对报名表上的姓名"})
    answer = world.ask(world.operators[world.here.unit], "volunteers", "POST", ask)
    assert (answer.status_code, (answer.json or {})["code"]) == (404, "volunteer.not_found")


@pytest.mark.parametrize(
    ("role", "path", "field"),
    [
        ("unit_operator", "/v1/volunteers/{volunteer}", "minutes_total"),
        ("team_leader", "/v1/volunteers/{volunteer}", "minutes_total"),
        ("volunteer", "/v1/teams/{team}", "members"),
        ("guardian", "/v1/teams/{team}", "members"),
        ("unit_operator", "/v1/statistics?group_by=volunteer&unit={unit}", "items"),
    ],
)
def test_the_lock_changes_no_figure_that_may_be_seen(world: World, role: str, path: str, field: str) -> None:
    """Hours served elsewhere, and people of elsewhere who served here, count for whoever may see the sum."""
    guest, here = world.there.people[1], world.here
    world.make("volunteers", "/v1/hours", world.hours(world.there, here.people[0]))
    world.make("volunteers", "/v1/hours", world.hours(here, guest))
    service: Any = world.services["volunteers"]
    for one in recorded(service):
        if one.type.startswith("volunteers.hours_"):
            deliver(service, "keep_statistics", [delivery_of(one.data, event_id=one.id)])
    ask = Ask(path.format(volunteer=here.volunteer, team=here.team, unit=here.unit))
    seen_by_role = (world.ask(world.actors[role][0], "volunteers", "GET", ask).json or {})[field]
    assert seen_by_role == (world.ask(world.actors["clerk"][0], "volunteers", "GET", ask).json or {})[field]
    assert seen_by_role


def test_a_connection_that_says_nothing_sees_nobody(world: World) -> None:
    url = db_of(world, "volunteers").url.replace("+psycopg", "")
    options = f"-crole={role_of('volunteers')} -csearch_path=volunteers"
    with psycopg.connect(url, options=options) as connection:
        for table in OF_UNIT:
            [count] = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (None,)  # type: ignore[arg-type]  # noqa: S608
            assert count == 0, table


def test_actors_cannot_smuggle_settings_through_their_names(world: World) -> None:
    """Units and teams are bound as values: no quote, comma or brace in them widens what is reached."""
    for text in ("XX-1', true), set_config('xinhuo.reach', 'all", "XX-1,XX-2", "{XX-1,XX-2}", "*", "%", "all"):
        who = Actor(world.operators["XX-1"].subject, "unit_operator", unit=text, team=text)
        for reach in (Reach.OWN, Reach.TEAM):
            assert seen(world, "volunteers", Access(who, _RIGHT, reach), rows_of(world.there, "volunteers")) == 0

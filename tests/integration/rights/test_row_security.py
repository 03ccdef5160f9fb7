"""The second lock: what a query forgets to leave out, the database does not show and does not let be changed."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, ProgrammingError

from services.notices import reach as reach_of_notices
from services.volunteers import reach as reach_of_volunteers
from tests.support.services import deliver, delivery_of, recorded
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.db import Database, rows
from xinhuo.chassis.identity import reached
from xinhuo.chassis.identity.actor import Access, Actor, Reach
from xinhuo.chassis.roles import role_of
from xinhuo.chassis.row_security import narrow, wide

from .world import Ask, Place, World, actor

_CHASSIS = {
    "alembic_version", "audit_head", "audit_log", "dead_letter_actions", "dead_letters", "idempotency_keys", "inbox",
    "jobs", "outbox", "parked_events", "reconciliations", "retention_reports",
}  # fmt: skip
#: Tables whose rows belong to no unit and no person, or are public as they are. Every other table has a policy.
OPEN = {
    "notices": _CHASSIS,
    "volunteers": _CHASSIS
    | {
        "known_units",
        "known_notices",
        "activity_counters",
        "statistics_cells",
        # Which spans overlap is asked with each record, by an index that PostgreSQL does not use behind a policy, as
        # `&&` is not leakproof. No answer is made of it.
        "service_spans",
    },
    "awards": _CHASSIS | {"erased_persons"},
    "notify": _CHASSIS | {"forgotten_persons"},
    # Signing in looks at accounts before it is known who asks.
    "portal": _CHASSIS
    | {"accounts", "links", "login_failures", "sessions", "clients", "client_keys", "signing_keys", "oidc_states"},
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
    ],
)
def test_what_is_foreign_is_not_changed_whatever_the_statement(world: World, statement: str) -> None:
    text = statement.format(here=world.here.volunteer, there=world.there.volunteer)
    with db_of(world, "volunteers").transaction() as session:
        narrow(session, accesses(world)["own"])
        try:
            changed = session.execute(sa.text(text)).all()
        except ProgrammingError as error:
            assert "row-level security" in str(error)  # noqa: PT017  (either is right)
            changed = []
        session.rollback()
    assert changed == []


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

"""What is due is removed and reported, to the day; what is not, or what a law obliges to keep, stays."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from threading import Thread
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from services.volunteers.commands import consents, people, retention
from services.volunteers.service import Volunteers
from tests.support.hours import id_number, know_units
from tests.support.installation import called
from tests.support.services import KEYS, fetch, make_service, recorded
from tests.support.waiting import wait_for
from xinhuo.chassis import audit, partitions
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.db import Database, database_now
from xinhuo.chassis.jobs import run_if_due
from xinhuo.chassis.retention.rules import WORDS
from xinhuo.chassis.retention.work import OF_EVERY_SERVICE
from xinhuo.chassis.service import Service
from xinhuo.cli.build import service_class

ZONE = ZoneInfo("Asia/Shanghai")
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
NAMES = list(SERVICES)
_TABLES = """
    SELECT relname AS name FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition
        AND relnamespace = CAST(current_schema() AS regnamespace)
"""


@pytest.fixture(scope="module")
def services(database: str) -> Iterator[dict[str, Service]]:
    made = {name: make_service(service_class(name), database) for name in NAMES}
    yield made
    for service in made.values():
        service.runtime.db.close()


@pytest.fixture
def office(services: dict[str, Service]) -> Volunteers:
    found = services["volunteers"]
    assert isinstance(found, Volunteers)
    know_units(found, "U1")
    return found


def execute(service: Service, statement: str, **parameters: Any) -> None:
    with service.runtime.db.as_owner() as connection:
        connection.execute(sa.text(statement), parameters)


def remove(service: Service) -> None:
    """Do what the job of the night does."""
    with service.runtime.db.transaction() as session:
        service.remove_what_is_due(session)


def now_of(service: Service) -> datetime:
    with service.runtime.db.transaction() as session:
        return database_now(session)


def due(service: Service) -> dict[str, int | None]:
    with service.runtime.db.transaction() as session:
        return {line.name: count for line, count in service.due(session)}


def lines(service: Service) -> dict[str, Any]:
    with service.runtime.db.transaction() as session:
        return {line.name: line for line in service.retention_lines(session)}


def removed(service: Service, name: str) -> int:
    """Return how many rows the reports say went by a line."""
    table, _, rule = name.partition("/")
    counted = "SELECT coalesce(sum(removed), 0) AS n FROM retention_reports WHERE (table_name, rule) = (:table, :rule)"
    return int(fetch(service, counted, table=table, rule=rule)[0]["n"])


# --- The file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_table_has_a_line_and_every_line_a_table(services: dict[str, Service], name: str) -> None:
    service = services[name]
    tables = {row["name"] for row in fetch(service, _TABLES)}
    said = {line.table for line in lines(service).values()}
    assert tables - said == set(), "services/retention.yaml has no line for these tables"
    assert said - tables == set(), "services/retention.yaml names tables that are not there"


def test_a_table_without_a_line_would_be_found(services: dict[str, Service]) -> None:
    service = services["awards"]
    execute(service, "CREATE TABLE forgotten (id uuid)")
    try:
        with pytest.raises(AssertionError, match="has no line"):
            test_every_table_has_a_line_and_every_line_a_table(services, "awards")
    finally:
        execute(service, "DROP TABLE forgotten")


@pytest.mark.parametrize("name", NAMES)
def test_every_period_has_a_way_to_be_kept_and_every_way_a_period(services: dict[str, Service], name: str) -> None:
    service = services[name]
    with_period = {key for key, line in lines(service).items() if line.period is not None}
    ways = {f"{way.table}/{way.rule}" if way.rule else way.table for way in (*OF_EVERY_SERVICE, *service.removals)}
    assert ways == with_period
    assert {line.keep for line in lines(service).values() if line.period is None} <= set(WORDS)


# --- One day on both sides ------------------------------------------------------------------------------

#: Of each line with a period: what makes a row whose time counts from ``:at``, and the column that tells rows apart.
ROWS = {
    ("volunteers", "idempotency_keys"): (
        "INSERT INTO idempotency_keys (key, route, request_hash, status, answer, headers, created_at)"
        " VALUES (CAST(:id AS text), 'x', '', 200, 'x', '{}', :at)", "key"),
    ("awards", "retention_reports"): (
        "INSERT INTO retention_reports (day, table_name, rule, clause, removed, removed_at)"
        " VALUES (CAST(:at AS date), CAST(:id AS text), '', 'x', 1, :at)", "table_name"),
    ("portal", "links"): (
        "INSERT INTO links (id, account_id, purpose, secret_hash, expires_at, made_at)"
        " SELECT :id, id, 'reset', sha256(CAST(:id AS text)::bytea), :at, now() FROM accounts LIMIT 1", "id"),
    ("portal", "sessions"): (
        "INSERT INTO sessions (id, account_id, nonce, generation, created_at, used_at, expires_at, ended_at, reason)"
        " SELECT :id, id, sha256(CAST(:id AS text)::bytea), 1, CAST(:at AS timestamptz) - interval '1 day', :at,"
        " CAST(:at AS timestamptz) + interval '30 days', :at, 'signed_out' FROM accounts LIMIT 1", "id"),
    ("portal", "login_failures"): (
        "INSERT INTO login_failures (login_index, failures, failed_at)"
        " VALUES (sha256(CAST(:id AS text)::bytea), 1, :at)", "login_index"),
    ("portal", "oidc_states"): (
        "INSERT INTO oidc_states (state_hash, browser_hash, nonce_hash, verifier, expires_at)"
        " VALUES (sha256(CAST(:id AS text)::bytea), sha256('b'), sha256('n'), 'a1.x', :at)", "state_hash"),
    ("volunteers", "erasure_requests"): (
        "INSERT INTO erasure_requests (id, volunteer_id, asked_by, asked_as, asked_at, decided_by, decided_at, granted,"
        " reason) VALUES (:id, :person, gen_random_uuid(), 'volunteer', CAST(:at AS timestamptz) - interval '1 day',"
        " gen_random_uuid(), :at, false, '依法保存')", "id"),
    ("volunteers", "unmask_approvals"): (
        "INSERT INTO unmask_approvals (id, volunteer_id, asked_by, approved_by, reason, approved_at, expires_at)"
        " VALUES (:id, :person, gen_random_uuid(), gen_random_uuid(), '核对名册',"
        " CAST(:at AS timestamptz) - interval '1 day', :at)", "id"),
    ("volunteers", "imports/file"): (
        "INSERT INTO imports (id, state, file_hash, file_size, file_name, workbook, preview, outcomes, rows, valid,"
        " invalid, existing, problems, counts, checked_at, expires_at)"
        " VALUES (:id, 'checked', sha256(CAST(:id AS text)::bytea), 1, 'a1.x', 'w', 'p', 'o', 1, 1, 0, 0, 0, '{}', :at,"
        " CAST(:at AS timestamptz) + interval '30 days')", "id"),
    ("volunteers", "volunteers/never_consented"): ("", ""),
    ("volunteers", "volunteers/consent_ended"): ("", ""),
}  # fmt: skip


def test_each_line_with_a_period_is_tried_here(services: dict[str, Service]) -> None:
    tried = {name for _, name in ROWS}
    assert tried == {key for one in services.values() for key, line in lines(one).items() if line.period is not None}


@pytest.mark.parametrize(("name", "line"), [key for key, (made, _) in ROWS.items() if made])
def test_a_row_a_day_too_old_goes_and_one_a_day_younger_stays(
    services: dict[str, Service], office: Volunteers, name: str, line: str
) -> None:
    service, (statement, column) = services[name], ROWS[name, line]
    if name == "portal":
        _somebody(service)
    now = now_of(service)
    limit = lines(service)[line].period.before(now, ZONE)
    old, young = uuid4(), uuid4()
    person = _registered(office, date(1980, 1, 1)) if "person" in statement else None
    for key, at in ((old, limit - DAY), (young, limit + DAY)):
        given = {"id": key, "at": at} | ({"person": person} if person else {})
        execute(service, statement, **given)
    before, counted = due(service)[line], removed(service, line)
    assert before
    table = line.partition("/")[0]
    gone = "workbook IS NULL AND preview IS NULL AND outcomes IS NULL AND file_name IS NULL"
    left = f"SELECT {column} AS key FROM {table} WHERE {'NOT (' + gone + ')' if '/' in line else 'true'}"  # noqa: S608

    remove(service)

    kept = {_plain(row["key"]) for row in fetch(service, left)}
    names = {key: _name_of(service, column, key) for key in (old, young)}
    assert (names[old] in kept, names[young] in kept) == (False, True)
    assert due(service)[line] == 0
    assert removed(service, line) - counted == before
    [noted] = fetch(
        service,
        "SELECT role, reason FROM audit_log WHERE action = 'retention.removed' AND object_id = :line"
        " ORDER BY seq DESC LIMIT 1",
        line=line,
    )
    assert (noted["role"], noted["reason"]) == ("system", lines(service)[line].clause)


def _plain(value: Any) -> str:
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value)


def _name_of(service: Service, column: str, key: UUID) -> str:
    if column in ("login_index", "state_hash"):
        [row] = fetch(service, "SELECT sha256(CAST(:key AS text)::bytea) AS hash", key=key)
        return _plain(row["hash"])
    return str(key)


def _somebody(portal: Service) -> None:
    execute(
        portal,
        "INSERT INTO accounts (id, login, role, wards, state, revision, created_at, changed_at)"
        " VALUES (gen_random_uuid(), 'lin.anhe', 'clerk', '{}', 'invited', 1, now(), now()) ON CONFLICT DO NOTHING",
    )


# --- Personal data --------------------------------------------------------------------------------------

_GUARDIAN = {"guardian_name": "测试员乙", "guardian_phone": "14200010002", "relation": "mother"}


def _registered(office: Volunteers, born: date, *, consented: bool = False) -> UUID:
    form: dict[str, Any] = {
        "name": "测试员甲", "id_type": "01", "id_number": id_number(born), "phone": "14200010001", "unit_code": "U1",
    }  # fmt: skip
    if consented:
        form["guardian_consent"] = {**_GUARDIAN, "consented_on": date(2020, 1, 1)}
    with office.runtime.db.transaction() as session:
        return people.register_volunteer(session, KEYS, form, now=datetime.now(UTC))


def _child(office: Volunteers, withdrawn: datetime | None) -> UUID:
    """Return a child whose guardian consented and took the consent back at some time."""
    child = _registered(office, date(datetime.now(UTC).year - 9, 1, 1), consented=True)
    _withdraw(office, child, withdrawn)
    return child


def _withdraw(office: Volunteers, person: UUID, at: datetime | None) -> None:
    if at is not None:
        [consent] = fetch(
            office, "SELECT id FROM consent_records WHERE volunteer_id = :id AND withdrawn_at IS NULL", id=person
        )
        with office.runtime.db.transaction() as session:
            consents.withdraw_consent(session, consent["id"], now=at)


def _erased(office: Volunteers, person: UUID) -> bool:
    """Tell whether nothing of a person can be read any more, by any way, or all of it still can."""
    [row] = fetch(
        office,
        "SELECT state, num_nonnulls(name, id_number, phone, name_index, id_number_index) AS held,"
        " (SELECT count(*) FROM person_keys WHERE volunteer_id = :id) AS keys,"
        " (SELECT count(guardian) FROM consent_records WHERE volunteer_id = :id) AS guardians"
        " FROM volunteers WHERE id = :id",
        id=person,
    )
    gone = (row["state"], row["held"], row["keys"], row["guardians"]) == ("erased", 0, 0, 0)
    assert gone or (row["held"], row["keys"]) == (5, 1), row
    return gone


def test_a_childs_data_go_a_year_after_the_end_of_the_year_in_which_the_consent_ended(office: Volunteers) -> None:
    # A year and this one are kept: what ended on the last day of the year before the last goes, a day later stays.
    first = datetime(now_of(office).astimezone(ZONE).year - 1, 1, 1, tzinfo=ZONE)
    old, young = _child(office, first - MINUTE), _child(office, first)
    day_before, day_after = _child(office, first - DAY), _child(office, first + DAY)
    living = _child(office, None)
    again = _child(office, first - DAY)
    with office.runtime.db.transaction() as session:
        given = {"purpose": "registration", "given_by": "guardian", "guardian": _GUARDIAN}
        consents.record_consent(session, KEYS, again, given, now=datetime.now(UTC))
    adult = _registered(office, date(1980, 1, 1))
    counted = removed(office, "volunteers/consent_ended")
    assert due(office)["volunteers/consent_ended"] == 2

    remove(office)

    persons = (old, day_before, young, day_after, living, again, adult)
    assert [_erased(office, person) for person in persons] == [True, True, False, False, False, False, False]
    assert removed(office, "volunteers/consent_ended") - counted == 2
    told = {one.data.volunteer_id for one in recorded(office, "volunteers.person_erased.v1")}  # type: ignore[attr-defined]
    assert {old, day_before} <= told
    assert not told & {young, day_after, living, again, adult}
    [noted] = fetch(
        office, "SELECT reason FROM audit_log WHERE action = 'volunteer.erased' AND object_id = :id", id=str(old)
    )
    assert noted["reason"] == "retention: volunteers/consent_ended"


def test_a_child_to_whom_no_guardian_consented_is_forgotten_after_ninety_days(office: Volunteers) -> None:
    born = date(datetime.now(UTC).year - 9, 1, 1)
    old, young = _registered(office, born), _registered(office, born)
    gone = _registered(office, born)
    adult, corrected = _registered(office, date(1980, 1, 1)), _registered(office, date(1981, 1, 1))
    now = now_of(office)
    for person, age in ((old, 91), (young, 89), (gone, 91)):
        execute(office, "UPDATE volunteers SET waits_since = :at WHERE id = :id", at=now - age * DAY, id=person)
    for person in (adult, corrected):
        execute(office, "UPDATE volunteers SET registered_at = :at WHERE id = :id", at=now - 2000 * DAY, id=person)
    # A child that left without ever a consent, and an adult who is found to be a child today.
    execute(office, "UPDATE volunteers SET state = 'left' WHERE id = :id", id=gone)
    execute(office, "UPDATE volunteers SET state = 'pending_guardian' WHERE id = :id", id=corrected)

    remove(office)

    found = [_erased(office, person) for person in (old, young, gone, adult, corrected)]
    assert found == [True, False, True, False, False]


def test_a_child_whose_guardian_consented_while_the_job_looked_stays(office: Volunteers) -> None:
    child = _registered(office, date(datetime.now(UTC).year - 9, 1, 1))
    execute(
        office, "UPDATE volunteers SET waits_since = :at WHERE id = :id", at=now_of(office) - 91 * DAY, id=child
    )  # fmt: skip
    [removal] = (one for one in retention.REMOVALS if one.rule == "never_consented")
    held_up = replace(removal, due=f"(SELECT pg_advisory_xact_lock_shared(77) IS NOT NULL) AND {removal.due}")
    erased: list[int] = []

    def look() -> None:
        with office.runtime.db.transaction() as session:
            limit = now_of(office) - 90 * DAY
            erased.append(held_up.take(session, limit, ZoneInfo("Asia/Shanghai"), "test"))

    looking = Thread(target=look)
    with office.runtime.db.as_owner() as other:
        other.execute(sa.text("SELECT pg_advisory_xact_lock(77)"))
        looking.start()
        waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 AND NOT granted"
        wait_for(lambda: bool(fetch(office, waiting)), 20, "the job to look")
        other.execute(
            sa.text(
                "INSERT INTO consent_records (id, volunteer_id, purpose, text_version, given_by, guardian, how,"
                " given_on, recorded_at) VALUES (gen_random_uuid(), :id, 'registration', '1', 'guardian', 'p1.x',"
                " 'paper', current_date, now())"
            ),
            {"id": child},
        )
    looking.join(20)

    assert erased == [0]
    assert not _erased(office, child)


def test_what_a_law_obliges_to_keep_stays_however_old_it_is(services: dict[str, Service], office: Volunteers) -> None:
    person = _child(office, datetime(2001, 1, 1, tzinfo=UTC))
    with office.runtime.db.transaction() as session:
        audit.record(session, "volunteer.noted", "volunteer", person)
    kept = ("audit_log", "consent_records", "volunteers")
    before = {table: fetch(office, f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in kept}  # noqa: S608

    remove(office)

    assert _erased(office, person)
    for table, count in before.items():
        assert fetch(office, f"SELECT count(*) AS n FROM {table}")[0]["n"] >= count  # noqa: S608
    with office.runtime.db.engine.connect() as connection:
        assert audit.verify(connection).broken is None


# --- The work itself ------------------------------------------------------------------------------------


def test_more_than_one_batch_goes_in_transactions_of_their_own_and_none_waits_for_a_row_that_is_held(
    office: Volunteers,
) -> None:
    execute(office, "DELETE FROM idempotency_keys")
    execute(
        office,
        "INSERT INTO idempotency_keys (key, route, request_hash, status, answer, headers, created_at)"
        " SELECT n::text, 'x', '', 200, 'x', '{}', now() - interval '9 days' FROM generate_series(1, 2500) AS n",
    )
    before = fetch(office, "SELECT count(*) AS n FROM audit_log WHERE object_id = 'idempotency_keys'")[0]["n"]
    other = Database(office.runtime.db.url, "volunteers")
    with other.transaction() as held:
        held.execute(sa.text("SELECT FROM idempotency_keys WHERE key = '7' FOR UPDATE"))
        remove(office)
    other.close()
    assert [row["key"] for row in fetch(office, "SELECT key FROM idempotency_keys")] == ["7"]
    after = fetch(office, "SELECT count(*) AS n FROM audit_log WHERE object_id = 'idempotency_keys'")[0]["n"]
    assert after - before == 3
    remove(office)
    assert fetch(office, "SELECT key FROM idempotency_keys") == []


def test_of_all_processes_one_does_it_once_a_night(office: Volunteers) -> None:
    work = office.remove_what_is_due
    ran = [run_if_due(office.runtime.db, "remove_what_is_due", DAY, work) for _ in range(2)]
    assert ran == [True, False]


@pytest.mark.parametrize(("keep", "gone"), [(0, None), (1, 2)])
def test_months_of_events_that_are_dropped_are_counted_and_reported_too(
    services: dict[str, Service], keep: int, gone: int | None
) -> None:
    awards = services["awards"]
    now = now_of(awards)
    kept, dropped = partitions.outbox_begins(now.date(), 1), partitions.outbox_begins(now.date(), 2)
    with awards.runtime.db.transaction() as session:
        for month in (kept, dropped):
            partitions.ensure(session, partitions.OUTBOX, month, months_ahead=0)
    for month, number in ((dropped, 1), (dropped, 2), (kept, 1)):
        execute(
            awards,
            "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, public, published_at)"
            " VALUES (:id, 'x', '', 't', '', false, now())",
            id=UUID(int=partitions.first_id_of(month).int + number),
        )
    before = removed(awards, "outbox")
    settings = awards.runtime.settings
    awards.runtime.settings = replace(settings, keep_events_months=keep)
    try:
        assert due(awards)["outbox"] == gone
        for _ in range(2):  # one takes the month out of the table, the next drops it
            with awards.runtime.db.transaction() as session:
                awards.drop_old_partitions(session)
    finally:
        awards.runtime.settings = settings
    assert removed(awards, "outbox") - before == (gone or 0)
    left = fetch(awards, "SELECT id FROM outbox WHERE type = 't'")
    assert len(left) == 3 - (gone or 0)
    execute(awards, "DELETE FROM outbox WHERE type = 't'")


# --- The commands ---------------------------------------------------------------------------------------


def test_the_command_shows_what_would_go_without_removing_it_and_afterwards_what_went(
    office: Volunteers, database: str
) -> None:
    settings = {"DATABASE_URL": database}
    statement, _ = ROWS["volunteers", "idempotency_keys"]
    execute(office, "DELETE FROM idempotency_keys")
    execute(office, statement, id=uuid4(), at=now_of(office) - 3 * DAY)
    shown = called("retention", "due", "volunteers", settings=settings)
    assert shown.code == 0, shown.stderr
    assert "volunteers.idempotency_keys   2 days   到期 / due: 1" in shown.stdout
    assert "本系统默认值；对调用方承诺至少一天" in shown.stdout
    assert "the ledger of hours, append-only" in shown.stdout
    [of_service] = called("retention", "due", "volunteers", "--json", settings=settings).figures["services"]
    assert {row["table"]: row["due"] for row in of_service["tables"]}["idempotency_keys"] == 1
    assert len(fetch(office, "SELECT FROM idempotency_keys")) == 1

    remove(office)

    today = str(now_of(office).astimezone(ZONE).date())
    told = called("retention", "report", "volunteers", "--since", today, settings=settings)
    assert told.code == 0, told.stderr
    assert f"{today}   volunteers.idempotency_keys" in told.stdout
    assert "对调用方承诺至少一天" in told.stdout
    later = str(now_of(office).date() + 2 * DAY)
    nothing = called("retention", "report", "volunteers", "--since", later, settings=settings)
    assert nothing.stdout == "没有到期删除的记录 / nothing was removed\n"

"""The audit log keeps who did what, in a chain that shows every change made to it."""

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner, Result

from services.notices.service import Notices
from tests.support.services import fetch, make_service
from xinhuo.chassis import audit, caller, trace
from xinhuo.chassis.identity.actor import Access, Actor, Reach, grant
from xinhuo.chassis.service import Service
from xinhuo.cli.main import app

CLERK = Access(Actor(UUID(int=1), "clerk", unit="S01"), "units:write", Reach.ALL)


@pytest.fixture
def service(database: str) -> Iterator[Notices]:
    made = make_service(Notices, database)
    by_hand(made, "DELETE FROM audit_log", "UPDATE audit_head SET seq = 0, hash = decode(repeat('00', 32), 'hex')")
    yield made
    made.runtime.db.close()


def by_hand(service: Service, *statements: str) -> None:
    """Do what somebody would who may do everything to the database, its triggers off."""
    with service.runtime.db.as_owner() as session:
        session.execute(sa.text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            session.execute(sa.text(statement))


def written(service: Service, count: int, **fields: Any) -> None:
    with caller.at("203.0.113.7"), service.runtime.db.transaction() as session:
        grant(session, CLERK)
        for number in range(count):
            audit.record(session, "unit.changed", "unit", f"S{number}", **fields)


def verified(service: Service) -> audit.Verified:
    with service.runtime.db.engine.connect() as connection:
        return audit.verify(connection)


def test_a_row_says_who_did_what_to_which_object_and_why(service: Notices) -> None:
    with trace.traced(None), service.runtime.db.transaction() as session:
        grant(session, CLERK)
        audit.record(
            session, "unit.changed", "unit", "S1", before={"a": 1}, after={"a": 2}, reason="更名：“一中”→ 'x';\n--"
        )
        traced = trace.trace_id()
    [row] = fetch(service, "SELECT * FROM audit_log")
    assert (row["subject"], row["role"], row["unit"], row["action"]) == (UUID(int=1), "clerk", "S01", "unit.changed")
    assert (row["object_kind"], row["object_id"], row["outcome"]) == ("unit", "S1", "done")
    assert (row["reason"], row["trace_id"]) == ("更名：“一中”→ 'x';\n--", traced)
    assert bytes(row["before_hash"]) == audit.state_hash({"a": 1}) != bytes(row["after_hash"])
    assert verified(service) == audit.Verified(1, bytes(row["hash"]), None)


def test_rows_of_before_addresses_were_kept_fit_the_chain_with_those_of_today(service: Notices) -> None:
    for address in ("", "203.0.113.7", "", "2001:db8::/64"):
        with caller.at(address), service.runtime.db.transaction() as session:
            audit.record(session, "unit.changed", "unit", "S1")
    found = [row["address"] for row in fetch(service, "SELECT address FROM audit_log ORDER BY seq")]
    assert found == [None, "203.0.113.7", None, "2001:db8::/64"]
    assert verified(service).broken is None


def test_what_is_rolled_back_leaves_no_row_and_no_gap(service: Notices) -> None:
    written(service, 1)
    with pytest.raises(DBAPIError), service.runtime.db.transaction() as session:
        audit.record(session, "unit.changed", "unit", "S1", outcome="neither")
    with contextlib.suppress(ZeroDivisionError), service.runtime.db.transaction() as session:
        audit.record(session, "unit.changed", "unit", "S1")
        raise ZeroDivisionError
    written(service, 1)
    assert [row["seq"] for row in fetch(service, "SELECT seq FROM audit_log ORDER BY seq")] == [1, 2]
    assert verified(service).broken is None


def test_many_at_the_same_time_make_one_chain(service: Notices) -> None:
    threads = [threading.Thread(target=written, args=(service, 20)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    found = verified(service)
    assert (found.rows, found.broken) == (160, None)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_log SET reason = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"],
)
def test_a_row_can_be_neither_changed_nor_removed(service: Notices, statement: str) -> None:
    written(service, 2)
    with pytest.raises(DBAPIError, match="append-only"), service.runtime.db.as_owner() as owner:
        owner.execute(sa.text(statement))
    assert verified(service).rows == 2


def test_nobody_chooses_number_time_or_hash_of_a_row(service: Notices) -> None:
    with service.runtime.db.transaction() as session:
        session.execute(
            sa.text(
                "INSERT INTO audit_log (seq, at, role, action, object_kind, object_id, outcome, hash)"
                " VALUES (77, '2001-01-01', 'clerk', 'a.b', 'c', 'd', 'done', '\\x00')"
            )
        )
    [row] = fetch(service, "SELECT seq, at > now() - interval '1 hour' AS new FROM audit_log")
    assert row == {"seq": 1, "new": True}
    assert verified(service).broken is None


SWAP = """
UPDATE audit_log AS mine SET object_id = other.object_id, hash = other.hash
FROM audit_log AS other WHERE (mine.seq, other.seq) IN ((3, 4), (4, 3))
"""
#: What somebody with all rights might do, and the first row at which it shows.
TAMPERED = {
    "edited": (["UPDATE audit_log SET role = 'auditor' WHERE seq = 4"], 4),
    "another address": (["UPDATE audit_log SET address = '203.0.113.9' WHERE seq = 4"], 4),
    "its address taken away": (["UPDATE audit_log SET address = NULL WHERE seq = 6"], 6),
    "edited to nothing": (["UPDATE audit_log SET reason = NULL, object_id = '' WHERE seq = 6"], 6),
    "deleted": (["DELETE FROM audit_log WHERE seq = 5"], 5),
    "deleted and the gap closed": (
        ["DELETE FROM audit_log WHERE seq = 5", "UPDATE audit_log SET seq = seq - 1 WHERE seq = 6"],
        5,
    ),
    "the first deleted": (["DELETE FROM audit_log WHERE seq = 1"], 1),
    "swapped": ([SWAP], 3),
    "the end cut off": (["DELETE FROM audit_log WHERE seq > 4"], 5),
    "all cut off": (["DELETE FROM audit_log"], 1),
    "cut off, with a head that was set back": (
        ["DELETE FROM audit_log WHERE seq > 4", "UPDATE audit_head SET seq = 4"],
        4,
    ),
    "one put in": (
        [
            "INSERT INTO audit_log SELECT 7, at, subject, role, unit, action, object_kind, object_id, outcome,"
            " before_hash, after_hash, reason, trace_id, hash, address FROM audit_log WHERE seq = 6",
            "UPDATE audit_head SET seq = 7",
        ],
        7,
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_every_way_to_tamper_is_found_at_its_first_row(service: Notices, what: str) -> None:
    written(service, 6, reason="x")
    assert verified(service).broken is None
    statements, first = TAMPERED[what]
    by_hand(service, *statements)
    broken = verified(service).broken
    assert broken is not None
    assert broken.seq == first


@pytest.mark.parametrize(
    "state", [{}, {"a": None}, {"b": 1, "a": [1, 2]}, {"id": UUID(int=1)}, {"raw": memoryview(b"\x00")}]
)
def test_a_state_has_one_hash_however_it_is_spelled(state: dict[str, Any]) -> None:
    assert audit.state_hash(state) == audit.state_hash(dict(reversed(state.items())))
    assert audit.state_hash(state) != audit.state_hash({**state, "more": 1})


def test_the_command_names_the_first_wrong_row_and_says_so_with_its_exit_code(service: Notices, database: str) -> None:
    def run(*arguments: str) -> Result:
        environment = {"DATABASE_URL": database}
        return CliRunner().invoke(app, ["audit", "verify", *arguments], env=environment, prog_name="xinhuo")

    written(service, 6, reason="x")
    sound = run("--json")
    assert sound.exit_code == 0, sound.output
    [one] = [found for found in json.loads(sound.stdout)["services"] if found["service"] == "notices"]
    assert (one["rows"], one["broken"]) == (6, None)
    assert run("notices").stdout.startswith("✓ notices")
    by_hand(service, "DELETE FROM audit_log WHERE seq = 5")
    broken = run("notices")
    assert broken.exit_code == 1
    assert "第 5 行缺失" in broken.stdout
    assert json.loads(run("notices", "--json").stdout)["services"][0]["broken"]["seq"] == 5

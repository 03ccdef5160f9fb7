"""The tables keep to two persons themselves, whatever is sent with the application's own role of the database."""

from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from tests.support.services import fetch
from xinhuo.chassis.identity.actor import Actor

from .scene import Scene

_APPROVE = (
    "UPDATE hour_claims SET state = 'approved', decided_by = {by}, decided_as = 'clerk', decided_at = now(),"
    " decided_by_person = {person}, entry_id = CAST(:entry AS uuid) WHERE id = CAST(:claim AS uuid)"
)
_REFUSE = (
    "UPDATE hour_claims SET state = 'refused', decided_by = {by}, decided_as = 'clerk', decided_at = now(),"
    " decided_by_person = {person}, reason = 'no' WHERE id = CAST(:claim AS uuid)"
)
_LEDGER = (
    "INSERT INTO ledger_entries (id, kind, volunteer_id, activity_id, team_code, unit_code, category, started_at,"
    " ended_at, served_on, minutes, source, needs_attention, recorded_at, recorded_by, approved_by)"
    " SELECT gen_random_uuid(), 'entry', volunteer_id, activity_id, team_code, unit_code, 'community', started_at,"
    " ended_at, current_date, minutes, {source}, false, now(), {recorded}, {approved}"
    " FROM hour_claims WHERE id = CAST(:claim AS uuid)"
)
_ANYBODY = "gen_random_uuid()"

#: Statements that somebody with the database might send about his own claim that waits.
ATTACKS: dict[str, tuple[str, str]] = {
    "approve his own": (_APPROVE.format(by="claimed_by", person="NULL"), "hour_claims_by_another"),
    "refuse his own": (_REFUSE.format(by="claimed_by", person="NULL"), "hour_claims_by_another"),
    "approve as his other account": (
        _APPROVE.format(by=_ANYBODY, person="claimed_by_person"), "hour_claims_by_another_person",
    ),
    "approve what he served": (_APPROVE.format(by=_ANYBODY, person="volunteer_id"), "hour_claims_by_another_person"),
    "approve as nobody": (_APPROVE.format(by="NULL", person="NULL"), "hour_claims_decided"),
    "say that it is approved": ("UPDATE hour_claims SET state = 'approved' WHERE id = CAST(:claim AS uuid)", "hour_cl"),
    "say that another claimed it": (
        "UPDATE hour_claims SET claimed_by = gen_random_uuid() WHERE id = CAST(:claim AS uuid)", "decided once",
    ),
    "say so and approve it": (
        _APPROVE.format(by="claimed_by", person="NULL").replace("SET", "SET claimed_by = gen_random_uuid(),"),
        "decided once",
    ),
    "claim more minutes": ("UPDATE hour_claims SET minutes = 1 WHERE id = CAST(:claim AS uuid)", "decided once"),
    "claim for another": (
        "UPDATE hour_claims SET volunteer_id = gen_random_uuid() WHERE id = CAST(:claim AS uuid)", "decided once",
    ),
    "write other evidence": (
        "UPDATE hour_claims SET evidence = 'p1.x' WHERE id = CAST(:claim AS uuid)", "decided once",
    ),
    "make an approved claim": (
        "INSERT INTO hour_claims SELECT (jsonb_populate_record(NULL::hour_claims, to_jsonb(c) || jsonb_build_object("
        "'id', gen_random_uuid(), 'state', 'approved', 'decided_by', gen_random_uuid(), 'decided_as', 'clerk',"
        " 'decided_at', now(), 'entry_id', CAST(:entry AS uuid)))).* FROM hour_claims AS c"
        " WHERE id = CAST(:claim AS uuid)",
        "decided once",
    ),
    "remove it": ("DELETE FROM hour_claims WHERE id = CAST(:claim AS uuid)", "decided once"),
    "remove all": ("TRUNCATE hour_claims", "decided once"),
    "claim overlapping time": (
        "INSERT INTO hour_claims SELECT (jsonb_populate_record(NULL::hour_claims, to_jsonb(c) ||"
        " jsonb_build_object('id', gen_random_uuid()))).* FROM hour_claims AS c WHERE id = CAST(:claim AS uuid)",
        "hour_claims_no_overlap",
    ),
    "enter it as recorded and approved by one": (
        _LEDGER.format(source="'claim'", recorded="claimed_by", approved="claimed_by"), "ledger_entries_by_another",
    ),
    "enter it as approved by nobody": (
        _LEDGER.format(source="'claim'", recorded="claimed_by", approved="NULL"), "ledger_entries_claim",
    ),
    "enter it as recorded by nobody": (
        _LEDGER.format(source="'claim'", recorded="NULL", approved=_ANYBODY), "ledger_entries_by_another",
    ),
    "enter it as logged, with an approver": (
        _LEDGER.format(source="'api'", recorded="claimed_by", approved=_ANYBODY), "ledger_entries_claim",
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_who_has_the_database_cannot(scene: Scene, attack: str) -> None:
    statement, why = ATTACKS[attack]
    linked = Actor(uuid4(), "team_leader", scene.world.unit_code, scene.world.team_code, volunteer=uuid4())
    claim = scene.claimed(linked)
    entry = scene.entry("2026-03-08 09:00", "2026-03-08 11:00")
    before = _state(scene)
    _refused(scene, statement, why, claim=claim["id"], entry=entry["id"])
    assert _state(scene) == before


def test_what_was_decided_stays_decided(scene: Scene) -> None:
    claim = scene.claimed(scene.me)
    scene.refuse(scene.clerk, claim)
    before = _state(scene)
    for change in (
        "state = 'claimed', decided_by = NULL, decided_as = NULL, decided_at = NULL, reason = NULL",
        "decided_by = gen_random_uuid()",
        "reason = 'another'",
        "decided_at = now()",
    ):
        with pytest.raises(IntegrityError, match="decided once"):
            scene.execute(f"UPDATE hour_claims SET {change} WHERE id = CAST(:claim AS uuid)", claim=claim["id"])  # noqa: S608
    assert _state(scene) == before
    scene.execute("UPDATE hour_claims SET evidence = NULL WHERE id = CAST(:claim AS uuid)", claim=claim["id"])
    with pytest.raises(IntegrityError, match="decided once"):
        scene.execute("UPDATE hour_claims SET evidence = 'p1.x' WHERE id = CAST(:claim AS uuid)", claim=claim["id"])


_DECIDE = (
    "UPDATE reversal_requests SET state = 'refused', decided_by = {by}, decided_as = 'clerk', decided_at = now(),"
    " decided_by_person = {person}, reason = 'no' WHERE id = CAST(:request AS uuid)"
)
ON_REVERSALS: dict[str, tuple[str, str]] = {
    "decide on his own": (_DECIDE.format(by="asked_by", person="NULL"), "reversal_requests_by_another"),
    "approve his own": (
        _DECIDE.format(by="asked_by", person="NULL")
        .replace("'refused'", "'approved'")
        .replace("reason = 'no'", "reversal_id = entry_id"),
        "reversal_requests_by_another",
    ),
    "decide as his other account": (
        _DECIDE.format(by=_ANYBODY, person="asked_by_person"), "reversal_requests_by_another_person",
    ),
    "decide as nobody": (_DECIDE.format(by="NULL", person="NULL"), "reversal_requests_decided"),
    "say that another asked": (
        "UPDATE reversal_requests SET asked_by = gen_random_uuid() WHERE id = CAST(:request AS uuid)", "decided once",
    ),
    "name another entry": (
        "UPDATE reversal_requests SET entry_id = gen_random_uuid() WHERE id = CAST(:request AS uuid)", "decided once",
    ),
    "ask twice": (
        "INSERT INTO reversal_requests SELECT (jsonb_populate_record(NULL::reversal_requests, to_jsonb(r) ||"
        " jsonb_build_object('id', gen_random_uuid()))).* FROM reversal_requests AS r"
        " WHERE id = CAST(:request AS uuid)",
        "reversal_requests_open",
    ),
    "remove it": ("DELETE FROM reversal_requests WHERE id = CAST(:request AS uuid)", "decided once"),
    "remove all": ("TRUNCATE reversal_requests", "decided once"),
    "reverse as asked and decided by one": (
        "INSERT INTO ledger_entries (id, kind, reverses, volunteer_id, activity_id, team_code, unit_code, category,"
        " started_at, ended_at, served_on, minutes, source, needs_attention, reason_code, recorded_at, recorded_by,"
        " approved_by) SELECT gen_random_uuid(), 'reversal', e.id, volunteer_id, activity_id, team_code, unit_code,"
        " category, started_at, ended_at, served_on, -minutes, source, false, 'wrong_time', now(), r.asked_by,"
        " r.asked_by FROM ledger_entries AS e JOIN reversal_requests AS r ON r.entry_id = e.id"
        " WHERE r.id = CAST(:request AS uuid)",
        "ledger_entries_by_another",
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ON_REVERSALS)
def test_who_has_the_database_cannot_decide_on_a_reversal_alone(scene: Scene, attack: str) -> None:
    statement, why = ON_REVERSALS[attack]
    who = Actor(scene.operator.subject, "unit_operator", scene.world.unit_code, volunteer=uuid4())
    answer = scene.reverse(who, scene.entry("2026-03-08 08:00", "2026-03-08 18:00"))
    request = (answer.json or {})["id"]
    before = _state(scene)
    _refused(scene, statement, why, request=request)
    assert _state(scene) == before


def _refused(scene: Scene, statement: str, why: str, **parameters: Any) -> None:
    """Send a statement with the application's role, which may lack the right, and as who owns the tables."""
    named = {name: value for name, value in parameters.items() if f":{name}" in statement}
    with pytest.raises(DBAPIError, match=f"{why}|permission denied"):
        scene.execute(statement, **named)
    with pytest.raises(IntegrityError, match=why), scene.service.runtime.db.as_owner() as connection:
        connection.execute(sa.text(statement), named)


def _state(scene: Scene) -> list[list[dict[str, Any]]]:
    one: UUID = scene.volunteer
    return [
        fetch(scene.service, "SELECT * FROM hour_claims WHERE volunteer_id = :one ORDER BY id", one=one),
        fetch(scene.service, "SELECT r.* FROM reversal_requests AS r JOIN ledger_entries AS e ON e.id = r.entry_id"
                             " WHERE e.volunteer_id = :one ORDER BY r.id", one=one),
        scene.ledger(),
    ]  # fmt: skip

"""Imports of hours from workbooks: check every row for real, enter the confirmed ones at once, undo them at once.

A check is the entry itself, rehearsed and taken back, so that the two cannot disagree. Entering and undoing are
done by a worker, each in one transaction: killed in the middle, nothing has happened, and the next run does it anew
from the stored file.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit, faultpoints, outbox
from xinhuo.chassis.db import Database, database_now
from xinhuo.chassis.identity.actor import SYSTEM, Access, Actor, Reach, access_of, grant
from xinhuo.chassis.identity.rights import reach_of
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.row_security import wide
from xinhuo.chassis.rules import DatedRule, in_force, load_rules
from xinhuo.chassis.security import Keys

from .. import domain, reach, workbooks
from ..domain import Confirm, ImportState
from ..domain.workbooks import ImportExpired
from ..models import FILE_EMPTIED
from .hours import lock_volunteers, reverse_entries
from .import_rows import SLICE, Examined, examine
from .retention import file_kept_until

SHOWN_PROBLEMS = 100
#: An import that failed so often (or whose worker was killed so often) is given up until it is confirmed again. As
#: many as a message may come back: a night of ten power cuts is not the fault of the import.
MOST_ATTEMPTS = 20
UNDO_REASON = "import_undone"
_RIGHT = "hours:import"
_RULES = Path(__file__).resolve().parents[1] / "rules"

_LOCK_FILE = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(encode(:hash, 'hex'), 0))")
_SEEN = sa.text(
    """
    SELECT id, confirmed_at FROM imports
    WHERE file_hash = :hash AND state IN ('confirmed', 'done', 'undoing')
    """
)
_INSERT = sa.text(
    """
    INSERT INTO imports (id, state, file_hash, file_size, file_name, workbook, preview, outcomes, rows, valid, invalid,
        existing, problems, counts, checked_at, expires_at, made_by, made_as, unit_code, persons)
    VALUES (:id, 'checked', :file_hash, :file_size, :file_name, :workbook, :preview, :outcomes, :rows, :valid, :invalid,
        :existing, :problems, CAST(:counts AS jsonb), :now, :expires_at,
        :made_by, :made_as, :unit_code, CAST(:persons AS uuid[]))
    """
)
_FOR_UPDATE = sa.text(
    """
    SELECT id, state, mode, file_hash, valid, invalid, confirmed_at, workbook IS NULL AS expired FROM imports
    WHERE id = :id FOR UPDATE
    """
)
_CONFIRM = sa.text(
    "UPDATE imports SET state = 'confirmed', mode = :mode, confirmed_at = :now, failure = NULL WHERE id = :id"
)
_START_PROGRESS = sa.text(
    """
    INSERT INTO import_progress (import_id, done, total, attempts) VALUES (:id, 0, :total, 0)
    ON CONFLICT (import_id) DO UPDATE SET done = 0, total = EXCLUDED.total, attempts = 0, updated_at = clock_timestamp()
    """
)
_BEGIN_ATTEMPT = sa.text(
    """
    UPDATE import_progress SET attempts = attempts + 1, done = 0, updated_at = clock_timestamp()
    WHERE import_id = :id RETURNING attempts
    """
)
_ADVANCE = sa.text(
    "UPDATE import_progress SET done = :done, total = :total, updated_at = clock_timestamp() WHERE import_id = :id"
)
_NEXT_CONFIRMED = sa.text(
    """
    SELECT id, mode, workbook, made_by, made_as, unit_code FROM imports WHERE state = 'confirmed'
    ORDER BY confirmed_at LIMIT 1 FOR UPDATE SKIP LOCKED
    """
)
_FINISH = sa.text(
    """
    UPDATE imports SET state = :state, failure = :failure, preview = :preview, outcomes = :outcomes, valid = :valid,
        invalid = :invalid, entered = :entered, existing = :existing, refused = :refused, problems = :problems,
        counts = CAST(:counts AS jsonb), finished_at = clock_timestamp()
    WHERE id = :id AND state = 'confirmed'
    """
)
_GIVE_UP = sa.text(
    "UPDATE imports SET state = 'failed', failure = :failure, finished_at = clock_timestamp() WHERE id = :id"
)
_REQUEST_UNDO = sa.text(
    """
    UPDATE imports SET state = 'undoing', undo_requested_at = :now, undone_by = :undone_by, undone_as = :undone_as
    WHERE id = :id
    """
)
_NEXT_UNDO = sa.text(
    """
    SELECT id, undone_by, undone_as FROM imports WHERE state = 'undoing'
    ORDER BY confirmed_at LIMIT 1 FOR UPDATE SKIP LOCKED
    """
)
_ENTRIES_IN_FORCE = sa.text(
    """
    SELECT entry.id, entry.volunteer_id FROM ledger_entries AS entry
    WHERE entry.import_id = :id AND entry.kind = 'entry'
        AND NOT EXISTS (SELECT 1 FROM ledger_entries AS back WHERE back.reverses = entry.id)
    ORDER BY entry.id
    """
)
#: Whoever is being erased is, or is not before this is through: then his erasure finds the file.
_HOLD_PERSONS = sa.text(
    """
    SELECT FROM volunteers WHERE id = ANY (SELECT unnest(persons) FROM imports WHERE id = :id)
    ORDER BY id FOR KEY SHARE
    """
)
#: Who was erased while the file was looked at, or a worker still needed it.
_EMPTY_OF_ERASED = sa.text(
    f"""
    UPDATE imports SET {FILE_EMPTIED}
    WHERE id = :id AND state NOT IN ('confirmed', 'undoing') AND EXISTS (
        SELECT FROM volunteers AS v WHERE v.id = ANY (imports.persons) AND v.state = 'erased')
    """  # noqa: S608  (our own text; values are bound)
)
_UNDONE = sa.text("UPDATE imports SET state = 'undone', undone_at = :now WHERE id = :id")


@cache
def _undo_windows() -> tuple[DatedRule[domain.UndoWindow], ...]:
    return load_rules(_RULES / "import_undo.yaml", domain.UndoWindow.of)


def undo_window(at: datetime) -> domain.UndoWindow:
    """Return the window for undoing in force on the office day of an instant, with its clause."""
    rule = in_force(_undo_windows(), domain.local_date(at))
    return domain.UndoWindow(rule.value.hours, rule.clause)


# --- Check ----------------------------------------------------------------------------------------------


def check_import(session: Session, keys: Keys, data: bytes, file_name: str | None, *, now: datetime) -> UUID:
    """Read a workbook, try every row, and keep file and findings under a new import, whose id is returned.

    Nothing of it is in the ledger yet. Raises ``ImportSeenBefore`` naming the import that holds the same file if it
    is in reach, or one of the file errors of ``domain.workbooks``.
    """
    import_id = new_id()
    _require_unit(access_of(session), import_id)
    file_hash = sha256(data).digest()
    _refuse_seen(session, file_hash)
    reading = workbooks.read_workbook(data, today=domain.local_date(now))
    with wide(session), outbox.rehearsal(session):  # what a person did elsewhere counts too
        examined = examine(session, keys, reading, now=now, import_id=import_id)
    session.execute(
        _INSERT,
        {
            "id": import_id,
            "file_hash": file_hash,
            "file_size": len(data),
            "file_name": keys.encrypt(file_name, "imports.file_name") if file_name else None,
            "workbook": keys.encrypt_bytes(data, "imports.workbook"),
            **_findings_of(examined, keys, "valid"),
            "persons": sorted(examined.persons),
            "now": now,
            "expires_at": file_kept_until(now),
            **_made_by(access_of(session)),
        },
    )
    with wide(session):
        _empty_of_erased(session, import_id)
    audit.record(session, "import.checked", "import", import_id, after={"file": file_hash.hex()})
    return import_id


def _empty_of_erased(session: Session, import_id: UUID) -> None:
    """Keep nothing of a file that names somebody who was erased meanwhile, unless a worker still needs it."""
    session.execute(_HOLD_PERSONS, {"id": import_id})
    session.execute(_EMPTY_OF_ERASED, {"id": import_id})


def _require_unit(access: Access, import_id: UUID) -> None:
    """Raise ``ImportNotFound`` when who asks is of no unit: nobody would ever see the import."""
    if access.reach is Reach.OWN and (access.actor is None or access.actor.unit is None):
        raise domain.ImportNotFound(str(import_id))


def _made_by(access: Access) -> dict[str, Any]:
    """Return the columns that say for whom an import is, so that it is entered as his later."""
    if access.actor is None:
        return {"made_by": None, "made_as": None, "unit_code": None}
    return {
        "made_by": access.actor.subject,
        "made_as": access.actor.role,
        "unit_code": access.actor.unit if access.reach is Reach.OWN else None,
    }


def _access_of(made_by: UUID | None, made_as: str | None, unit_code: str | None) -> Access:
    if made_by is None or made_as is None:
        return SYSTEM  # made before anybody had to sign in, or by the system itself
    # By the role and not by the unit: who has none reaches nothing, not everything.
    actor = Actor(made_by, made_as, unit=unit_code)
    return Access(actor, _RIGHT, reach_of(actor, _RIGHT) or Reach.SELF)


def _refuse_seen(session: Session, file_hash: bytes) -> None:
    with wide(session):
        first = session.execute(_SEEN, {"hash": file_hash}).one_or_none()
    if first:
        if not reach.reaches_import(session, first.id):
            raise domain.ImportSeenBefore()
        raise domain.ImportSeenBefore(str(first.id), first.confirmed_at)


def _findings_of(examined: Examined, keys: Keys, entered_as: str) -> dict[str, Any]:
    """Return the columns that say what was found: counts in clear, everything else encrypted."""
    preview = workbooks.Preview(examined.reading.sheet, examined.findings[:SHOWN_PROBLEMS], examined.reading.warnings)
    outcomes = msgspec.json.encode(examined.outcomes(entered_as))
    return {
        "preview": keys.encrypt_bytes(msgspec.json.encode(preview), "imports.preview"),
        "outcomes": keys.encrypt_bytes(zlib.compress(outcomes, 1), "imports.outcomes"),
        "rows": examined.reading.total,
        "valid": examined.reading.total - examined.refused,
        "invalid": examined.refused,
        "existing": examined.existing,
        "problems": len(examined.findings),
        "counts": msgspec.json.encode(examined.counts).decode(),
    }


# --- Confirm --------------------------------------------------------------------------------------------


def confirm_import(session: Session, import_id: UUID, mode: Confirm, *, now: datetime) -> None:
    """Let a worker enter a checked import; the same confirmation again changes nothing.

    Raises ``ImportNotFound``, ``ImportNotOpen``, ``ImportExpired``, ``RowsRefused`` (``all`` with refused rows),
    ``NothingToImport``, or ``ImportSeenBefore`` when the same file was confirmed meanwhile as another import.
    """
    found = _lock(session, import_id)
    state = ImportState(found["state"])
    if state in {ImportState.CONFIRMED, ImportState.DONE} and found["mode"] == mode:
        return
    domain.check_confirm(state, mode, valid=found["valid"], refused=found["invalid"])
    if found["expired"]:
        raise ImportExpired
    session.execute(_LOCK_FILE, {"hash": found["file_hash"]})
    _refuse_seen(session, found["file_hash"])
    session.execute(_CONFIRM, {"id": import_id, "mode": mode.value, "now": now})
    session.execute(_START_PROGRESS, {"id": import_id, "total": found["valid"]})
    audit.record(session, "import.confirmed", "import", import_id, after={"mode": mode.value})


def _lock(session: Session, import_id: UUID) -> Mapping[str, Any]:
    found = session.execute(_FOR_UPDATE, {"id": import_id}).mappings().one_or_none()
    if found is None or not reach.reaches_import(session, import_id):
        raise domain.ImportNotFound(str(import_id))
    return dict(found)


def run_next_confirmed(session: Session, db: Database, keys: Keys) -> UUID | None:
    """Enter the import that waits longest, in the caller's transaction; return its id, or None without one.

    How far it is, is written through transactions of its own, for those who look on. In the mode ``all`` one row
    refused since the check takes everything back: the import has failed, and says which rows.
    """
    waiting = session.execute(_NEXT_CONFIRMED).one_or_none()
    if waiting is None:
        return None
    import_id: UUID = waiting.id
    if _begin_attempt(db, import_id) > MOST_ATTEMPTS:
        session.execute(_GIVE_UP, {"id": import_id, "failure": "import.gave_up"})
        _empty_of_erased(session, import_id)
        return import_id
    grant(session, _access_of(waiting.made_by, waiting.made_as, waiting.unit_code))
    data = keys.decrypt_bytes(bytes(waiting.workbook), "imports.workbook")
    now = database_now(session)
    reading = workbooks.read_workbook(data, today=domain.local_date(now))
    examined = examine(session, keys, reading, now=now, import_id=import_id, progress=_reporter(db, import_id))
    succeeded = waiting.mode != Confirm.ALL or not examined.refused
    if not succeeded:
        # What it entered and recorded goes, the row's lock with it; the update below looks at the state again.
        session.rollback()
    session.execute(
        _FINISH,
        {
            "id": import_id,
            "state": ImportState.DONE.value if succeeded else ImportState.FAILED.value,
            "failure": None if succeeded else domain.RowsRefused.code,
            **_findings_of(examined, keys, "entered" if succeeded else "valid"),
            "entered": examined.entered if succeeded else None,
            "refused": examined.refused if succeeded else None,
        },
    )
    _empty_of_erased(session, import_id)
    return import_id


def _begin_attempt(db: Database, import_id: UUID) -> int:
    with db.transaction() as session:
        attempts: int = session.scalar(_BEGIN_ATTEMPT, {"id": import_id}) or 0
    return attempts


def _reporter(db: Database, import_id: UUID) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        faultpoints.reach("mid_import")
        with db.transaction() as session:
            session.execute(_ADVANCE, {"id": import_id, "done": done, "total": total})

    return report


# --- Undo -----------------------------------------------------------------------------------------------


def request_undo(session: Session, import_id: UUID, *, now: datetime) -> None:
    """Let a worker take back every entry of an import; the same request again changes nothing.

    Raises ``ImportNotFound``, ``ImportNotOpen``, or ``WindowClosed`` naming the end of the window.
    """
    found = _lock(session, import_id)
    state = ImportState(found["state"])
    if state in {ImportState.UNDOING, ImportState.UNDONE}:
        return
    window = undo_window(found["confirmed_at"] or now)
    domain.check_undo(state, found["confirmed_at"], now=now, window=window)
    actor = access_of(session).actor
    by = {"undone_by": actor.subject if actor else None, "undone_as": actor.role if actor else None}
    session.execute(_REQUEST_UNDO, {"id": import_id, "now": now, **by})
    session.execute(_START_PROGRESS, {"id": import_id, "total": found["valid"]})
    audit.record(session, "import.undo_requested", "import", import_id)


def run_next_undo(session: Session, db: Database) -> UUID | None:
    """Take back the entries of the import whose undoing waits longest, in the caller's transaction; return its id.

    Entries reversed singly before stay as they are.
    """
    waiting = session.execute(_NEXT_UNDO).one_or_none()
    if waiting is None:
        return None
    import_id: UUID = waiting.id
    if waiting.undone_by is not None:
        # Whose import it is, was looked at when he asked: all of it goes.
        grant(session, Access(Actor(waiting.undone_by, waiting.undone_as), _RIGHT, Reach.ALL))
    now = database_now(session)
    entries = session.execute(_ENTRIES_IN_FORCE, {"id": import_id}).all()
    lock_volunteers(session, {entry.volunteer_id for entry in entries})
    report = _reporter(db, import_id)
    for start in range(0, len(entries), SLICE):
        reverse_entries(session, [entry.id for entry in entries[start : start + SLICE]], UNDO_REASON, now)
        outbox.write_pending(session)
        report(min(start + SLICE, len(entries)), len(entries))
    session.execute(_UNDONE, {"id": import_id, "now": now})
    _empty_of_erased(session, import_id)
    return import_id

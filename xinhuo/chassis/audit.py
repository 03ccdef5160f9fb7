"""The audit log: who did what to which object, when and why; append-only, each row chained to the one before.

The database computes the chain itself: a trigger numbers each row, hashes it with the hash of the row before, and
keeps the number and hash of the last one beside the table. ``verify`` computes all of it again, and names the first
row that was edited, removed, exchanged or cut off. No name or number of a person stands in a row: objects are named
by ids, states by their hashes, and who asked by account and network address.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from . import caller, trace
from .identity.actor import Access, access_of

START = bytes(32)
_READ_AT_ONCE = 5000

TABLE = sa.table(
    "audit_log",
    sa.column("seq", sa.BigInteger),
    sa.column("at", sa.DateTime(timezone=True)),
    sa.column("subject", sa.Uuid),
    sa.column("role", sa.Text),
    sa.column("unit", sa.Text),
    sa.column("action", sa.Text),
    sa.column("object_kind", sa.Text),
    sa.column("object_id", sa.Text),
    sa.column("outcome", sa.Text),
    sa.column("before_hash", sa.LargeBinary),
    sa.column("after_hash", sa.LargeBinary),
    sa.column("reason", sa.Text),
    sa.column("trace_id", sa.Text),
    sa.column("address", sa.Text),
    sa.column("hash", sa.LargeBinary),
)
_INSERT = sa.text(
    """
    INSERT INTO audit_log
        (subject, role, unit, action, object_kind, object_id, outcome, before_hash, after_hash, reason, trace_id,
        address)
    VALUES (:subject, :role, :unit, :action, :object_kind, :object_id, :outcome, :before_hash, :after_hash, :reason,
        :trace_id, :address)
    """
)
_HEAD = sa.text("SELECT seq, hash FROM audit_head")
_ROWS = sa.select(TABLE).order_by(TABLE.c.seq).where(TABLE.c.seq > sa.bindparam("after")).limit(_READ_AT_ONCE)


@dataclass(frozen=True)
class Broken:
    """The first row at which the chain does not hold, and what is wrong there."""

    seq: int
    zh: str
    en: str


@dataclass(frozen=True)
class Verified:
    """What a verification found."""

    rows: int
    head: bytes
    broken: Broken | None


def record(
    session: Session,
    action: str,
    kind: str,
    object_id: UUID | str,
    *,
    outcome: str = "done",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str | None = None,
    access: Access | None = None,
) -> None:
    """Write down, in the transaction of the deed, who did it to what.

    ``action`` is ``subject.verb``; ``before`` and ``after`` are states as they are stored, of which the hashes are
    kept; ``outcome`` is ``done`` or ``refused``. By default it was done by whom the session works for.
    """
    by = access or access_of(session)
    session.execute(
        _INSERT,
        {
            "subject": by.actor.subject if by.actor else None,
            "role": by.actor.role if by.actor else "system",
            "unit": by.actor.unit if by.actor else None,
            "action": action,
            "object_kind": kind,
            "object_id": str(object_id),
            "outcome": outcome,
            "before_hash": state_hash(before),
            "after_hash": state_hash(after),
            "reason": reason,
            "trace_id": trace.trace_id(),
            "address": caller.address(),
        },
    )


def state_hash(state: Mapping[str, Any] | None) -> bytes | None:
    """Return the SHA-256 of a state in one spelling; None for none."""
    if state is None:
        return None
    return hashlib.sha256(msgspec.json.encode(dict(state), enc_hook=_plain, order="deterministic")).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, memoryview):
        return bytes(value).hex()
    raise NotImplementedError


def verify(connection: sa.Connection) -> Verified:
    """Compute the chain of a service's audit log again; the newest rows may be written meanwhile."""
    seq, hashed, count = 0, START, 0
    head_seq, head_hash = connection.execute(_HEAD).one()
    for row in _rows(connection):
        if row.seq > head_seq:
            break  # written after the head was read
        if row.seq != seq + 1:
            return Verified(count, hashed, _missing(seq + 1))
        expected = row_hash(hashed, row)
        if expected != bytes(row.hash):
            return Verified(count, hashed, _edited(row.seq))
        seq, hashed, count = row.seq, expected, count + 1
    if seq != head_seq:
        return Verified(count, hashed, _missing(seq + 1))
    broken = None if hashed == bytes(head_hash) else _edited(seq)
    return Verified(count, hashed, broken)


def _rows(connection: sa.Connection) -> Iterator[Any]:
    after = 0
    while found := connection.execute(_ROWS, {"after": after}).all():
        yield from found
        after = found[-1].seq


def row_hash(before: bytes, row: Any) -> bytes:
    """Return the hash of a row on top of that of the row before, as the trigger computes it."""
    at: datetime = row.at.astimezone(UTC)
    parts = [
        str(row.seq),
        f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond:06d}",
        str(row.subject) if row.subject is not None else None,
        row.role,
        row.unit,
        row.action,
        row.object_kind,
        row.object_id,
        row.outcome,
        bytes(row.before_hash).hex() if row.before_hash is not None else None,
        bytes(row.after_hash).hex() if row.after_hash is not None else None,
        row.reason,
        row.trace_id,
        *([row.address] if row.address is not None else ()),  # rows of before have none, and are spelled without
    ]
    # Each part with its length before it, nothing with a minus: no two rows are spelled alike.
    spelled = "".join("-;" if part is None else f"{len(part.encode())}:{part};" for part in parts)
    return hashlib.sha256(before + spelled.encode()).digest()


def _missing(seq: int) -> Broken:
    return Broken(seq, f"第 {seq} 行缺失：被删除或截断", f"row {seq} is missing: it was removed or cut off")


def _edited(seq: int) -> Broken:
    return Broken(seq, f"第 {seq} 行与链不符：被修改或调换", f"row {seq} does not fit the chain: edited or exchanged")

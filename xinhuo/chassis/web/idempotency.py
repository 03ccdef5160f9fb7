"""Idempotency keys: the answer is stored in the transaction of its effect, so a repeat can only be a replay."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..identity.actor import Access
from ..security import Keys
from .errors import KeyInFlight, KeyMalformed, KeyReused

_PLACE = "idempotency_keys.answer"


@dataclass(frozen=True)
class StoredAnswer:
    """An answer given before: status, body and the headers worth repeating."""

    status: int
    body: bytes
    headers: dict[str, str]


def check_key(key: str) -> str:
    """Return the key; raises KeyMalformed unless it is 1 to 255 visible ASCII characters."""
    if not (1 <= len(key) <= 255 and all(32 < ord(character) < 127 for character in key)):
        raise KeyMalformed(
            "Idempotency-Key 应为 1 至 255 个可见 ASCII 字符，例如一个 UUID。",
            "The Idempotency-Key must be 1 to 255 visible ASCII characters, for example a UUID.",
        )
    return key


def name_of(access: Access, method: str, path: str) -> str:
    """Return what keys are told apart by beside themselves: two callers may choose the same one."""
    return f"{access.actor.subject} {method} {path}" if access.actor else f"{method} {path}"


def request_hash(keys: Keys, method: str, path: str, body: bytes) -> bytes:
    """Return the hash by which two requests of a caller are known to be the same.

    It needs the key: of a body that holds a name and a telephone, all identity numbers could be tried.
    """
    return keys.keyed_hash(f"{method} {path}\n".encode() + body, "idempotency_keys.request_hash")


def begin(session: Session, keys: Keys, key: str, route: str, hashed: bytes) -> StoredAnswer | None:
    """Return the stored answer of this key, or None when the work is to be done now.

    Holds a lock on the key until the transaction ends. Raises KeyInFlight when another transaction holds it,
    KeyReused when the key was used for another request.
    """
    held = session.scalar(
        sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 7))"), {"name": f"{route}\n{key}"}
    )
    if not held:
        raise KeyInFlight(
            "相同 Idempotency-Key 的请求正在处理，请稍后重试以取得结果。",
            "A request with this Idempotency-Key is being worked on; try again shortly for its answer.",
        )
    row = session.execute(
        sa.text(
            "SELECT request_hash, status, answer, headers FROM idempotency_keys WHERE key = :key AND route = :route"
        ),
        {"key": key, "route": route},
    ).one_or_none()
    if row is None:
        return None
    if bytes(row.request_hash) != hashed:
        raise KeyReused(
            "这个 Idempotency-Key 已用于内容不同的请求，请换一个新的。",
            "This Idempotency-Key was used for a different request; take a new one.",
        )
    return StoredAnswer(row.status, keys.decrypt_bytes(row.answer.encode(), _PLACE), row.headers)


def keep(session: Session, keys: Keys, key: str, route: str, hashed: bytes, answer: StoredAnswer) -> None:
    """Store the answer, encrypted, in the transaction of its effect."""
    session.execute(
        sa.text(
            "INSERT INTO idempotency_keys (key, route, request_hash, status, answer, headers)"
            " VALUES (:key, :route, :hash, :status, :answer, CAST(:headers AS jsonb))"
        ).bindparams(sa.bindparam("headers", type_=sa.JSON)),
        {
            "key": key,
            "route": route,
            "hash": hashed,
            "status": answer.status,
            "answer": keys.encrypt_bytes(answer.body, _PLACE).decode(),
            "headers": answer.headers,
        },
    )

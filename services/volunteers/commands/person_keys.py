"""Keys of persons: made for those who were registered before there were any, and wrapped anew by a new master key."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import logs
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.person_keys import PersonKey, WrappedKey, make_key, rewrap
from xinhuo.chassis.security import CannotDecrypt, Keys

from .. import sealed
from ..models import consent_records

#: As many persons are dealt with in one transaction.
AT_ONCE = 200

log = logs.get("person_keys")

_CONSENT = sa.insert(consent_records)
_ANY_WITHOUT = sa.text("SELECT EXISTS (SELECT FROM volunteers WHERE name LIKE 'a_.%')")
_ALL_WITHOUT = """
    SELECT v.id, v.name, v.id_number, v.phone, v.guardian_consent, v.registered_at, k.wrapped, k.kek
    FROM volunteers AS v LEFT JOIN person_keys AS k ON k.volunteer_id = v.id
    WHERE v.name LIKE 'a_.%'
    """
_WITHOUT = sa.text(f"{_ALL_WITHOUT} ORDER BY v.id LIMIT :most FOR NO KEY UPDATE OF v SKIP LOCKED")
_ONE_WITHOUT = sa.text(f"{_ALL_WITHOUT} AND v.id = :id FOR NO KEY UPDATE OF v")
_GIVE = sa.text(
    """
    WITH new AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:names AS text[]), CAST(:id_numbers AS text[]),
            CAST(:phones AS text[]), CAST(:wrapped AS text[]), CAST(:keks AS text[]))
            AS n (id, name, id_number, phone, wrapped, kek)
    ), changed AS (
        UPDATE volunteers SET name = new.name, id_number = new.id_number, phone = new.phone,
            guardian_consent = NULL
        FROM new WHERE volunteers.id = new.id
    )
    INSERT INTO person_keys (volunteer_id, wrapped, kek, made_at) SELECT id, wrapped, kek, clock_timestamp() FROM new
    ON CONFLICT (volunteer_id) DO UPDATE
    SET wrapped = EXCLUDED.wrapped, kek = EXCLUDED.kek, made_at = EXCLUDED.made_at
    """
)
_COUNT_OLD = sa.text("SELECT count(*) FROM person_keys WHERE kek < :kek OR kek > :kek")
_OLD = sa.text(
    """
    SELECT volunteer_id AS id, wrapped, kek FROM person_keys WHERE kek < :kek OR kek > :kek
    ORDER BY volunteer_id LIMIT :most FOR NO KEY UPDATE
    """
)
_REWRAP = sa.text(
    """
    UPDATE person_keys SET wrapped = new.wrapped, kek = new.kek
    FROM unnest(CAST(:ids AS uuid[]), CAST(:wrapped AS text[]), CAST(:keks AS text[])) AS new (id, wrapped, kek)
    WHERE person_keys.volunteer_id = new.id
    """
)


def any_without(session: Session) -> bool:
    """Tell whether the key of the installation still encrypts somebody."""
    return bool(session.scalar(_ANY_WITHOUT))


def give_keys(session: Session, keys: Keys) -> int:
    """Encrypt the data of up to 200 persons with new keys of their own; return of how many.

    A row that cannot be opened is left as it is, and said in the log.
    """
    return _give(session, keys, session.execute(_WITHOUT, {"most": AT_ONCE}).mappings().all())


def give_key(session: Session, keys: Keys, volunteer_id: UUID) -> None:
    """Do the same for one person, if he has no key yet."""
    _give(session, keys, session.execute(_ONE_WITHOUT, {"id": volunteer_id}).mappings().all())


def _give(session: Session, keys: Keys, rows: Sequence[Mapping[Any, Any]]) -> int:
    given: list[dict[str, Any]] = []
    for row in rows:
        try:
            clear = sealed.open_columns(keys, row, *sealed.PLACES)
        except CannotDecrypt:
            log.error("person_not_readable", volunteer=str(row["id"]))
            continue
        key, stored = make_key(keys, row["id"])
        new = {name: key.encrypt(str(clear[name]), sealed.PLACES[name]) for name in ("name", "id_number", "phone")}
        given.append({"id": row["id"], "stored": stored, **new})
        if clear["guardian_consent"]:
            session.execute(_CONSENT, _consent_of_before(key, row, json.loads(clear["guardian_consent"])))
    if given:
        stored_keys: list[WrappedKey] = [one["stored"] for one in given]
        columns = {
            "ids": "id", "names": "name", "id_numbers": "id_number", "phones": "phone",
        }  # fmt: skip
        session.execute(
            _GIVE,
            {
                **{name: [one[column] for one in given] for name, column in columns.items()},
                "wrapped": [stored.wrapped for stored in stored_keys],
                "keks": [stored.master for stored in stored_keys],
            },
        )
    return len(given)


def _consent_of_before(key: PersonKey, row: Mapping[Any, Any], consent: dict[str, str]) -> dict[str, Any]:
    """Return as a record the consent that stood in a person's own row until then."""
    given_on = date.fromisoformat(consent.pop("consented_on"))
    return {
        "id": new_id(),
        "volunteer_id": row["id"],
        "purpose": "registration",
        "text_version": "0",
        "given_by": "guardian",
        "guardian": key.encrypt(json.dumps(consent, ensure_ascii=False), sealed.GUARDIAN),
        "how": "paper",
        "given_on": given_on,
        "recorded_by": None,
        "recorded_at": row["registered_at"],
    }


def wrapped_otherwise(session: Session, keys: Keys) -> int:
    """Return how many persons' keys another master key than the current one wraps."""
    return int(session.scalar(_COUNT_OLD, {"kek": keys.current}) or 0)


def rewrap_some(session: Session, keys: Keys) -> int:
    """Wrap up to 200 keys with the current master key; return how many. Raises CannotDecrypt."""
    rows = session.execute(_OLD, {"kek": keys.current, "most": AT_ONCE}).mappings().all()
    stored = [rewrap(keys, row["id"], WrappedKey(row["wrapped"], row["kek"])) for row in rows]
    if rows:
        session.execute(
            _REWRAP,
            {
                "ids": [row["id"] for row in rows],
                "wrapped": [one.wrapped for one in stored],
                "keks": [one.master for one in stored],
            },
        )
    return len(rows)

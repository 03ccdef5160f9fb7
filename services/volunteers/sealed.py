"""What is personal in the tables: encrypted with the person's own key, found by keyed hashes."""

from collections.abc import Mapping
from typing import Any

from xinhuo.chassis.person_keys import PersonKey, WrappedKey
from xinhuo.chassis.security import Keys

from .models import person_keys, volunteers

#: Where each personal column stands; what was encrypted for one place does not open at another.
PLACES = {name: f"volunteers.{name}" for name in ("name", "id_number", "phone", "guardian_consent")}
GUARDIAN = "consent_records.guardian"
CORRECTION = "corrections.before"
EVIDENCE = "hour_claims.evidence"
#: What a query selects beside ``volunteers.id`` to open personal columns, from this join.
KEY = (person_keys.c.wrapped, person_keys.c.kek)
WITH_KEYS = volunteers.outerjoin(person_keys, person_keys.c.volunteer_id == volunteers.c.id)


def key_of(keys: Keys, row: Mapping[Any, Any]) -> PersonKey:
    """Return the key of the person of a row with ``id``, ``wrapped`` and ``kek``."""
    stored = WrappedKey(row["wrapped"], row["kek"]) if row["wrapped"] is not None else None
    return PersonKey(keys, row["id"], stored)


def open_columns(keys: Keys, row: Mapping[Any, Any], *names: str) -> dict[str, str | None]:
    """Return personal columns of a row in clear; None where the row holds nothing. Raises CannotDecrypt."""
    key = key_of(keys, row)
    return {name: key.decrypt(row[name], PLACES[name]) if row[name] is not None else None for name in names}


def id_number_index(keys: Keys, id_type: str, number: str) -> bytes:
    """Return the keyed hash under which a person is found by a normalised identity number."""
    return keys.blind_index(f"{id_type}:{number}", "volunteers.id_number")


def name_index(keys: Keys, name: str) -> bytes:
    """Return the keyed hash under which people of one normalised full name are found."""
    return keys.blind_index(name, "volunteers.name")

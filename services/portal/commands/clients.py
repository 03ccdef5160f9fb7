"""API clients and their keys, of which only digests are kept."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.chassis.db import database_now
from xinhuo.chassis.errors import check_revision
from xinhuo.chassis.identity.actor import Actor, access_of
from xinhuo.chassis.identity.rights import OWN_ACCOUNT, RIGHTS
from xinhuo.chassis.identity.tokens import LEEWAY_SECONDS, LIFETIME_SECONDS
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.security import Keys

from .. import credentials, signing
from ..domain.clients import (
    DEFAULT_DAYS,
    MOST_KEYS,
    NOTED,
    ClientNotFound,
    KeyEndedLately,
    KeyNotFound,
    KeyNotLive,
    KeyRefused,
    TooManyKeys,
    check_client,
    prefix_of,
)
from ..domain.sessions import SessionEnded
from ..models import client_keys, clients
from .acting import present

_NO_DIGEST = bytes(32)
#: For so long a token is taken after its key ended.
_OUTLIVES = timedelta(seconds=LIFETIME_SECONDS + LEEWAY_SECONDS)
_INSTALLATION_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('portal.installation_keys'))")


def create_client(session: Session, given: Mapping[str, Any]) -> dict[str, Any]:
    """Make an API client, which has no key yet; return its row.

    Raises ClientBelongingMissing, ScopeBeyond or SessionEnded.
    """
    actor = present(session)
    _check(given)
    row = {"id": new_id(), **given, "scopes": sorted(set(given["scopes"])), "state": "active", "revision": 1}
    added = sa.insert(clients).values(**row, created_by=actor.subject).returning(clients)
    audit.record(session, "client.created", "client", row["id"], after=row)
    return dict(session.execute(added).mappings().one())


def change_client(session: Session, client_id: UUID, given: Mapping[str, Any], if_match: str) -> dict[str, Any]:
    """Change a client that nobody else changed since; return its row.

    Raises ClientNotFound, ChangedMeanwhile, ScopeBeyond or SessionEnded.
    """
    present(session)
    before = _locked(session, client_id)
    check_revision(before["revision"], if_match)
    values = dict(given)
    if "scopes" in values:
        values["scopes"] = sorted(set(values["scopes"]))
    changed = {name: value for name, value in values.items() if before[name] != value}
    if not changed:
        return dict(before)
    _check({**before, **values})
    changing = sa.update(clients).where(clients.c.id == client_id)
    changing = changing.values(
        **changed, revision=clients.c.revision + 1, changed_at=sa.func.clock_timestamp()
    ).returning(clients)
    audit.record(session, "client.changed", "client", client_id, before=dict(before), after=changed)
    return dict(session.execute(changing).mappings().one())


def create_key(session: Session, client_id: UUID, days: int) -> dict[str, Any]:
    """Make a key of a client, good for so many days; return it, shown once, with its row.

    Raises ClientNotFound, TooManyKeys or SessionEnded.
    """
    actor = present(session)
    _locked(session, client_id)
    return _new_key(session, client_id, actor, days, database_now(session))


def revoke_key(session: Session, client_id: UUID, prefix: str) -> dict[str, Any]:
    """End a key at once; ending it again changes nothing. Return its row.

    Tokens that it was changed for live out their ten minutes. Raises ClientNotFound, KeyNotFound or SessionEnded.
    """
    present(session)
    return _revoked(session, client_id, prefix)


def revoke_own_key(session: Session, prefix: str) -> dict[str, Any]:
    """Do the same with a key of the client that asks. Raises KeyNotFound or SessionEnded."""
    return _revoked(session, _asking(session).subject, prefix)


def _revoked(session: Session, client_id: UUID, prefix: str) -> dict[str, Any]:
    _locked(session, client_id)
    key = _key(session, client_id, prefix)
    if key["revoked_at"] is not None:
        return dict(key)
    audit.record(session, "client_key.revoked", "client", client_id, before={"prefix": prefix})
    return _set(session, key["id"], revoked_at=sa.func.clock_timestamp())


def rotate_key(session: Session, client_id: UUID, prefix: str, overlap_hours: int, days: int) -> dict[str, Any]:
    """Make a key in the place of another, which stays good for the overlap; return the new one, shown once.

    Raises ClientNotFound, KeyNotFound, KeyNotLive, TooManyKeys or SessionEnded.
    """
    return _rotated(session, present(session), client_id, prefix, overlap_hours, days)


def rotate_own_key(session: Session, prefix: str, overlap_hours: int, days: int) -> dict[str, Any]:
    """Do the same with a key of the client that asks.

    Raises KeyEndedLately, KeyNotFound, KeyNotLive, TooManyKeys or SessionEnded.
    """
    actor = _asking(session)
    _refuse_after_end(session, actor.subject)
    return _rotated(session, actor, actor.subject, prefix, overlap_hours, days)


def _rotated(
    session: Session, actor: Actor, client_id: UUID, prefix: str, overlap_hours: int, days: int
) -> dict[str, Any]:
    _locked(session, client_id)
    now = database_now(session)
    old = _key(session, client_id, prefix)
    if old["revoked_at"] is not None or old["expires_at"] <= now:
        raise KeyNotLive()
    _set(session, old["id"], expires_at=min(old["expires_at"], now + timedelta(hours=overlap_hours)))
    rotated = {"prefix": prefix, "overlap_hours": overlap_hours}
    audit.record(session, "client_key.rotated", "client", client_id, before=rotated)
    return _new_key(session, client_id, actor, days, now)


def installation_key(
    session: Session,
    name: str,
    role: str,
    scopes: Iterable[str],
    *,
    department_code: str | None = None,
    unit_code: str | None = None,
    days: int = DEFAULT_DAYS,
) -> str:
    """Make a key of the installation's own client of this name, which is made when there is none; return the key.

    For the command line on the server; the client's other keys end. Raises ClientBelongingMissing or ScopeBeyond.
    """
    given = {
        "name": name, "role": role, "scopes": sorted(set(scopes)), "department_code": department_code,
        "unit_code": unit_code,
    }  # fmt: skip
    _check(given)
    session.execute(_INSTALLATION_LOCK)
    mine = sa.select(clients.c.id).where(clients.c.name == name, clients.c.created_by.is_(None))
    client_id = session.scalar(mine)
    if client_id is None:
        client_id = new_id()
        session.execute(sa.insert(clients).values(id=client_id, **given, state="active", revision=1))
        audit.record(session, "client.created", "client", client_id, after=given)
    else:
        session.execute(sa.update(clients).where(clients.c.id == client_id).values(**given))
    now = database_now(session)
    live = (client_keys.c.client_id == client_id) & client_keys.c.revoked_at.is_(None)
    ending = sa.update(client_keys).where(live).values(revoked_at=now).returning(client_keys.c.prefix)
    for prefix in session.scalars(ending).all():
        audit.record(session, "client_key.revoked", "client", client_id, before={"prefix": prefix})
    key: str = _new_key(session, client_id, None, days, now)["key"]
    return key


def token_for_key(session: Session, keys: Keys, key: str) -> dict[str, Any]:
    """Return an access token for an API key; raises KeyRefused for whatever reason there is."""
    now = database_now(session)
    found = live_key(session, key, now)
    if found["last_used_at"] is None or now - found["last_used_at"] >= NOTED:
        _set(session, found["key_id"], last_used_at=now)
    # The key gets no more of the rights of its role than it was given, and may always ask who it is.
    actor = Actor(
        subject=found["id"],
        role=found["role"],
        unit=found["unit_code"],
        team=found["team_code"],
        scopes=frozenset(found["scopes"]) | {OWN_ACCOUNT},
    )
    return {
        "access_token": signing.token_for(session, keys, actor, now),
        "token_type": "Bearer",
        "expires_in": LIFETIME_SECONDS,
    }


def live_key(session: Session, key: str, now: datetime) -> Mapping[Any, Any]:
    """Return the row of an API key and its client, if both are in use; raises KeyRefused for whatever reason."""
    of = client_keys.c
    wanted = sa.select(
        clients, of.secret_hash, of.id.label("key_id"), of.expires_at, of.revoked_at, of.last_used_at
    ).join(clients, clients.c.id == of.client_id)
    found = session.execute(wanted.where(of.prefix == (prefix_of(key) or ""))).mappings().one_or_none()
    fits = credentials.same(key, found["secret_hash"] if found else _NO_DIGEST)
    if not fits or found is None or found["revoked_at"] is not None or found["expires_at"] <= now:
        raise KeyRefused()
    if found["state"] != "active":
        raise KeyRefused()
    return found


def _asking(session: Session) -> Actor:
    """Return the client that asks, its row locked; raises SessionEnded unless it is in use."""
    actor = access_of(session).actor
    active = sa.select(clients.c.id).where(clients.c.id == (actor and actor.subject), clients.c.state == "active")
    if actor is None or session.scalar(active.with_for_update(key_share=True)) is None:
        raise SessionEnded()
    return actor


def _refuse_after_end(session: Session, client_id: UUID) -> None:
    """Raise KeyEndedLately while the token that asks may be of a key that has ended: who lost it makes no other."""
    now, of = database_now(session), client_keys.c
    ended = sa.func.least(of.revoked_at, of.expires_at)  # least() passes over NULL
    lately = sa.select(of.id).where(of.client_id == client_id, ended <= now, ended > now - _OUTLIVES).limit(1)
    if session.scalar(lately) is not None:
        raise KeyEndedLately(int(_OUTLIVES / timedelta(minutes=1)))


def _check(client: Mapping[str, Any]) -> None:
    check_client(client, [right for right, (_, _, roles) in RIGHTS.items() if client["role"] in roles])


def _locked(session: Session, client_id: UUID) -> Mapping[Any, Any]:
    """Return the row of a client; changes of it and of its keys take turns. Raises ClientNotFound."""
    found = sa.select(clients).where(clients.c.id == client_id).with_for_update(key_share=True)
    row = session.execute(found).mappings().one_or_none()
    if row is None:
        raise ClientNotFound()
    return row


def _key(session: Session, client_id: UUID, prefix: str) -> Mapping[Any, Any]:
    of = client_keys.c
    found = sa.select(client_keys).where(of.client_id == client_id, of.prefix == prefix)
    row = session.execute(found).mappings().one_or_none()
    if row is None:
        raise KeyNotFound()
    return row


def _new_key(session: Session, client_id: UUID, actor: Actor | None, days: int, now: datetime) -> dict[str, Any]:
    of = client_keys.c
    live = sa.select(sa.func.count()).where(of.client_id == client_id, of.revoked_at.is_(None), of.expires_at > now)
    if session.scalar(live) >= MOST_KEYS:  # type: ignore[operator]
        raise TooManyKeys()
    key, prefix = credentials.new_client_key()
    row = {
        "id": new_id(),
        "client_id": client_id,
        "prefix": prefix,
        "secret_hash": credentials.digest(key),
        "created_by": actor.subject if actor else None,
        "created_at": now,
        "expires_at": now + timedelta(days=days),
    }
    made = session.execute(sa.insert(client_keys).values(**row).returning(client_keys)).mappings().one()
    audit.record(session, "client_key.created", "client", client_id, after={"prefix": prefix, "days": days})
    return {**made, "key": key}


def _set(session: Session, key_id: UUID, **values: Any) -> dict[str, Any]:
    changing = sa.update(client_keys).where(client_keys.c.id == key_id).values(**values).returning(client_keys)
    return dict(session.execute(changing).mappings().one())

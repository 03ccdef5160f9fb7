"""The portal of the world: an account for everybody who may ask, a client for each program, and what is theirs."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pyotp

from services.portal import credentials, factors
from services.portal.commands import accounts, clients, sessions
from services.portal.domain.accounts import ROLES as OF_PEOPLE
from services.portal.domain.clients import prefix_of
from services.portal.models import accounts as table
from services.portal.service import Portal
from tests.support.portal import PASSWORD, change, row
from tests.support.services import fetch
from xinhuo.chassis.db import database_now
from xinhuo.chassis.identity.actor import Actor
from xinhuo.cli.installing import rights_of

#: What stands in the tables about an account and its sessions, without what is told of it by the revision.
_OF_OTHERS = """
SELECT (SELECT md5(string_agg(a::text, ';' ORDER BY id)) FROM accounts AS a WHERE id <> :id) AS accounts,
    (SELECT md5(string_agg(s::text, ';' ORDER BY id)) FROM sessions AS s WHERE account_id <> :id) AS sessions
"""


def seated(portal: Portal, who: Actor) -> Actor:
    """Return somebody with an account, or a program with a client, of his own."""
    return replace(who, subject=_account(portal, who) if who.role in OF_PEOPLE else client_of_role(portal, who.role))


def _account(portal: Portal, who: Actor) -> UUID:
    belongings: dict[str, Any] = {
        "unit_code": who.unit, "team_code": who.team, "volunteer_id": who.volunteer, "wards": who.wards,
    }  # fmt: skip
    with portal.runtime.db.transaction() as session:
        login = f"{who.role}-{uuid4().hex[:12]}"
        return accounts.demo_account(session, portal.runtime.keys, login, PASSWORD, who.role, **belongings)


def client_of_role(portal: Portal, role: str) -> UUID:
    """Return a new API client, with one key."""
    prefix = prefix_of(key_of_role(portal, role))
    found: UUID = row(portal, "SELECT client_id FROM client_keys WHERE prefix = :prefix", prefix=prefix)["client_id"]
    return found


def key_of_role(portal: Portal, role: str) -> str:
    """Return the key of a new API client, with all that its role may do by keys."""
    name, belongings = f"程序 {uuid4()}", {"department_code": "demo", "unit_code": "XX-1"}
    with portal.runtime.db.transaction() as session:
        return clients.installation_key(session, name, role, rights_of(role), **belongings)


def key_of_client(portal: Portal) -> tuple[UUID, str]:
    """Return a new API client and the prefix of its key."""
    client = client_of_role(portal, "department")
    return client, row(portal, "SELECT prefix FROM client_keys WHERE client_id = :id", id=client)["prefix"]


def new_key_of(portal: Portal, client: UUID) -> str:
    """Return the prefix of a new key of a client, whose other keys ended a while ago."""
    change(portal, "UPDATE client_keys SET revoked_at = now() - interval '1 hour' WHERE client_id = :id", id=client)
    key, prefix = credentials.new_client_key()
    change(
        portal,
        "INSERT INTO client_keys (id, client_id, prefix, secret_hash, expires_at)"
        " VALUES (gen_random_uuid(), :id, :prefix, :hash, now() + interval '1 day')",
        id=client, prefix=prefix, hash=credentials.digest(key),
    )  # fmt: skip
    return prefix


def keys_of(portal: Portal, client: UUID) -> set[str]:
    """Return the prefixes of a client's keys."""
    return {one["prefix"] for one in fetch(portal, "SELECT prefix FROM client_keys WHERE client_id = :id", id=client)}


def is_live(portal: Portal, prefix: str) -> bool:
    """Tell whether a key was not ended."""
    return bool(fetch(portal, "SELECT FROM client_keys WHERE prefix = :p AND revoked_at IS NULL", p=prefix))


def is_of(portal: Portal, who: Actor) -> bool:
    """Tell whether somebody has an account, and not a client."""
    return bool(fetch(portal, "SELECT FROM accounts WHERE id = :id", id=who.subject))


def leader_of(portal: Portal, unit: str, team: str) -> UUID:
    """Return a new account of a leader of a team."""
    return seated(portal, Actor(uuid4(), "team_leader", unit, team)).subject


def session_of(portal: Portal, account: UUID) -> tuple[UUID, str]:
    """Return a new session of an account, and its refresh token."""
    with portal.runtime.db.transaction() as session:
        found = session.execute(table.select().where(table.c.id == account)).mappings().one()
        token = sessions.begin(session, portal.runtime.keys, found, database_now(session))["refresh_token"]
    read = credentials.read_refresh_token(token)
    assert read is not None
    return read[0], token


def live_sessions(portal: Portal, account: UUID) -> set[str]:
    """Return the sessions of an account that were not ended."""
    found = fetch(portal, "SELECT id FROM sessions WHERE account_id = :id AND ended_at IS NULL", id=account)
    return {str(one["id"]) for one in found}


def begin_factor(portal: Portal, account: UUID, *, confirmed: bool = False) -> str:
    """Let the second factor of an account wait for its first code, or be on; return the code of now."""
    secret, keys = factors.new_secret(), portal.runtime.keys
    place = factors.SECRET_PLACE if confirmed else factors.PENDING_PLACE
    column, other = ("totp_secret", "totp_pending") if confirmed else ("totp_pending", "totp_secret")
    statement = f"UPDATE accounts SET {column} = :secret, {other} = NULL, totp_last_step = NULL WHERE id = :id"  # noqa: S608
    change(portal, statement, secret=keys.encrypt(secret, place), id=account)
    return pyotp.TOTP(secret).now()


def of_others(portal: Portal, account: UUID) -> dict[str, Any]:
    """Return what differs when anybody else's account or session was touched."""
    return row(portal, _OF_OTHERS, id=account)

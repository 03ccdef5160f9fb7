"""The portal in this process: people who signed in, and what is moved in its tables instead of waiting."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from argon2 import PasswordHasher
from werkzeug.test import Client, TestResponse

from services.portal import signing
from services.portal.commands import accounts
from services.portal.service import Portal
from tests.support.services import empty_tables, fetch, make_service
from xinhuo.chassis.db import Database
from xinhuo.chassis.identity.tokens import Verifier
from xinhuo.chassis.web.app import HttpApp

PASSWORD = "三号楼的钥匙在门卫室 7"
OTHER_PASSWORD = "操场边上那棵老木棉树 9"
#: For tests that are not about the hashing.
QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
TABLES = ("oidc_states", "signing_keys", "client_keys", "clients", "sessions", "login_failures", "links", "accounts")


def make_portal(database: str) -> Portal:
    """Return a portal on a migrated database, which checks tokens with the keys in its own table."""
    portal = make_service(Portal, database)
    portal.runtime.verifier = Verifier(signing.OwnKeys(portal.runtime.db))
    return portal


def empty(portal: Portal) -> None:
    """Empty its tables."""
    empty_tables(portal, [*TABLES, "idempotency_keys"])


def web(portal: Portal) -> Client:
    """Return a client whose requests pass the door, as in a running system."""
    return Client(HttpApp(portal))


def account(portal: Portal, login: str, role: str = "clerk", **given: Any) -> UUID:
    """Make an account that can sign in with ``PASSWORD``; return its id."""
    with portal.runtime.db.transaction() as session:
        return accounts.demo_account(session, portal.runtime.keys, login, PASSWORD, role, **given)


def change(portal: Portal, statement: str, **parameters: Any) -> None:
    """Change rows, so that time need not pass."""
    db: Database = portal.runtime.db
    with db.transaction() as session:
        session.execute(sa.text(statement), parameters)


@dataclass
class Person:
    """Somebody who asks: by his tokens, if he has signed in."""

    client: Client
    tokens: dict[str, Any] = field(default_factory=dict)

    def sign_in(self, login: str, password: str = PASSWORD, **given: Any) -> TestResponse:
        """Sign in, and keep the tokens when that works."""
        answer = self.client.post("/v1/sessions", json={"login": login, "password": password, **given})
        if answer.status_code == 201:
            self.tokens = answer.json or {}
        return answer

    def refresh(self, token: str | None = None) -> TestResponse:
        """Use a refresh token, one's own unless another is given, and keep the new one."""
        given = token or self.tokens["refresh_token"]
        answer = self.client.post("/v1/sessions:refresh", json={"refresh_token": given})
        if answer.status_code == 200:
            self.tokens = answer.json or {}
        return answer

    def get(self, path: str) -> TestResponse:
        """Read."""
        return self.client.get(path, headers=self._headers())

    def post(self, path: str, body: Any = None, **headers: str) -> TestResponse:
        """Send a body, or none."""
        if body is None:
            return self.client.post(path, headers={**self._headers(), **headers})
        return self.client.post(path, json=body, headers={**self._headers(), **headers})

    def patch(self, path: str, body: Any, if_match: str = "*") -> TestResponse:
        """Change."""
        return self.client.patch(path, json=body, headers={**self._headers(), "If-Match": if_match})

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens['access_token']}"} if self.tokens else {}


def signed_in(portal: Portal, login: str, role: str = "clerk", **given: Any) -> Person:
    """Make an account and return the person who signed in with it."""
    account(portal, login, role, **given)
    person = Person(web(portal))
    answer = person.sign_in(login)
    assert answer.status_code == 201, answer.text
    return person


def outcome(answer: TestResponse) -> tuple[int, str | None]:
    """Return the status and the error code of an answer."""
    return answer.status_code, (answer.json or {}).get("code") if answer.is_json else None


def row(portal: Portal, statement: str, **parameters: Any) -> dict[str, Any]:
    """Return the one row of a SELECT."""
    [found] = fetch(portal, statement, **parameters)
    return found

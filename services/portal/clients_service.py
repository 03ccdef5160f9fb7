"""The ways to API clients and their keys."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from xinhuo.chassis.errors import ChangedMeanwhile
from xinhuo.chassis.markers import http
from xinhuo.chassis.service import Service
from xinhuo.chassis.web.pages import Answer, Listed

from . import queries, schemas
from .answers import tagged
from .commands import clients
from .domain import clients as rules
from .domain.sessions import SessionEnded

_RIGHT = "clients:manage"


class ClientEntrypoints(Service):
    """What administrators do with the clients and keys of programs."""

    @http(
        "POST",
        "/v1/clients",
        right=_RIGHT,
        accepts=schemas.CreateClient,
        returns=schemas.Client,
        status=201,
        errors=(rules.ClientBelongingMissing, rules.ScopeBeyond, SessionEnded),
    )
    def create_client(self, session: Session, body: dict[str, Any]) -> Answer:
        """Make an API client; it gets its keys afterwards."""
        made = clients.create_client(session, body)
        return tagged(made, f"/v1/clients/{made['id']}")

    @http("GET", "/v1/clients", right=_RIGHT, query=schemas.ClientsQuery, returns=schemas.Client)
    def list_clients(self, session: Session, query: dict[str, Any]) -> Listed:
        """List API clients in the order in which they were made."""
        return queries.list_clients(session, query)

    @http("GET", "/v1/clients/{id:uuid}", right=_RIGHT, returns=schemas.ClientWithKeys, errors=(rules.ClientNotFound,))
    def show_client(self, session: Session, id: UUID) -> Answer:
        """Show one API client with what is kept of its keys."""
        return tagged(queries.client(session, id))

    @http(
        "PATCH",
        "/v1/clients/{id:uuid}",
        right=_RIGHT,
        accepts=schemas.ChangeClient,
        returns=schemas.Client,
        errors=(rules.ClientNotFound, ChangedMeanwhile, rules.ScopeBeyond, SessionEnded),
    )
    def change_client(self, session: Session, id: UUID, body: dict[str, Any], if_match: str) -> Answer:
        """Change an API client; the keys of a disabled one are refused."""
        return tagged(clients.change_client(session, id, body, if_match))

    @http(
        "POST",
        "/v1/clients/{id:uuid}/keys",
        right=_RIGHT,
        accepts=schemas.CreateKey,
        returns=schemas.NewKey,
        status=201,
        errors=(rules.ClientNotFound, rules.TooManyKeys, SessionEnded),
    )
    def create_key(self, session: Session, id: UUID, body: dict[str, Any]) -> dict[str, Any]:
        """Make a key of an API client; it is shown this once."""
        return clients.create_key(session, id, body["days"])

    @http(
        "POST",
        "/v1/clients/{id:uuid}/keys/{prefix}:revoke",
        right=_RIGHT,
        returns=schemas.KeyOfClient,
        errors=(rules.ClientNotFound, rules.KeyNotFound, SessionEnded),
    )
    def revoke_key(self, session: Session, id: UUID, prefix: str) -> dict[str, Any]:
        """End a key at once."""
        return clients.revoke_key(session, id, prefix)

    @http(
        "POST",
        "/v1/clients/{id:uuid}/keys/{prefix}:rotate",
        right=_RIGHT,
        accepts=schemas.RotateKey,
        returns=schemas.NewKey,
        status=201,
        errors=(rules.ClientNotFound, rules.KeyNotFound, rules.KeyNotLive, rules.TooManyKeys, SessionEnded),
    )
    def rotate_key(self, session: Session, id: UUID, prefix: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make a key in the place of another, which stays good for the overlap."""
        return clients.rotate_key(session, id, prefix, body["overlap_hours"], body["days"])

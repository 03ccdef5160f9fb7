"""The role of the database that a service works as: it owns nothing and may do to its own tables only what it must."""

from typing import Any

import sqlalchemy as sa

#: What nobody may change or remove, not even the service whose table it is, and what it may still do.
_KEPT = {
    "alembic_version": "SELECT",
    "audit_head": "SELECT",
    "audit_log": "SELECT, INSERT",
    "ledger_entries": "SELECT, INSERT",
}
_MAKE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        BEGIN
            CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- another database of this server made it just now
        END;
    END IF;
    IF NOT pg_has_role(current_user, '{role}', 'MEMBER') THEN
        GRANT {role} TO CURRENT_USER;
    END IF;
END
$$
"""


def role_of(service: str) -> str:
    """Return the name of a service's role."""
    return f"xinhuo_{service}"


def make(connection: Any, service: str) -> None:
    """Make the service's role where it is missing, and let whoever is connected work as it.

    Raises ProgrammingError when the role is missing and whoever is connected may make none.
    """
    connection.execute(sa.text(_MAKE.format(role=role_of(service))))


def mark(service: str) -> str:
    """Return the name of an empty schema that is there from the beginning of a restore until the service is let in."""
    return f"{service}_restoring"


def kept_out(connection: Any, service: str) -> bool:
    """Tell whether a restore of the service was begun and has not ended."""
    return bool(connection.scalar(sa.text("SELECT to_regnamespace(:name) IS NOT NULL"), {"name": mark(service)}))


def admit(session: Any, service: str) -> None:
    """Let the service's role into its schema, in a transaction that works as it; nothing of the schema was usable."""
    role = role_of(service)
    session.execute(sa.text("SET LOCAL ROLE NONE"))
    session.execute(sa.text(f'DROP SCHEMA IF EXISTS "{mark(service)}"'))
    session.execute(sa.text(f'GRANT USAGE ON SCHEMA "{service}" TO {role}'))
    session.execute(sa.text(f"SET LOCAL ROLE {role}"))


def allow(connection: Any, service: str, *, enter: bool = True) -> None:
    """Make the service's role where it is missing, and let it use the tables of the service's schema, as they are now.

    Without ``enter`` nothing in the schema can be used before ``admit``.
    Raises ProgrammingError when the role is missing and whoever migrates may make none.
    """
    role = role_of(service)
    make(connection, service)
    if enter:
        connection.execute(sa.text(f'GRANT USAGE ON SCHEMA "{service}" TO {role}'))
    for kind, rights in (("TABLES", "SELECT, INSERT, UPDATE, DELETE"), ("SEQUENCES", "USAGE, SELECT")):
        connection.execute(sa.text(f'GRANT {rights} ON ALL {kind} IN SCHEMA "{service}" TO {role}'))
    connection.execute(sa.text(f'REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA "{service}" FROM PUBLIC'))
    connection.execute(sa.text(f'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA "{service}" TO {role}'))
    if connection.scalar(sa.text("SELECT to_regproc(:name)"), {"name": f'"{service}".audit_chain'}):
        # It runs as the owner: on a table of somebody's own it would move the head of the log.
        connection.execute(sa.text(f'REVOKE EXECUTE ON FUNCTION "{service}".audit_chain FROM {role}'))
    for table, rights in _KEPT.items():
        name = f'"{service}".{table}'
        if connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": name}):
            connection.execute(sa.text(f"REVOKE ALL ON {name} FROM {role}"))
            connection.execute(sa.text(f"GRANT {rights} ON {name} TO {role}"))

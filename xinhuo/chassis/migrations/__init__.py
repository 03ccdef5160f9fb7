"""Migrations: each service's own versions, run by Alembic inside the service's schema.

A version's file begins with its revision (``0002_imports.py`` is revision ``0002``), so that a process can tell
whether its schema is current without loading Alembic.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from .. import roles
from ..db import Database

_LOCK = 7_041_963


def upgrade(db: Database, versions: Path) -> tuple[str | None, str]:
    """Bring a service's schema to the newest version; return the revisions before and after.

    Creates the schema and the service's role when they are missing. Several processes may call it at once: one works,
    the others wait.
    """
    with db.as_owner() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public"))
        connection.execute(sa.text(f'CREATE SCHEMA IF NOT EXISTS "{db.service}"'))
        before = _current(connection, db.service)
        after = head(versions)
        if before != after:
            from alembic import command

            config = _config(versions)
            config.attributes["connection"] = connection
            config.attributes["schema"] = db.service
            command.upgrade(config, "head")
        roles.allow(connection, db.service)
        return before, after


def current(db: Database) -> str | None:
    """Return the revision a service's schema is at, or None when it has none yet, as its owner sees it."""
    with db.as_owner() as connection:
        return _current(connection, db.service)


def current_of_service(db: Database) -> str | None:
    """Return the same as the service itself sees it; raises DBAPIError when its role is missing."""
    with db.engine.connect() as connection:
        return _current(connection, db.service)


def head(versions: Path) -> str:
    """Return the newest revision in a folder of versions."""
    revisions = sorted(path.name.partition("_")[0] for path in versions.glob("[0-9]*_*.py"))
    if not revisions:
        raise FileNotFoundError(f"no migrations in {versions}")
    return revisions[-1]


def _current(connection: sa.Connection, schema: str) -> str | None:
    if not connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": f'"{schema}".alembic_version'}):
        return None
    version = sa.table("alembic_version", sa.column("version_num"), schema=schema)
    revision: str | None = connection.scalar(sa.select(version.c.version_num))
    return revision


def _config(versions: Path) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(versions).replace("%", "%%"))
    return config

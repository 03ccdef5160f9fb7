"""Migrations: each service's own versions, run by Alembic inside the service's schema.

A version's file begins with its revision (``0002_imports.py`` is revision ``0002``), so that a process can tell
whether its schema is current without loading Alembic.

Each version says its ``phase``. ``"expand"`` adds only: the program before it goes on working on the new tables.
``"contract"`` takes away or demands more, and names in ``works_from`` the oldest revision whose programs work on; its
own one when all must be stopped. What the tables ask of programs is written beside their revision, so that a process
of the release before knows whether it may go on serving, during an upgrade and after going back.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from .. import roles
from ..db import Database

_LOCK = 7_041_963
EXPAND, CONTRACT = "expand", "contract"


class TablesTooNew(Exception):
    """The tables are of a later release, with which programs of this one do not work."""

    def __init__(self, service: str, tables: "Tables", head: str) -> None:
        super().__init__(
            f"{service} 的库结构 {tables.revision} 来自更新的版本，本程序（{head}）不能使用，请用新版程序 / "
            f"the tables of {service} are at {tables.revision}, of a later release: this program ({head}) cannot work "
            "with them, run the later one"
        )


class HalfRestored(Exception):
    """A restore of the service was begun and has not ended: what is there is not to be worked on."""

    def __init__(self, service: str) -> None:
        super().__init__(
            f"{service} 的备份没有恢复完，不能使用，再恢复一次：xinhuo backup restore --service {service} --replace / "
            f"a restore of {service} has not ended, nothing may use what is there: restore it again, with "
            f"xinhuo backup restore --service {service} --replace"
        )


@dataclass(frozen=True)
class Tables:
    """Where a schema is, and the oldest revision whose programs work with it (None: written by an older release)."""

    revision: str | None
    works_from: str | None = None

    def serve(self, head: str) -> bool:
        """Tell whether a program whose newest version is ``head`` works on these tables."""
        return self.revision == head or (
            self.are_newer(head) and self.works_from is not None and self.works_from <= head
        )

    def are_newer(self, head: str) -> bool:
        """Tell whether a later release made them."""
        return self.revision is not None and self.revision > head


def upgrade(db: Database, versions: Path, *, enter: bool = True) -> tuple[str | None, str]:
    """Bring a service's schema to the newest version; return the revisions before and after.

    Creates the schema and the service's role when they are missing. Several processes may call it at once: one works,
    the others wait. Tables of a later release are left as they are when programs of this one work with them; else it
    raises TablesTooNew. Without ``enter`` the service is not let in yet (``roles.admit``); with it, raises HalfRestored
    where a restore has not ended.
    """
    with db.as_owner() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        if enter:
            _check_restored(connection, db.service)
        connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public"))
        connection.execute(sa.text(f'CREATE SCHEMA IF NOT EXISTS "{db.service}"'))
        tables, after = _tables(connection, db.service), head(versions)
        before = tables.revision
        if tables.are_newer(after):
            if not tables.serve(after):
                raise TablesTooNew(db.service, tables, after)
            return before, after
        if before != after:
            from alembic import command

            config = _config(versions)
            config.attributes["connection"] = connection
            config.attributes["schema"] = db.service
            command.upgrade(config, "head")
        if before != after or tables.works_from is None:
            _note(connection, db.service, works_from(versions))
        roles.allow(connection, db.service, enter=enter)
        return before, after


def check_restored(db: Database) -> None:
    """Raise HalfRestored where a restore of the service has not ended."""
    with db.as_owner() as connection:
        _check_restored(connection, db.service)


def _check_restored(connection: sa.Connection, service: str) -> None:
    if roles.kept_out(connection, service):
        raise HalfRestored(service)


def current(db: Database) -> str | None:
    """Return the revision a service's schema is at, or None when it has none yet, as its owner sees it."""
    with db.as_owner() as connection:
        return _tables(connection, db.service).revision


def tables_of(db: Database) -> Tables:
    """Return where a schema is and what it asks of programs, as its owner sees it."""
    with db.as_owner() as connection:
        return _tables(connection, db.service)


def tables_of_service(db: Database) -> Tables:
    """Return the same as the service itself sees it; raises DBAPIError when its role is missing."""
    with db.engine.connect() as connection:
        return _tables(connection, db.service)


def current_of_service(db: Database) -> str | None:
    """Return the revision as the service itself sees it; raises DBAPIError when its role is missing."""
    return tables_of_service(db).revision


def head(versions: Path) -> str:
    """Return the newest revision in a folder of versions."""
    revisions = sorted(path.name.partition("_")[0] for path in versions.glob("[0-9]*_*.py"))
    if not revisions:
        raise FileNotFoundError(f"no migrations in {versions}")
    return revisions[-1]


def works_from(versions: Path) -> str:
    """Return the oldest revision whose programs work on the newest tables; a version without a phase needs its own."""
    from alembic.script import ScriptDirectory

    oldest = ""
    for script in ScriptDirectory.from_config(_config(versions)).walk_revisions():
        if getattr(script.module, "phase", None) != EXPAND:
            oldest = max(oldest, getattr(script.module, "works_from", script.revision))
    return oldest


def _tables(connection: sa.Connection, schema: str) -> Tables:
    if not connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": f'"{schema}".alembic_version'}):
        return Tables(None)
    # Read so that it may be missing: releases before it was there left the table without the column.
    row = connection.execute(
        sa.text(f"SELECT version_num, to_jsonb(v) ->> 'works_from' FROM \"{schema}\".alembic_version AS v")  # noqa: S608
    ).first()
    return Tables(*row) if row else Tables(None)


def _note(connection: sa.Connection, schema: str, oldest: str) -> None:
    name = f'"{schema}".alembic_version'
    connection.execute(sa.text(f"ALTER TABLE {name} ADD COLUMN IF NOT EXISTS works_from text"))
    connection.execute(sa.text(f"UPDATE {name} SET works_from = :oldest"), {"oldest": oldest})  # noqa: S608


def _config(versions: Path) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(versions).replace("%", "%%"))
    return config

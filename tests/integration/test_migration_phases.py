"""A version that takes something away from the tables, or demands more, says so: the release before still runs on them.

Each version is applied by itself, and what PostgreSQL's catalogue says before and after is compared.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory

from tests.support import catalog
from tests.support.postgres import create_database, drop_database
from tests.support.services import make_service
from xinhuo.chassis import migrations
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.db import Database
from xinhuo.cli import build

REMEDY = 'takes away or demands something: it must say phase = "contract" and works_from (see CONTRIBUTING.md)'


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    made = create_database(postgres_url)
    yield made
    drop_database(made)


def wrongly_marked(db: Database, versions: Path) -> Iterator[str]:
    """Apply the versions one by one and yield those that say they only add, and do not."""
    config = migrations._config(versions)
    scripts = sorted(ScriptDirectory.from_config(config).walk_revisions(), key=lambda script: script.revision)
    with db.as_owner() as connection:
        connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public")
        connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{db.service}"')
        before = catalog.read(connection)
        for script in scripts:
            config.attributes.update(connection=connection, schema=db.service)
            command.upgrade(config, script.revision)
            after = catalog.read(connection)
            found = sorted(catalog.taken_away(before, after))
            if found and script.module.phase == migrations.EXPAND:
                yield f"{db.service} {script.revision} {REMEDY}: {'; '.join(found)}"
            before = after


@pytest.mark.parametrize("name", SERVICES)
def test_every_version_that_says_it_only_adds_does_so(url: str, name: str) -> None:
    db = make_service(build.service_class(name), url).runtime.db
    try:
        assert list(wrongly_marked(db, build.versions_of(name))) == []
        with db.as_owner() as connection:
            assert len(catalog.read(connection).tables) > 5, "the comparison saw the tables"
    finally:
        db.close()


FIRST = """
CREATE TABLE things (id int PRIMARY KEY, name text, kind text NOT NULL DEFAULT 'a' CHECK (kind IN ('a', 'b')));
CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'
"""


def version(revision: str, before: str | None, statements: str, mark: str = "") -> str:
    return f"""
from alembic import op

{mark or 'phase = "expand"'}
revision = {revision!r}
down_revision = {before!r}


def upgrade() -> None:
    op.get_bind().exec_driver_sql({statements!r})
"""


def planted(folder: Path, statements: str, mark: str = "") -> Path:
    (folder / "0001_first.py").write_text(version("0001", None, FIRST))
    (folder / "0002_planted.py").write_text(version("0002", "0001", statements, mark))
    return folder


@pytest.fixture
def db(url: str) -> Iterator[Any]:
    made = Database(url, "planted")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("statements", "complaint"),
    [
        ("ALTER TABLE things DROP COLUMN name", "column things.name is gone"),
        ("ALTER TABLE things RENAME COLUMN name TO title", "column things.name is gone"),
        ("ALTER TABLE things RENAME TO objects", "table things is gone"),
        ("ALTER TABLE things ALTER COLUMN id TYPE bigint", "things.id is bigint"),
        ("ALTER TABLE things ALTER COLUMN name SET NOT NULL", "must not be null"),
        ("ALTER TABLE things ALTER COLUMN kind DROP DEFAULT", "not filled by itself"),
        ("ALTER TABLE things ADD COLUMN size int NOT NULL", "new column things.size must be given"),
        ("ALTER TABLE things ADD CHECK (name <> '')", "constraint things_name_check on things is new"),
        ("ALTER TABLE things DROP CONSTRAINT things_kind_check, ADD CONSTRAINT things_kind_check"
         " CHECK (kind IN ('a', 'b', 'c'))", "constraint things_kind_check on things is another"),
        ("ALTER TABLE things ADD COLUMN size int, ADD CONSTRAINT named CHECK (size > 0 OR name <> '')", "named"),
        ("CREATE UNIQUE INDEX once ON things (name)", "unique index once"),
        ("ALTER TABLE things ENABLE ROW LEVEL SECURITY", "rows of things are hidden"),
        ("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
         "CREATE TRIGGER never BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION no()", "trigger never"),
        ("DROP FUNCTION one()", "function one() is gone"),
        ("CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 2'", "function one() is another"),
    ],
)  # fmt: skip
def test_what_takes_something_away_is_found(db: Database, tmp_path: Path, statements: str, complaint: str) -> None:
    (found,) = wrongly_marked(db, planted(tmp_path, statements))

    assert found.startswith("planted 0002 takes away")
    assert complaint in found


@pytest.mark.parametrize(
    "statements",
    [
        "CREATE TABLE more (id int PRIMARY KEY, thing int NOT NULL REFERENCES things)",
        "ALTER TABLE things ADD COLUMN size int CHECK (size > 0), ADD COLUMN since timestamptz NOT NULL DEFAULT now()",
        "CREATE INDEX things_by_name ON things (name)",
        "ALTER TABLE things ALTER COLUMN kind DROP NOT NULL",
        "ALTER TABLE things DROP CONSTRAINT things_kind_check",
    ],
)
def test_what_only_adds_is_let_through(db: Database, tmp_path: Path, statements: str) -> None:
    assert list(wrongly_marked(db, planted(tmp_path, statements))) == []


def test_what_says_that_it_takes_something_away_may(db: Database, tmp_path: Path) -> None:
    versions = planted(tmp_path, "ALTER TABLE things DROP COLUMN name", 'phase = "contract"\nworks_from = "0001"')

    assert list(wrongly_marked(db, versions)) == []
    assert migrations.works_from(versions) == "0001"

"""The newest version of each service's tables goes back and comes again, on PostgreSQL."""

from collections.abc import Iterator

import pytest
from alembic import command

from tests.support.postgres import create_database, drop_database
from tests.support.services import make_service
from xinhuo.chassis import migrations
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.db import Database
from xinhuo.cli import build

VERSIONS = build.versions_of("notices")


def tables(db: Database) -> list[tuple[str, str, str]]:
    """Return the columns of all tables of a service, with their types."""
    wanted = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = %s"
    with db.as_owner() as connection:
        return sorted(tuple(row) for row in connection.exec_driver_sql(wanted, (db.service,)))


@pytest.mark.parametrize("name", SERVICES)
def test_the_newest_version_goes_back_and_comes_again(empty_database: str, name: str) -> None:
    db = make_service(build.service_class(name), empty_database).runtime.db
    versions = build.versions_of(name)
    migrations.upgrade(db, versions)
    before = tables(db)
    assert before
    config = migrations._config(versions)
    with db.as_owner() as connection:
        config.attributes.update(connection=connection, schema=name)
        command.downgrade(config, "-1")
    assert migrations.current(db) != migrations.head(versions)
    migrations.upgrade(db, versions)
    assert tables(db) == before
    db.close()


def dump(db: Database) -> list[tuple[str, str | None]]:
    """Return the rows that say where the tables are."""
    with db.as_owner() as connection:
        return [tuple(row) for row in connection.exec_driver_sql("SELECT * FROM alembic_version")]


@pytest.fixture
def notices(postgres_url: str) -> Iterator[Database]:
    url = create_database(postgres_url)
    db = make_service(build.service_class("notices"), url).runtime.db
    migrations.upgrade(db, VERSIONS)
    yield db
    db.close()
    drop_database(url)


def test_an_upgrade_notes_the_oldest_revision_whose_programs_work_also_in_tables_of_an_older_release(
    notices: Database,
) -> None:
    assert dump(notices) == [(migrations.head(VERSIONS), migrations.works_from(VERSIONS))]
    with notices.as_owner() as connection:
        connection.exec_driver_sql("ALTER TABLE alembic_version DROP COLUMN works_from")
    assert migrations.tables_of_service(notices).works_from is None
    migrations.upgrade(notices, VERSIONS)
    assert dump(notices) == [(migrations.head(VERSIONS), migrations.works_from(VERSIONS))]


@pytest.mark.parametrize("works_from", ["0001", "9999"])
def test_an_upgrade_by_an_older_release_leaves_newer_tables_and_fails_only_where_it_cannot_work_with_them(
    notices: Database, works_from: str
) -> None:
    with notices.as_owner() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999', works_from = %s", (works_from,))
    before = dump(notices)
    if works_from == "0001":
        assert migrations.upgrade(notices, VERSIONS) == ("9999", migrations.head(VERSIONS))
    else:
        with pytest.raises(migrations.TablesTooNew, match="notices are at 9999, of a later release"):
            migrations.upgrade(notices, VERSIONS)
    assert dump(notices) == before

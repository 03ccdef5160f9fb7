"""The newest version of each service's tables goes back and comes again, on PostgreSQL."""

import pytest
from alembic import command

from tests.support.services import make_service
from xinhuo.chassis import migrations
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.db import Database
from xinhuo.cli import build


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

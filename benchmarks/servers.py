"""The broker and the database that everything is measured on."""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from tests.support.rabbit import RabbitNode
from xinhuo.cli.embedded import EmbeddedPostgres


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[tuple[RabbitNode, str]]:
    """Run a broker and a database with fsync that knows the moment of each commit."""
    node = RabbitNode(folder / "rabbit")
    postgres = EmbeddedPostgres(folder / "data", database="bench")
    try:
        node.start()
        alone(postgres.start(), "ALTER SYSTEM SET track_commit_timestamp = on")
        postgres.stop()
        yield node, postgres.start()
    finally:
        postgres.stop()
        node.stop()


@contextlib.contextmanager
def vhost_of_its_own(node: RabbitNode, kind: str) -> Iterator[str]:
    """Return the address of a virtual host that is gone afterwards."""
    name = f"{kind}-{secrets.token_hex(4)}"
    try:
        yield node.add_vhost(name)
    finally:
        node.delete_vhost(name)


def database_of_its_own(url: str, name: str) -> str:
    """Make a database on the same server and return its URL."""
    alone(url, f"CREATE DATABASE {name}")
    return sa.make_url(url).set(database=name).render_as_string(hide_password=False)


def alone(url: str, *statements: str) -> None:
    """Execute statements that no transaction may hold."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()

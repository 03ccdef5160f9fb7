"""The first start of an installation whose servers are its own: logins of services."""

import secrets
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from tests.support.postgres import create_database, drop_database, migrated_template
from xinhuo.cli import first_start


def test_a_login_is_made_and_changed_without_its_password_in_any_statement(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = create_database(postgres_url, migrated_template(postgres_url))
    parts = urlsplit(url)
    login = f"xinhuo_test_login_{secrets.token_hex(4)}"
    passwords = [secrets.token_urlsafe(32) for _ in range(2)]
    logins = [urlunsplit(parts._replace(netloc=f"{login}:{one}@{parts.hostname}:{parts.port}")) for one in passwords]
    said: list[str] = []
    execute = psycopg.Connection.execute

    def heard(connection: psycopg.Connection[Any], query: Any, *more: Any, **options: Any) -> Any:
        said.append(query.as_string(connection) if isinstance(query, sql.Composable) else query)
        return execute(connection, query, *more, **options)

    try:
        with monkeypatch.context() as patched:
            patched.setattr(psycopg.Connection, "execute", heard)
            for one in logins:
                first_start._let_in(url, "awards", one)
        with psycopg.connect(logins[1]) as connection:
            assert connection.info.user == login
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(logins[0])
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(login)))
        drop_database(url)

    assert sum("SCRAM-SHA-256$" in text for text in said) == 2
    assert not any(password in text for password in passwords for text in said)

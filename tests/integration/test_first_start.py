"""The first start of an installation whose servers are its own: logins and keys of services."""

import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from tests.support.postgres import create_database, drop_database, migrated_template
from tests.support.services import write_keys
from xinhuo.chassis.config import SERVICES
from xinhuo.cli import first_start, installing


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


def test_keys_of_services_that_the_portal_does_not_know_are_made_anew(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = create_database(postgres_url, migrated_template(postgres_url))
    parts, begin = urlsplit(url), f"xinhuo_test_{secrets.token_hex(4)}"
    write_keys(tmp_path / "master.key")
    (tmp_path / "broker-users").mkdir()
    for service in SERVICES:
        (tmp_path / "broker-users" / f"{service}.env").write_text(f"AMQP_URI=amqp://{service}@nowhere/x\n")
        (tmp_path / service).mkdir()
        login = parts._replace(netloc=f"{begin}_{service}:password@{parts.hostname}:{parts.port}")
        (tmp_path / service / "database-url").write_text(urlunsplit(login))
    environment = {"DATABASE_URL": url, "XINHUO_DATA": tmp_path, "XINHUO_KEY_FILE": tmp_path / "master.key"}
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    asking = list(installing.ASKS)

    try:
        first, again = first_start.hand_out(tmp_path), first_start.hand_out(tmp_path)
        with psycopg.connect(url) as connection:  # as tables are that come back from before the first start
            connection.execute("DELETE FROM portal.client_keys")
        back, after = first_start.hand_out(tmp_path), first_start.hand_out(tmp_path)
        with psycopg.connect(url) as connection:
            # A backup of before the keys were renewed knows these as ended.
            connection.execute(
                "UPDATE portal.client_keys SET revoked_at = now() WHERE prefix = %s",
                [(tmp_path / asking[-1] / "service-key").read_text().split("_")[1]],
            )
        ended = first_start.hand_out(tmp_path)
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            for service in SERVICES:
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(f"{begin}_{service}")))
        drop_database(url)

    assert [first, again, back, after, ended] == [asking, [], asking, [], asking]

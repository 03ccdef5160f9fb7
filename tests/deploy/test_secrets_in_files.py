"""Processes that find every secret in a file, as containers give them, work like any others."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import Fleet
from tests.support.postgres import create_database, drop_database
from xinhuo.chassis.config import IN_FILE, secret_variables


@pytest.fixture
def fleet(postgres_url: str, empty_broker: str, tmp_path: Path) -> Iterator[Fleet]:
    url = create_database(postgres_url)
    made = Fleet(tmp_path, {"DATABASE_URL": url, "AMQP_URI": empty_broker})
    yield made
    made.end()
    drop_database(url)


def test_a_service_starts_with_its_secrets_in_files_only(fleet: Fleet, tmp_path: Path) -> None:
    for variable in secret_variables():
        if (text := fleet.settings.pop(variable, None)) is not None:
            (tmp_path / variable).write_text(text + "\n")
            fleet.settings[variable + IN_FILE] = str(tmp_path / variable)
    assert "amqp://" not in str(fleet.settings)
    assert "postgresql://" not in str(fleet.settings)

    fleet.prepare()
    fleet.begin("nameko", ("portal", "all"), ("notices", "all"))

    assert fleet.get("notices", "/v1/notices")["items"] == []

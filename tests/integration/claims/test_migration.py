"""The tables of two persons do not go while the ledger holds hours that were claimed: who approved would be lost."""

from pathlib import Path

import pytest
from alembic import command
from sqlalchemy.exc import IntegrityError

import services.volunteers as volunteers
from xinhuo.chassis import migrations

from .scene import Scene

_VERSIONS = Path(str(volunteers.__file__)).parent / "migrations"


def _downgrade(scene: Scene) -> None:
    with scene.service.runtime.db.as_owner() as connection:
        config = migrations._config(_VERSIONS)
        config.attributes.update(connection=connection, schema="volunteers")
        command.downgrade(config, "0012")


def test_the_migration_does_not_go_back_over_hours_that_were_claimed(scene: Scene) -> None:
    claim = scene.claimed(scene.me)
    assert scene.approve(scene.clerk, claim).status_code == 200
    with pytest.raises(IntegrityError, match="ledger_entries_source_check"):
        _downgrade(scene)
    assert [row["approved_by"] for row in scene.ledger()] == [scene.clerk.subject]
    assert scene.get(scene.me, f"/v1/claims/{claim['id']}")["state"] == "approved"

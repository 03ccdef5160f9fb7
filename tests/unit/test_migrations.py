"""A version's file name and Alembic agree about the newest revision, for every service."""

import pytest
from alembic.script import ScriptDirectory

from xinhuo.chassis import migrations
from xinhuo.chassis.config import SERVICES
from xinhuo.cli import build


@pytest.mark.parametrize("service", SERVICES)
def test_the_newest_file_is_alembics_head(service):
    versions = build.versions_of(service)
    script = ScriptDirectory.from_config(migrations._config(versions))
    assert script.get_heads() == [migrations.head(versions)]


def test_a_folder_without_versions_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no migrations"):
        migrations.head(tmp_path)

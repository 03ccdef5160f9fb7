"""A version's file name and Alembic agree about the newest revision, and each version says whether it only adds."""

import pytest
from alembic.script import ScriptDirectory

from xinhuo.chassis import migrations
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.migrations import Tables
from xinhuo.cli import build


@pytest.mark.parametrize("service", SERVICES)
def test_the_newest_file_is_alembics_head(service):
    versions = build.versions_of(service)
    script = ScriptDirectory.from_config(migrations._config(versions))
    assert script.get_heads() == [migrations.head(versions)]


@pytest.mark.parametrize("service", SERVICES)
def test_every_version_says_its_phase_and_from_which_revision_programs_work(service):
    for script in ScriptDirectory.from_config(migrations._config(build.versions_of(service))).walk_revisions():
        assert script.module.phase in (migrations.EXPAND, migrations.CONTRACT), script.path
        contracts = script.module.phase == migrations.CONTRACT
        assert hasattr(script.module, "works_from") == contracts, script.path
        assert not contracts or script.module.works_from <= script.revision, script.path


def test_a_folder_without_versions_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no migrations"):
        migrations.head(tmp_path)


@pytest.mark.parametrize(
    ("tables", "serves"),
    [
        (Tables("0005", "0003"), True),
        (Tables("0005"), True),
        (Tables("0006", "0003"), True),
        (Tables("0006", "0005"), True),
        (Tables("0006", "0006"), False),
        (Tables("0006"), False),
        (Tables("0004", "0003"), False),
        (Tables(None), False),
    ],
)
def test_a_program_at_0005_works_on_its_own_tables_and_on_newer_ones_that_let_it(tables, serves):
    assert tables.serve("0005") is serves

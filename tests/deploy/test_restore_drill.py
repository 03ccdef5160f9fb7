"""Everything is destroyed and brought back as docs/backup.md says; what was lost and what was told is counted."""

import os
import secrets
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from services.volunteers.commands.hours import log_hours
from services.volunteers.models import Entered, Served
from services.volunteers.service import Volunteers
from tests.deploy.archiving import ArchivingPostgres, run_page
from tests.deploy.drill import Drill
from tests.support.hours import NOW, World
from tests.support.installation import called
from tests.support.postgres import create_database, migrated_template
from tests.support.rabbit import RabbitNode
from tests.support.reconciled import three_services
from tests.support.services import write_keys
from tests.support.waiting import wait_for

#: So many entries at least between two steps of the drill; more of them by night.
MORE = int(os.environ.get("XINHUO_TEST_DRILL", "20"))


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, servers: Any) -> Iterator[ArchivingPostgres]:
    """A server of this test's own, which it may destroy; where its own account may go."""
    made = ArchivingPostgres(servers.folder() / f"archiving-{secrets.token_hex(3)}")
    yield made
    made.stop()


@pytest.fixture
def drill(server: ArchivingPostgres, rabbit_node: RabbitNode, tmp_path: Path) -> Iterator[Drill]:
    vhost = f"drill-{secrets.token_hex(4)}"
    begun = Drill.begin(server, rabbit_node, tmp_path, vhost)
    yield begun
    begun.end()
    rabbit_node.delete_vhost(vhost)


@pytest.mark.timeout(400 + 2 * MORE)
def test_what_is_destroyed_comes_back_and_nobody_is_told_twice(drill: Drill) -> None:
    for name, step in (
        ("awards", drill.lose_awards),
        ("notify", drill.lose_notify),
        ("everything", lambda: drill.lose_everything(MORE)),
        ("disk", lambda: drill.lose_the_disk(MORE)),
    ):
        began = time.monotonic()
        counted = step()
        print(f"drill: {name}: {counted}, {time.monotonic() - began:.1f} s")


def enter(volunteers: Volunteers, served: Served) -> None:
    with volunteers.runtime.db.transaction() as session:
        (outcome,) = log_hours(session, [served], now=NOW)
    assert isinstance(outcome, Entered)


def test_a_time_between_two_hours_has_the_first_and_not_the_second(server: ArchivingPostgres, tmp_path: Path) -> None:
    url = create_database(server.start(), migrated_template(server.url))
    write_keys(tmp_path / "master.key")
    (tmp_path / "backups").mkdir()

    def minutes() -> list[int]:
        with psycopg.connect(url) as connection:
            return [one for (one,) in connection.execute("SELECT minutes FROM volunteers.ledger_entries ORDER BY 1")]

    server.shell("pg_basebackup")
    with three_services(url) as three:
        world = World(three.volunteers)
        (person,) = world.add_volunteers(1)
        enter(three.volunteers, world.served(person, "2026-03-01 09:00", "2026-03-01 10:00", 60))
        with psycopg.connect(url) as connection:
            until = connection.execute("SELECT clock_timestamp()").fetchone()
        assert until is not None
        assert isinstance(until[0], datetime)
        enter(three.volunteers, world.served(person, "2026-03-02 09:00", "2026-03-02 11:00", 120))
    assert minutes() == [60, 120]
    with psycopg.connect(url, autocommit=True) as connection:
        # What is brought back must not depend on the folder that is lost: the segment at hand is archived too.
        (segment,) = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone() or ("",)
    wait_for(lambda: (server.archive / segment).exists(), 30, "the log to be archived")

    server.lose_everything()
    server.shell('"recovery_target_time', UNTIL=until[0].isoformat())
    server.launch()
    with psycopg.connect(url, autocommit=True) as connection:
        wait_for(lambda: connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,), 30, "its end")

    assert minutes() == [60]
    settings = {"DATABASE_URL": url, "XINHUO_KEY_FILE": str(tmp_path / "master.key")}
    printed = run_page("xinhuo backup settle", tmp_path, {**settings, "UNTIL": until[0].isoformat()})
    assert "xinhuo events replay --service awards --since" in printed
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM volunteers.outbox WHERE published_at IS NULL").fetchone() == (
            0,
        )
    assert called("audit", "verify", settings=settings).code == 0

"""The version before and this one side by side, under load that is counted: forwards, back, and forwards again.

The version before is a commit of this repository (deploy/previous-version), on the same requirements. Services are
replaced one after the other, worker and api, the new process beside the old one for a moment, as a Deployment does it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.campaign import Campaign, make_campaign
from tests.support.fleet import PATIENCE, Load, acknowledged, ledger, tally
from tests.support.installation import SERVICES
from tests.support.postgres import create_database, drop_database
from tests.support.rolling import ROLES, Rolling, Version, following, here, previous, why_no_previous
from tests.support.waiting import wait_for
from xinhuo.chassis import migrations
from xinhuo.chassis.topology import RETIRED_QUEUES
from xinhuo.cli.build import versions_of

needs_history = pytest.mark.skipif(bool(why_no_previous()), reason=why_no_previous() or "the version before is there")
HERE = here()
#: Through which an entry passes on its way to everything that is counted.
COUNTED = ("volunteers", "awards", "notify")
#: Of these, who says it and one who hears it; the rest stays.
CHANGED = ("volunteers", "awards")
#: Seconds between two requests of a client: enough to see what is lost, and the machine stays free for the starts.
PACE = 0.1


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return previous(tmp_path_factory.mktemp("previous"))


@pytest.fixture
def fleet(postgres_url: str, empty_broker: str, tmp_path: Path) -> Iterator[Rolling]:
    url = create_database(postgres_url)
    made = Rolling(tmp_path, {"DATABASE_URL": url, "AMQP_URI": empty_broker})
    try:
        yield made
    finally:
        made.end()
        drop_database(url)


def install(fleet: Rolling, version: Version, *members: tuple[str, str]) -> None:
    for arguments in (("key", "create"), ("db", "upgrade"), ("topology", "apply")):
        version.run(*arguments, settings=fleet.settings)
    fleet.replace(version, *members)


def roll(fleet: Rolling, load: Load, version: Version, *services: str) -> None:
    """Replace the processes of services, one service after the other, while hours are entered."""
    for service in services:
        fleet.replace(version, *((service, role) for role in ROLES))
        load.grew(5)
        fleet.assert_all_ready()


def assert_every_minute_counted_once(fleet: Rolling, load: Load, campaign: Campaign) -> None:
    entered = len(load.entered)
    assert (load.refused, load.interrupted) == ([], 0), "nobody noticed that anything was replaced"
    wait_for(lambda: not any(fleet.troubles().values()), PATIENCE, f"nothing to be left over: {fleet.troubles()}")
    wait_for(lambda: acknowledged(fleet, campaign) >= entered, PATIENCE, "every acknowledgement")
    wait_for(lambda: tally(fleet, campaign) == entered, PATIENCE, "the tally")
    assert ledger(fleet, campaign) == (entered, entered)
    assert campaign.statistics()["minutes"] == entered
    assert acknowledged(fleet, campaign) == entered
    assert fleet.scalar("SELECT count(*) FROM volunteers.ledger_entries") == entered


@needs_history
@pytest.mark.timeout(400)
def test_an_upgrade_from_the_version_before_and_back_and_again_loses_and_doubles_nothing(
    fleet: Rolling, before: Version
) -> None:
    install(fleet, before, *((service, role) for service in SERVICES for role in ROLES))
    assert fleet.versions() == {"previous"}
    campaign = make_campaign(fleet)
    load = Load(fleet, campaign, pace=PACE)
    load.start()
    load.grew()

    # The tables and queues first, while the version before serves.
    HERE.run("db", "upgrade", settings=fleet.settings)
    HERE.run("topology", "apply", settings=fleet.settings)
    load.grew()
    fleet.assert_all_ready()

    roll(fleet, load, HERE, *SERVICES)
    assert fleet.versions() == {"here"}
    # Back to the program before; the tables stay. Who enters hours is replaced first, so that each way round what one
    # version says is heard by the other.
    roll(fleet, load, before, *COUNTED)
    assert fleet.versions() == {"previous", "here"}
    roll(fleet, load, HERE, "volunteers")
    load.grew()
    load.stop()

    assert_every_minute_counted_once(fleet, load, campaign)


@pytest.mark.timeout(400)
def test_this_version_works_on_the_tables_of_a_later_one_and_goes_back_to_them(fleet: Rolling, tmp_path: Path) -> None:
    after = following(tmp_path / "following", COUNTED)
    both = [(service, role) for service in CHANGED for role in ROLES]
    install(fleet, HERE, *both, *((service, "all") for service in SERVICES if service not in CHANGED))
    campaign = make_campaign(fleet)
    load = Load(fleet, campaign, pace=PACE)
    load.start()

    # A process of the later version on the tables of this one waits for its migration, and says so.
    (early,) = fleet.start(after, ("awards", "api"))
    wait_for(early.readiness, PATIENCE, "an answer")
    assert early.readiness()["checks"]["migration"].startswith("migration_pending")
    assert '"event": "migration_pending"' in early.log.read_text()

    after.run("db", "upgrade", settings=fleet.settings)
    wait_for(early.is_ready, PATIENCE, "the early process to be ready")
    early.finish()
    load.grew()
    fleet.assert_all_ready()  # what was added does not disturb this version
    head = migrations.head(versions_of("awards"))
    assert fleet.scalar("SELECT version_num > %s FROM awards.alembic_version", head)

    roll(fleet, load, after, *CHANGED)
    # Going back: the job that upgrades has nothing to do, and does not fail.
    said = HERE.run("db", "upgrade", "--json", settings=fleet.settings)
    assert {row["service"] for row in json.loads(said)["services"] if row["from"] > row["to"]} == set(COUNTED)
    HERE.run("db", "current", settings=fleet.settings)
    roll(fleet, load, HERE, *CHANGED)
    load.grew()
    load.stop()

    assert_every_minute_counted_once(fleet, load, campaign)
    written = fleet.scalar("SELECT count(*) FROM volunteers.outbox WHERE planted = 'planted'")
    assert written >= len(load.entered), "both versions wrote into the new column's table"


#: Reads every sample of a folder, and one with what a later version might add; prints the types that it knows.
_READ = """
import json, sys
from pathlib import Path
from xinhuo.contracts import codec
known = []
for path in sorted(Path(sys.argv[1]).glob("*.json")):
    for more in (None, "added_later"):
        body = json.loads(path.read_bytes())
        if more:
            body[more], body["data"][more] = "x", "x"
        try:
            envelope = codec.decode(json.dumps(body).encode())
        except codec.Undecodable as error:
            if error.code not in ("event.unknown_type", "event.unknown_version"):
                raise
        else:
            known.append(envelope.type)
print(json.dumps(known))
"""


@needs_history
def test_what_either_version_publishes_the_other_reads_also_with_fields_that_it_does_not_know(before: Version) -> None:
    samples = {version.name: version.tree / "xinhuo" / "contracts" / "samples" for version in (before, HERE)}
    for reader, writer in ((HERE, "previous"), (before, "here"), (before, "previous")):
        known = json.loads(reader.python(_READ, str(samples[writer])))
        types = {path.name.removesuffix(".json") for path in samples["previous"].glob("*.json")}
        assert len(types) >= 8
        assert set(known) >= types
        assert len(known) == 2 * len(set(known)), "each was read as it is, and with what a later version might add"


#: What an installation of a version has of its own: settings that may be given, queues with their arguments.
_HAS = """
import dataclasses, json
from xinhuo.chassis import config
from xinhuo.cli.build import full_topology
queues = {queue.name: queue.arguments for queue in full_topology().queues}
metadata = [field.metadata for field in dataclasses.fields(config.Settings)]
settings = sorted(each["variable"] for each in metadata if "variable" in each)
print(json.dumps({"settings": settings, "queues": queues, "exchanges": full_topology().exchanges}))
"""


@needs_history
def test_no_setting_queue_or_exchange_of_the_version_before_is_gone_without_a_word(before: Version) -> None:
    there, here_now = json.loads(before.python(_HAS)), json.loads(HERE.python(_HAS))
    assert len(there["settings"]) > 20
    assert set(there["settings"]) - set(here_now["settings"]) == set()
    assert set(there["exchanges"]) - set(here_now["exchanges"]) == set()
    assert set(there["queues"]) - set(here_now["queues"]) <= set(RETIRED_QUEUES), "name it in RETIRED_QUEUES"
    for name in there["queues"].keys() & here_now["queues"].keys():
        assert there["queues"][name] == here_now["queues"][name], f"{name}: a queue that is there cannot be changed"

"""A running installation goes from one adapter to the other, service by service and under load, and loses nothing."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.campaign import make_campaign
from tests.support.fleet import PATIENCE, Fleet, Load, acknowledged, ledger, tally
from tests.support.installation import Installation
from tests.support.waiting import wait_for

#: The order of the change: api and worker of one service apart, then those that listen to it.
MEMBERS = (("volunteers", "api"), ("volunteers", "worker"), ("awards", "all"), ("notify", "all"), ("notices", "all"),
           ("portal", "all"))  # fmt: skip

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("nameko") is None, reason="there is nothing to switch from without nameko"
)


@pytest.fixture
def fleet(install: Callable[[str], Installation], tmp_path: Path) -> Iterator[Fleet]:
    """All processes on nameko."""
    made = Fleet(tmp_path, dict(install("rabbitmq").settings))
    try:
        made.prepare()
        made.begin("nameko", *MEMBERS)
        yield made
    finally:
        made.end()


@pytest.mark.timeout(400)
def test_from_nameko_to_threads_and_back_under_load_every_minute_counts_once_everywhere(fleet: Fleet) -> None:
    campaign = make_campaign(fleet)
    load = Load(fleet, campaign)
    load.start()
    for adapter, members in (("threads", MEMBERS), ("nameko", MEMBERS[:1])):
        for member in members:
            load.grew()
            fleet.finish(member)
            fleet.begin(adapter, member)
    load.grew()
    load.stop()

    entered = len(load.entered)
    assert load.refused == []
    assert load.interrupted > 0, "the api was away for a moment"
    wait_for(lambda: not any(fleet.troubles().values()), PATIENCE, f"nothing to be left over: {fleet.troubles()}")
    wait_for(lambda: acknowledged(fleet, campaign) >= entered, PATIENCE, "every acknowledgement")
    wait_for(lambda: tally(fleet, campaign) == entered, PATIENCE, "the tally")
    assert ledger(fleet, campaign) == (entered, entered)
    assert campaign.statistics()["minutes"] == entered
    assert acknowledged(fleet, campaign) == entered
    assert tally(fleet, campaign) == entered

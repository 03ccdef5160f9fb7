"""A service that lost everything: the replay fills it again on RabbitMQ, while hours go on being logged."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.campaign import PATIENCE, WHOLE_DAY, Campaign, make_campaign
from tests.support.documents import ROOT, blocks
from tests.support.installation import SERVICES, XINHUO, Installation, clean_environment, xinhuo
from tests.support.waiting import wait_for
from xinhuo.chassis import migrations
from xinhuo.chassis.db import Database
from xinhuo.cli.build import versions_of

OPERATIONS = ROOT / "docs" / "operations.md"
SINCE = ("--since", "2020-01-01")


@pytest.fixture(scope="module")
def one(install: Callable[[str], Installation]) -> Iterator[Installation]:
    """An installation of its own on RabbitMQ: what is emptied here is nobody else's."""
    made = install("rabbitmq")
    made.spawn("--no-sample")
    yield made.serve()
    made.end()


@pytest.fixture
def campaign(one: Installation) -> Campaign:
    made = make_campaign(one)
    for day in range(1, 6):  # 120 hours: the first star
        made.log(day, WHOLE_DAY)
    wait_for(lambda: len(made.inbox()) == 6, PATIENCE, "five thanks and a star")
    settle(one)
    return made


def settle(one: Installation) -> None:
    wait_for(lambda: not any(one.troubles().values()), PATIENCE, "nothing to be on its way")


def empty_awards(one: Installation) -> None:
    """Drop the schema, as a lost disk does, and make it anew; its workers go on running."""
    db = Database(one.settings["DATABASE_URL"], "awards")
    try:
        with db.as_owner() as owner:
            owner.exec_driver_sql("DROP SCHEMA awards CASCADE")
        migrations.upgrade(db, versions_of("awards"))
    finally:
        db.close()


def told(one: Installation) -> list[dict[str, Any]]:
    return one.rows("SELECT volunteer_id, occasion, subject_id, occurrence, state FROM notify.messages")


def tallies(one: Installation) -> dict[str, int]:
    return {
        str(row["volunteer_id"]): row["minutes"] for row in one.rows("SELECT * FROM awards.tallies WHERE minutes > 0")
    }


def ledger(one: Installation) -> dict[str, int]:
    sums = "SELECT volunteer_id, CAST(sum(minutes) AS bigint) AS minutes FROM volunteers.ledger_entries GROUP BY 1"
    return {str(row["volunteer_id"]): row["minutes"] for row in one.rows(sums)}


def test_awards_that_lost_everything_are_filled_again_while_hours_are_logged_and_nobody_is_told_twice(
    one: Installation, campaign: Campaign
) -> None:
    before = told(one)
    empty_awards(one)

    replay = subprocess.Popen(
        [XINHUO, "events", "replay", "--service", "awards", *SINCE, "--rate", "5", "--json"],
        env=clean_environment(one.settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    meanwhile = [campaign.log(day, WHOLE_DAY) for day in range(10, 14)]
    output, errors = replay.communicate(timeout=PATIENCE)

    assert replay.returncode == 0, errors.decode()
    assert b'"events": ' in output
    wait_for(lambda: tallies(one) == ledger(one), PATIENCE, "the tallies to equal the ledger")
    wait_for(lambda: campaign.stars()["star"] == 1, PATIENCE, "the star to be held again")
    wait_for(lambda: len(campaign.inbox()) == 6 + len(meanwhile), PATIENCE, "thanks for the new hours")
    settle(one)
    after = told(one)
    keys = [(row["volunteer_id"], row["occasion"], row["subject_id"], row["occurrence"]) for row in after]
    assert len(keys) == len(set(keys)) == len(before) + len(meanwhile)
    assert {row["state"] for row in after} == {"written"}


def test_a_replay_of_everything_to_everybody_changes_nothing(one: Installation, campaign: Campaign) -> None:
    before = one.contents()

    figures = {
        service: xinhuo("events", "replay", "--service", service, *SINCE, "--json", settings=one.settings).figures
        for service in ("volunteers", "awards", "notify")
    }

    assert figures["awards"]["types"] == {"volunteers.hours_logged.v1": figures["awards"]["events"]}
    assert figures["awards"]["events"] >= 5
    settle(one)
    assert one.contents() == before


def test_a_dry_run_counts_what_would_be_sent_and_sends_nothing(one: Installation, campaign: Campaign) -> None:
    told_before = xinhuo(
        "events", "replay", "--service", "notify", "--handler", "acknowledge_star", *SINCE, "--dry-run", "--json",
        settings=one.settings,
    ).figures  # fmt: skip

    assert told_before["handlers"] == {"notify.acknowledge_star": {"awards.star_earned.v1": told_before["events"]}}
    assert told_before["events"] >= 1
    assert told_before["dry_run"]


def test_in_one_place_the_command_says_why_it_is_not_needed() -> None:
    ended = xinhuo("events", "replay", "--service", "awards", *SINCE)

    assert (ended.code, ended.stdout) == (2, "")
    assert "AMQP_URI" in ended.stderr
    assert "xinhuo up" in ended.stderr


@pytest.mark.parametrize("wrong", [("--service", "stars"), ("--since", "yesterday"), ("--types", "a.b.v1")])
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(wrong: tuple[str, str], one: Installation) -> None:
    words = {"--service": "awards", "--since": "2020-01-01", **dict([wrong])}

    ended = xinhuo("events", "replay", *(word for pair in words.items() for word in pair), settings=one.settings)

    assert (ended.code, ended.stdout) == (2, "")
    assert wrong[1] in ended.stderr


def test_the_commands_of_the_page_on_replay_and_rebuild_run(
    one: Installation, campaign: Campaign, tmp_path: Path
) -> None:
    section = OPERATIONS.read_text(encoding="utf-8").partition("## Replay and rebuild")[2].partition("\n## ")[0]
    shown = [
        command
        for block in blocks(OPERATIONS)
        if block.language in {"sh", "console"} and block.text in section
        for command in block.commands()
    ]
    assert len(shown) >= 4
    before = one.contents()

    for command in shown:
        words = re.sub(r" +#.*", "", command).split()
        assert words[0] == "xinhuo"
        ended = xinhuo(*words[1:], settings=one.settings, cwd=tmp_path)
        assert ended.code == 0, f"{command}: {ended.stdout}{ended.stderr}"

    settle(one)
    assert one.contents() == before
    assert set(SERVICES) >= {"awards"}

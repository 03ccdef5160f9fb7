"""Every service runs as its own user of RabbitMQ: an hour, a star, a retry, a dead letter, a department."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.e2e.test_switching import MEMBERS
from tests.support.broker_users import connected, department, uris_of
from tests.support.campaign import WHOLE_DAY, make_campaign
from tests.support.fleet import PATIENCE, Fleet
from tests.support.installation import SERVICES, Installation, xinhuo
from tests.support.messages import Message, publish
from tests.support.rabbit import RabbitNode
from tests.support.waiting import wait_for

HOURS = "volunteers.hours_logged.v1"
FIRST_STAR_MINUTES = 100 * 60
#: A cause that passes: the handler fails, and its event is parked.
CAUSE = """
CREATE FUNCTION refuse_later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not yet'; END $$;
CREATE TRIGGER refuse_later BEFORE INSERT OR UPDATE ON known_units
    FOR EACH ROW WHEN (NEW.code = 'E2E-LATER') EXECUTE FUNCTION refuse_later()
"""
KNOWN = "SELECT count(*) FROM volunteers.known_units WHERE code = 'E2E-LATER'"


class Separated(Fleet):
    """A fleet in which nobody but the commands has the deploy user's address."""

    def settings_of(self, service: str) -> dict[str, str]:
        given = {name: value for name, value in self.settings.items() if name != "XINHUO_RABBITMQ_API"}
        return {**given, "AMQP_URI": uris_of(self.folder)[service]}


@pytest.fixture(params=["nameko", "threads"])
def fleet(
    request: pytest.FixtureRequest,
    install: Callable[[str], Installation],
    rabbit_node: RabbitNode,
    tmp_path: Path,
) -> Iterator[Separated]:
    """All processes, on each adapter."""
    adapter: str = request.param
    if adapter == "nameko" and importlib.util.find_spec("nameko") is None:
        pytest.skip("nameko is not installed here")
    settings = {**install("rabbitmq").settings, "XINHUO_RABBITMQ_API": rabbit_node.api, "XINHUO_DATA": str(tmp_path)}
    made = Separated(tmp_path, settings)
    try:
        made.prepare()
        made.begin(adapter, *MEMBERS)
        yield made
    finally:
        made.end()


@pytest.mark.timeout(300)
def test_every_service_does_all_its_work_as_a_user_who_may_do_nothing_else(
    fleet: Separated, rabbit_node: RabbitNode
) -> None:
    vhost = fleet.settings["AMQP_URI"].rpartition("/")[2]
    connections = [line.split("\t") for line in rabbit_node.ctl("list_connections", "vhost", "user").splitlines()]
    assert {user for there, user in connections if there == vhost} == {f"{vhost}.{service}" for service in SERVICES}
    traffic = department(fleet.settings, "traffic", HOURS)
    with connected(traffic) as own:
        channel = own.channel()
        channel.queue_declare("dept.traffic.all", durable=True, auto_delete=False)
        channel.queue_bind("dept.traffic.all", "dept.traffic.events", "#")

        campaign = make_campaign(fleet)
        entries = [campaign.log(day, WHOLE_DAY) for day in range(1, 5)]
        entries.append(campaign.log(10, FIRST_STAR_MINUTES - 4 * WHOLE_DAY))
        wait_for(lambda: campaign.stars()["star"] == 1, PATIENCE, "the star")
        wait_for(lambda: len(campaign.inbox()) == len(entries) + 1, PATIENCE, "every acknowledgement, and the star's")
        wait_for(lambda: campaign.statistics()["minutes"] == FIRST_STAR_MINUTES, PATIENCE, "the statistics")
        received = [
            wait_for(lambda: channel.basic_get("dept.traffic.all", no_ack=True), PATIENCE, "a public event")
            for _ in entries
        ]
    assert {message.delivery_info["routing_key"] for message in received} == {HOURS}

    a_failed_event_is_tried_again(fleet)
    an_unreadable_message_becomes_a_dead_letter(fleet)
    a_replay_by_the_operators_arrives(fleet)
    assert fleet.troubles()["outbox"] == 0
    assert [log.name for log in fleet.folder.glob("*.log") if "ACCESS_REFUSED" in log.read_text("utf-8")] == []


def a_failed_event_is_tried_again(fleet: Separated) -> None:
    change(fleet, CAUSE)
    fleet.post("notices", "/v1/units", {"code": "E2E-LATER", "name": "测试晚到小学", "kind": "central_primary"})
    wait_for(lambda: fleet.troubles()["parked_events"] == 1, PATIENCE, "the event to be parked")
    change(fleet, "DROP TRIGGER refuse_later ON known_units; DROP FUNCTION refuse_later")
    wait_for(lambda: fleet.scalar(KNOWN) == 1, PATIENCE, "its effect")


def an_unreadable_message_becomes_a_dead_letter(fleet: Separated) -> None:
    publish(fleet.settings["AMQP_URI"], Message().with_body(b"unreadable"))
    wait_for(lambda: fleet.troubles()["dead_letters"] == 1, PATIENCE, "the dead letter")
    (row,) = fleet.rows("SELECT reason, handler FROM volunteers.dead_letters")
    assert (row["reason"], row["handler"]) == ("event.undecodable", "volunteers.follow_units")


def a_replay_by_the_operators_arrives(fleet: Separated) -> None:
    change(fleet, "TRUNCATE inbox; DELETE FROM known_units WHERE code = 'E2E-LATER'")
    arguments = ("--service", "volunteers", "--handler", "follow_units", "--since", "2020-01-01")
    ended = xinhuo("events", "replay", *arguments, settings=fleet.settings)
    assert ended.code == 0, ended.stdout + ended.stderr
    wait_for(lambda: fleet.scalar(KNOWN) == 1, PATIENCE, "the unit that only a replay brings back")


def change(fleet: Separated, statements: str) -> None:
    with psycopg.connect(fleet.sql_url(), options="-csearch_path=volunteers") as connection:
        connection.execute(statements)

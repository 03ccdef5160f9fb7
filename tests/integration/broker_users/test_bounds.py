"""A department that does not read what it asked for fills neither the disk nor anybody's way."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa

from tests.integration.broker_users.conftest import HOURS, Installed
from tests.support.broker_users import connected
from tests.support.waiting import wait_for
from xinhuo.chassis import outbox, relay
from xinhuo.chassis.adapters import user_state
from xinhuo.chassis.adapters.amqp import ConfirmingPublisher
from xinhuo.chassis.adapters.management import Management
from xinhuo.chassis.broker_rights import Limits, of_department, policies
from xinhuo.chassis.db import Database
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.relay import Relay
from xinhuo.contracts.volunteers import HoursLogged

DURABLE = {"durable": True, "auto_delete": False}
DEAD, ALIVE = "dept.traffic.dead", "dept.traffic-police.alive"
FEW = 20
EVENTS = 3 * FEW


@pytest.fixture
def db(database: str) -> Iterator[Database]:
    """The database of volunteers, with an empty outbox."""
    made = Database("postgresql+psycopg" + database.removeprefix("postgresql"), "volunteers")
    with made.as_owner() as owner:
        owner.execute(sa.text("TRUNCATE outbox RESTART IDENTITY"))
    yield made
    made.close()


@pytest.fixture
def lanes(installed: Installed, db: Database) -> Iterator[None]:
    """Both lanes of the relay of volunteers, as its own user."""
    stop = threading.Event()
    uri = installed.services["volunteers"]
    relays = [
        Relay(db, ConfirmingPublisher(uri, name=f"test {lane}", confirm_seconds=5.0), lane=lane)
        for lane in ("inside", "public")
    ]
    threads = [threading.Thread(target=one.run, args=(stop,), daemon=True) for one in relays]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join(15)
    assert not any(thread.is_alive() for thread in threads)


def record(db: Database, count: int = 1) -> None:
    with db.transaction() as session:
        for _ in range(count):
            event = HoursLogged(
                entry_id=new_id(), volunteer_id=new_id(), team_code="T-TS-YX01", unit_code="TS-YX01",
                activity_id=new_id(), category="XL-WENMING", served_on=date(2020, 3, 14), minutes=1,
            )  # fmt: skip
            outbox.record(session, event)


def uncopied(db: Database) -> int:
    with db.transaction() as session:
        return int(session.scalar(sa.text("SELECT count(*) FROM outbox WHERE public_published_at IS NULL")) or 0)


def waiting(uri: str, queue: str) -> int:
    with connected(uri) as connection:
        return int(connection.channel().queue_declare(queue, passive=True).message_count)


@pytest.fixture
def queues(installed: Installed) -> Iterator[Any]:
    """Declares a queue of the department that is dead, with what arguments it likes; the other department has one."""
    with ExitStack() as stack:

        def make(uri: str, queue: str, **arguments: Any) -> None:
            channel = stack.enter_context(connected(uri)).channel()
            channel.queue_declare(queue, **DURABLE, arguments=arguments)
            channel.queue_bind(queue, f"dept.{queue.split('.')[1]}.events", HOURS)

        make(installed.police, ALIVE, **{"x-queue-type": "quorum"})
        yield lambda **arguments: make(installed.traffic, DEAD, **arguments)
    with connected(installed.deploy) as connection:
        channel = connection.channel()
        channel.queue_delete(DEAD)
        channel.queue_delete(ALIVE)


@pytest.mark.parametrize("asked", [{}, {"x-queue-type": "quorum"}, {"x-max-length": 10**9, "x-overflow": "drop-head"}])
def test_the_queue_of_a_dead_subscriber_is_bounded_whatever_it_asks_for(
    installed: Installed, db: Database, lanes: None, queues: Any, asked: dict[str, Any]
) -> None:
    limits = Limits(messages=FEW)
    api = Management(installed.node.api, installed.deploy)
    user = user_state.User(user_state.department_user(api.vhost, "traffic"), of_department("traffic"))
    queues(**asked)
    user_state.apply_department(api, user, limits)
    try:
        record(db, EVENTS)
        wait_for(lambda: uncopied(db) == 0, what="all events to be sent")
        wait_for(lambda: waiting(installed.deploy, ALIVE) == FEW, what="the newest in the queue of the other")
        assert waiting(installed.deploy, DEAD) <= FEW
    finally:
        user_state.apply_department(api, user)


def test_without_the_policy_it_would_grow(installed: Installed, db: Database, lanes: None, queues: Any) -> None:
    vhost = installed.deploy.rpartition("/")[2]
    installed.node.ctl("clear_operator_policy", "-p", vhost, "xinhuo-departments")
    queues()
    try:
        record(db, EVENTS)
        wait_for(lambda: waiting(installed.deploy, DEAD) == EVENTS, what="everything in the queue")
    finally:
        Management(installed.node.api, installed.deploy).put_policy(policies()[0])


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_queue_that_refuses_what_it_asked_for_holds_up_nobody_else(
    installed: Installed, db: Database, lanes: None, queues: Any, kind: str
) -> None:
    queues(**{"x-queue-type": kind, "x-max-length": 1, "x-overflow": "reject-publish"})
    for _ in range(4):  # one batch after the other, the first of them before it is full
        record(db, FEW)
        wait_for(lambda: uncopied(db) == 0, what="all events to be sent")

    assert waiting(installed.deploy, ALIVE) >= 4 * FEW
    # A quorum queue says that it is full a moment late.
    assert waiting(installed.deploy, DEAD) <= 2 * FEW


def test_a_relay_that_waited_for_it_would_stand_still(
    installed: Installed, db: Database, lanes: None, queues: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "REFUSAL_SECONDS", -1.0)
    queues(**{"x-max-length": 1, "x-overflow": "reject-publish"})
    record(db, FEW)

    # The same batch again and again: the other department gets it three times, and it is not done.
    wait_for(lambda: waiting(installed.deploy, ALIVE) >= 3 * FEW, what="three tries")
    assert uncopied(db) == FEW

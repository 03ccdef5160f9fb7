"""The servers under the tests can do what Xinhuo asks of them."""

import datetime

import amqp
import psycopg
import pytest

from tests.support.processes import LOOPBACK
from tests.support.servers import RabbitNode
from tests.support.waiting import wait_for


def connect(uri: str) -> amqp.Connection:
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(uri)
    return amqp.Connection(
        host=f"{parts.hostname}:{parts.port or 5672}",
        userid=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        virtual_host=unquote(parts.path[1:]) or "/",
        confirm_publish=True,
        read_timeout=20,
    )


def test_a_quorum_queue_confirms_a_publish_and_dead_letters_at_least_once(amqp_uri: str) -> None:
    with connect(amqp_uri) as connection:
        channel = connection.channel()
        channel.exchange_declare("dead", "fanout", durable=True, auto_delete=False)
        channel.queue_declare("graves", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        channel.queue_bind("graves", "dead")
        channel.queue_declare(
            "work",
            durable=True,
            auto_delete=False,
            arguments={
                "x-queue-type": "quorum",
                "x-dead-letter-exchange": "dead",
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
                "x-delivery-limit": 20,
            },
        )
        channel.basic_publish_confirm(
            amqp.Message(b"{}", delivery_mode=2), routing_key="work", mandatory=True, confirm_timeout=10
        )
        message = wait_for(lambda: channel.basic_get("work"), what="the message in the work queue")
        channel.basic_reject(message.delivery_tag, requeue=False)

        dead = wait_for(lambda: channel.basic_get("graves"), what="the message in the dead-letter queue")
        channel.basic_ack(dead.delivery_tag)

    assert dead.body in (b"{}", "{}")
    assert dead.headers["x-death"][0]["reason"] == "rejected"


def test_the_private_node_listens_on_the_loopback_interface_only(rabbit_node: RabbitNode) -> None:
    listeners = rabbit_node.ctl(
        "eval", "[L || {listener, _, amqp, _, {_,_,_,_} = L, _, _} <- rabbit_networking:active_listeners()]."
    )

    assert LOOPBACK.replace(".", ",") in listeners.replace(" ", "")


def test_postgresql_refuses_overlapping_spans_by_an_exclusion_constraint(database: str) -> None:
    start = datetime.datetime(2024, 3, 5, 9, tzinfo=datetime.UTC)
    hour = datetime.timedelta(hours=1)
    with psycopg.connect(database) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
        connection.execute(
            "CREATE TEMP TABLE spans (person uuid, during tstzrange,"
            " EXCLUDE USING gist (person WITH =, during WITH &&))"
        )
        enter = "INSERT INTO spans VALUES ('018f3f5e-0000-7000-8000-000000000001', tstzrange(%s, %s))"
        connection.execute(enter, (start, start + 2 * hour))
        connection.execute(enter, (start + 2 * hour, start + 3 * hour))

        with pytest.raises(psycopg.errors.ExclusionViolation):
            connection.execute(enter, (start + hour, start + 3 * hour))


def test_each_module_gets_a_database_of_its_own_that_ends_with_it(
    database: str, empty_database: str, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url) as connection:
        names = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}

    assert {database.rsplit("/", 1)[1], empty_database.rsplit("/", 1)[1]} <= names

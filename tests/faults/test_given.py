"""``xinhuo prove`` on servers that belong to somebody else leaves them as they were."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psycopg
import pytest

from tests.support.installation import clean_environment
from xinhuo.chassis.adapters import amqp_topology
from xinhuo.cli import build
from xinhuo.cli.prove import servers

XINHUO = Path(sys.executable).with_name("xinhuo")


def prove(amqp_uri: str, database_url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = clean_environment({"AMQP_URI": amqp_uri, "DATABASE_URL": database_url})
    command = [XINHUO, "prove", "--json", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=300, check=False)


def databases(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()]


@pytest.mark.timeout(320)
def test_it_proves_on_given_servers_and_leaves_nothing_behind(empty_broker: str, postgres_url: str) -> None:
    before = databases(postgres_url)

    ended = prove(empty_broker, postgres_url, "--seconds", "12", "--seed", "3", "--no-plain")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(ended.stdout)
    assert (found["lost"], found["twice"], found["own_servers"]) == (0, 0, False)
    assert found["dead_letters"] == found["poison"]
    assert found["written"] > 0
    assert any("the servers were given" in note for note in found["notes"])
    assert databases(postgres_url) == before
    topology = build.full_topology()
    assert len(amqp_topology.missing(empty_broker, topology)) == len(topology.exchanges) + len(topology.queues)


def test_it_does_not_touch_a_broker_that_is_in_use(empty_broker: str, postgres_url: str) -> None:
    amqp_topology.declare(empty_broker, build.full_topology())

    ended = prove(empty_broker, postgres_url, "--seconds", "10")

    assert ended.returncode == 1
    assert "--management" in ended.stderr
    assert amqp_topology.missing(empty_broker, build.full_topology()) == []


def test_without_servers_it_says_what_it_needs() -> None:
    ended = subprocess.run(
        [XINHUO, "prove"], env=clean_environment(), capture_output=True, encoding="utf-8", timeout=60, check=False
    )

    assert ended.returncode == 2
    assert "AMQP_URI" in ended.stderr


@pytest.fixture
def management() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The address of something that takes what RabbitMQ's management API takes, and what it was asked for."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            asked.append((self.command, self.path))
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(201 if self.headers["Authorization"] == "Basic YWRtaW46c2VjcmV0" else 401)
            self.end_headers()

        do_DELETE = do_PUT

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_with_the_management_api_it_makes_a_virtual_host_of_its_own(
    management: tuple[str, list[tuple[str, str]]],
) -> None:
    address, asked = management
    given = servers.Servers("amqp://worker:pass@broker:5672/office", "postgresql://nobody@nowhere/none")

    made = servers.with_management(given, f"http://admin:secret@{address}")
    with servers.throw_away_vhost(made, "xinhuo_prove_1") as uri:
        assert uri == "amqp://worker:pass@broker:5672/xinhuo_prove_1"

    assert asked == [
        ("PUT", "/api/vhosts/xinhuo_prove_1"),
        ("PUT", "/api/permissions/xinhuo_prove_1/worker"),
        ("DELETE", "/api/vhosts/xinhuo_prove_1"),
    ]


def test_a_management_api_that_refuses_is_named(management: tuple[str, list[tuple[str, str]]]) -> None:
    address, _ = management
    given = servers.Servers("amqp://worker:pass@broker:5672/office", "postgresql://nobody@nowhere/none")
    made = servers.with_management(given, f"http://admin:wrong@{address}")

    with pytest.raises(servers.NotFree, match="management API"), servers.throw_away_vhost(made, "x"):
        pytest.fail("there is no such virtual host")

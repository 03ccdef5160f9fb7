"""The rendered production manifests start every process, and a rolling restart loses nothing and refuses nobody."""

import contextlib
import json
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import requests
import yaml
from psycopg import sql

from tests.conftest import fresh_vhost
from tests.support.campaign import Campaign, make_campaign
from tests.support.cluster import Cluster, accounts_of
from tests.support.fleet import Load, acknowledged, ledger, tally
from tests.support.installation import xinhuo
from tests.support.pods import ROOT, ImageRunner, PlainRunner, Rendered, Runner, pod_of, resident
from tests.support.postgres import drop_database
from tests.support.rabbit import RabbitNode
from tests.support.waiting import wait_for
from tools.kubectl import render
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.ids import new_id

PRODUCTION = ROOT / "deploy" / "overlays" / "production"
ROLES = ("api", "worker")
#: What a process needs when it has nothing to do must be within what it asks of the scheduler.
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def runner(request: pytest.FixtureRequest) -> Runner:
    """Runs pods in the image; on a machine that runs no containers, as plain processes."""
    try:
        return ImageRunner(request.getfixturevalue("image"))
    except pytest.skip.Exception:
        return PlainRunner()


@pytest.fixture(scope="module")
def cluster(
    postgres_url: str, rabbit_node: RabbitNode, runner: Runner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    rendered = Rendered(render(PRODUCTION))
    for uri in fresh_vhost(rabbit_node):
        accounts = accounts_of(rendered, postgres_url, rabbit_node, uri)
        made = Cluster(rendered, accounts, tmp_path_factory.mktemp("cluster"), runner)
        try:
            made.install()
            yield made
        finally:
            made.end()
            drop_database(postgres_url.rpartition("/")[0] + urlsplit(accounts.database_urls["deploy"]).path)
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                for login in accounts.logins:
                    connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


class SteadyLoad(Load):
    """Clients that keep their connections and ask once: whoever is not answered was refused."""

    def _run(self) -> None:
        with requests.Session() as client:
            while not self._stop.wait(0.1):
                with self._lock:
                    number, self._next = self._next, self._next + 1
                headers = {
                    "Idempotency-Key": new_id().hex,
                    **self._fleet.bearing(self._fleet.who_may("POST", "/v1/hours")),
                }
                try:
                    answer = client.post(self._url, json=self._body(number), headers=headers, timeout=30)
                    assert answer.status_code == 201, answer.text
                    self.entered[answer.json()["id"]] = 1
                except (requests.RequestException, AssertionError) as error:
                    self.refused.append(repr(error))


PATHS = {
    "notices": "/v1/notices", "awards": "/v1/stars", "notify": "/v1/acknowledgements/count", "portal": "/v1/keys",
}  # fmt: skip


class Readers:
    """Somebody who goes on asking each of the other services, with a connection that is kept."""

    def __init__(self, cluster: Cluster) -> None:
        self.answered = dict.fromkeys(PATHS, 0)
        self.refused: list[str] = []
        self._cluster, self._stop = cluster, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=one, daemon=True) for one in PATHS.items()]

    def _run(self, service: str, path: str) -> None:
        with requests.Session() as client:
            while not self._stop.wait(0.2):
                headers = self._cluster.bearing(self._cluster.who_may("GET", path))
                try:
                    answer = client.get(self._cluster.url(service) + path, headers=headers, timeout=30)
                    assert answer.status_code == 200, answer.text
                    self.answered[service] += 1
                except (requests.RequestException, AssertionError) as error:
                    self.refused.append(f"{service}: {error!r}")

    def __enter__(self) -> "Readers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(40)


def test_every_role_of_every_service_is_ready_with_the_environment_of_the_manifests(cluster: Cluster) -> None:
    assert {name: len(pods) for name, pods in cluster.pods.items()} == {
        f"{service}-{role}": 1 for service in SERVICES for role in ROLES
    }
    for name, pods in cluster.pods.items():
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert pods[0].probe(cluster.probe(name, probe)), (name, probe)


def test_the_first_administrator_is_made_in_a_pod_of_the_portal(cluster: Cluster) -> None:
    assert "xhl_" in cluster.execute("portal-api", "accounts", "first-admin")


@pytest.mark.parametrize(
    "command",
    [
        "db current", "db upgrade", "topology apply --dry-run", "topology apply", "dead list", "reconcile",
        "events replay --service awards --since 2026-03-01 --dry-run", "rebuild statistics --dry-run",
        "subs create traffic --events awards.star_earned.v1",
    ],
)  # fmt: skip
def test_whoever_administers_has_what_the_runbooks_commands_need(cluster: Cluster, command: str) -> None:
    assert cluster.administer(*command.split())


def test_doctor_sees_everything_there_and_finds_what_is_wrong_with_the_servers_of_tests_only(cluster: Cluster) -> None:
    said = cluster.administer("doctor", code=1)
    errors = [line for line in said.splitlines() if line.startswith("✗")]
    assert errors
    assert all("database.not_durable" in line for line in errors), said
    assert "users_unseen" not in said
    assert "broker.unseen" in said, "what is not seen is told"


def test_backups_are_made_with_their_own_account_and_the_job_that_restores_brings_them_back(
    cluster: Cluster, postgres_url: str
) -> None:
    cluster.run_scheduled("backup")
    claims = cluster.run_scheduled("backup-erasures")  # ends well only when who was erased could be asked

    folder = str(claims / "backup")
    said = xinhuo("backup", "verify", "--folder", folder, "--identity", str(cluster.backup_identity), "--json")
    assert said.code == 0, said.stderr
    (made,) = json.loads(said.stdout)["backups"]
    assert {path.name.partition(".")[0] for path in (claims / "backup" / made).glob("*.dump.age")} == set(SERVICES)

    before = cluster.settings["DATABASE_URL"]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        owner, name = urlsplit(before).username, f"t_{new_id().hex}"
        statement = "CREATE DATABASE {} OWNER {} TEMPLATE template0"
        connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(owner or "")))
    after = urlunsplit(urlsplit(before)._replace(path=f"/{name}"))
    try:
        job = yaml.safe_load((ROOT / "deploy" / "backup" / "restore.yaml").read_text(encoding="utf-8"))
        assert made in cluster.restore(job, after)
        assert keys_in(after) == keys_in(before) > 0
    finally:
        drop_database(postgres_url.rpartition("/")[0] + f"/{name}")


def keys_in(url: str) -> int:
    """Return how many keys of clients are in a database: two services have one."""
    with psycopg.connect(url) as connection:
        (found,) = connection.execute("SELECT count(*) FROM portal.client_keys").fetchone() or (0,)
    return int(found)


@pytest.mark.timeout(400)
def test_a_rolling_restart_of_every_role_under_load_loses_nothing_doubles_nothing_and_refuses_nobody(
    cluster: Cluster,
) -> None:
    campaign = make_campaign(cluster)
    before = {name: pods[0].process.pid for name, pods in cluster.pods.items()}
    load = SteadyLoad(cluster, campaign)  # type: ignore[arg-type]
    load.start()
    with Readers(cluster) as readers:
        try:
            load.grew()
            cluster.restart(*cluster.pods)
            load.grew()
        finally:
            load.stop()

    assert load.refused == []
    assert readers.refused == []
    assert all(count > 20 for count in readers.answered.values()), readers.answered
    assert all(pods[0].process.pid != before[name] for name, pods in cluster.pods.items())
    entered = len(load.entered)
    with contextlib.suppress(AssertionError):
        wait_for(lambda: counted(cluster, campaign) == (entered,) * 4, 60, "every entry to be counted")
    assert counted(cluster, campaign) == (entered,) * 4, "lost or doubled"
    assert cluster.troubles() == {"parked_events": 0, "dead_letters": 0, "outbox": 0}


def counted(cluster: Cluster, campaign: Campaign) -> tuple[int, int, int, int]:
    """Return the entries of the ledger, its minutes, the minutes towards stars, the messages: a minute each."""
    entries, minutes = ledger(cluster, campaign)  # type: ignore[arg-type]
    return entries, minutes, tally(cluster, campaign), acknowledged(cluster, campaign)  # type: ignore[arg-type]


def test_a_process_at_rest_fits_into_the_memory_that_it_asks_for(cluster: Cluster) -> None:
    for name, pods in cluster.pods.items():
        container = pod_of(cluster.rendered.get("Deployment", name))["containers"][0]
        asked = container["resources"]["requests"]["memory"]
        assert asked.endswith("Mi")
        assert resident(cluster.runner.pid(pods[0].process)) < int(asked[:-2]) * MEBIBYTE, name

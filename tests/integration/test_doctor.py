"""Each check of the doctor is shown to find the very thing that it is for, set up wrongly, and nothing else."""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kombu import Connection
from werkzeug.test import Client

from tests.integration.traps.broker import Broker
from tests.support.documents_check import wrong_xinhuo
from tests.support.imports import open_office
from tests.support.postgres import create_database, drop_database, migrated_template
from tests.support.rabbit import RabbitNode
from xinhuo.chassis import config, roles
from xinhuo.chassis.adapters import amqp_topology
from xinhuo.chassis.adapters.broker_state import Item
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.key_file import create_key_file, load_keys
from xinhuo.chassis.security import BadKeyFile
from xinhuo.chassis.topology import Queue, Topology
from xinhuo.cli.build import check_key, full_topology, make_app
from xinhuo.cli.checkup import broker, databases, machine
from xinhuo.cli.checkup.databases import Server
from xinhuo.cli.checkup.findings import CODES, Finding


def codes(findings: Iterator[Finding]) -> list[str]:
    """Return the codes found, each once; every finding has a remedy that names real commands."""
    found = list(findings)
    for one in found:
        assert one.remedy, one
        assert "\n" not in one.remedy
        for line in re.findall(r"xinhuo [a-z][^，（]*", one.remedy):
            assert list(wrong_xinhuo(line)) == []
    return list(dict.fromkeys(one.code for one in found))


# This machine


def test_a_wait_function_that_blocks_greenlets_is_found() -> None:
    healthy = dict(os.environ)
    healthy.pop(machine.WAIT_FUNCTION, None)

    assert codes(machine.check_wait_function(healthy)) == []
    assert codes(machine.check_wait_function({**healthy, machine.WAIT_FUNCTION: "wait_selector"})) == []
    assert codes(machine.check_wait_function({**healthy, machine.WAIT_FUNCTION: "wait_c"})) == ["process.wait_function"]


def test_a_psycopg_that_does_not_listen_is_found(tmp_path: Path) -> None:
    package = tmp_path / "psycopg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "waiting.py").write_text("def wait_selector(): ...\ndef wait(): ...\n")

    assert codes(machine.check_wait_function({**os.environ, "PYTHONPATH": str(tmp_path)})) == ["process.wait_function"]


@pytest.mark.parametrize(
    ("required", "installed", "python", "found"),
    [
        (["kombu<6,>=5.7"], "5.7.0", (3, 11), []),
        (["kombu<6,>=5.7"], "5.6.9", (3, 11), ["library.version"]),
        (["kombu<6,>=5.7"], "6.0", (3, 13), ["library.version"]),
        (["kombu<6,>=5.7"], "5.7.0", (3, 10), ["library.version"]),
        (['pytest>=9; extra == "dev"'], "1", (3, 11), []),
    ],
)
def test_other_versions_than_required_are_found(
    required: list[str], installed: str, python: tuple[int, int], found: list[str]
) -> None:
    assert codes(machine.check_versions(required, lambda _name: installed, python)) == found


def test_a_library_that_is_not_there_is_found_except_what_threads_do_not_need() -> None:
    from importlib.metadata import PackageNotFoundError

    def nothing(name: str) -> str:
        raise PackageNotFoundError(name)

    assert codes(machine.check_versions(["kombu>=5", "nameko<3", "eventlet"], nothing, (3, 11))) == ["library.version"]
    assert len(list(machine.check_versions(["kombu>=5", "nameko<3", "eventlet"], nothing, (3, 11)))) == 1


def test_what_is_wrong_with_the_master_key_is_found(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    assert codes(machine.check_key(path)) == ["key.missing"]
    create_key_file(path)
    assert codes(machine.check_key(path)) == []
    path.chmod(0o644)
    assert codes(machine.check_key(path)) == ["key.open_to_others"]
    path.chmod(0o600)
    path.write_text("too short")
    assert codes(machine.check_key(path)) == ["key.unusable"]


def test_little_room_on_the_disk_is_found(tmp_path: Path) -> None:
    asked = []

    def free(path: Path) -> int:
        asked.append(path)
        return 10 * 1024**3

    assert codes(machine.check_disk(tmp_path / "not" / "there", free)) == []
    assert asked == [tmp_path]
    assert codes(machine.check_disk(tmp_path, lambda _path: 1024**3)) == ["disk.low"]
    assert codes(machine.check_disk(tmp_path, lambda _path: 1024**2)) == ["disk.full"]
    assert "disk.full" not in codes(machine.check_disk(tmp_path))


@pytest.mark.parametrize(
    ("environment", "keeps"),
    [
        ({}, True),
        ({"DATABASE_URL": "postgresql://db/xinhuo"}, False),
        ({"NOTICES_DATABASE_URL": "postgresql://db/xinhuo"}, True),
        ({f"{name.upper()}_DATABASE_URL": "postgresql://db/xinhuo" for name in SERVICES}, False),
    ],
)
def test_the_disk_of_the_data_folder_matters_where_a_service_has_the_embedded_database(
    environment: dict[str, str], keeps: bool
) -> None:
    assert machine.keeps_data(config.load(environment)) is keeps


# The databases

HEALTHY = Server(
    name="db:5432", version=170004, max_connections=100, reserved=3, connected=10, fsync="on", full_page_writes="on",
    synchronous_commit="on", time_zone="UTC", clock_offset=0.2,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"version": 150000}, []),
        ({"version": 140012}, ["database.too_old"]),
        ({"fsync": "off"}, ["database.not_durable"]),
        ({"full_page_writes": "off"}, ["database.not_durable"]),
        ({"synchronous_commit": "off"}, ["database.not_durable"]),
        ({"synchronous_commit": "local"}, []),
        ({"max_connections": 83}, []),
        ({"max_connections": 82}, ["database.pools_exceed"]),
        ({"connected": 77}, []),
        ({"connected": 78}, ["database.connections_high"]),
        ({"clock_offset": 1.0}, []),
        ({"clock_offset": -1.1}, ["database.clock_off"]),
        ({"clock_offset": 60.0}, ["database.clock_off"]),
        ({"clock_offset": -60.1}, ["database.clock_far"]),
        ({"time_zone": "Asia/Shanghai"}, []),
        ({"time_zone": "America/New_York"}, ["database.time_zone"]),
    ],
)
def test_what_a_server_says_of_itself_is_judged_at_its_limits(changes: dict[str, Any], found: list[str]) -> None:
    assert codes(databases.judge(replace(HEALTHY, **changes), list(SERVICES), 8)) == found


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    made = create_database(postgres_url, migrated_template(postgres_url))
    yield made
    drop_database(made)


def settings_of(url: str, **more: str) -> config.Settings:
    return config.load({"DATABASE_URL": url, **more})


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


def of_databases(url: str, **more: str) -> list[str]:
    """Return what is found, without what the servers of tests have on purpose."""
    return [code for code in codes(databases.check(settings_of(url, **more))) if code != "database.not_durable"]


def test_a_database_as_it_should_be_has_nothing_and_one_that_forgets_is_found(url: str) -> None:
    assert of_databases(url) == []
    identity, server = databases.read_server(url.replace("postgresql:", "postgresql+psycopg:"))
    assert server.synchronous_commit == "on"
    assert identity
    if server.fsync == "off":  # as in our own servers of tests
        assert codes(databases.judge(server, ["awards"], 2)) == ["database.not_durable"]
    run(url, f'ALTER DATABASE "{url.rpartition("/")[2]}" SET synchronous_commit = off')
    _, forgetful = databases.read_server(url.replace("postgresql:", "postgresql+psycopg:"))
    assert forgetful.synchronous_commit == "off"


def test_the_clock_and_the_zone_of_a_real_server_are_compared(url: str) -> None:
    import time

    found = codes(databases.check(settings_of(url), clock=lambda: time.time() + 120))
    assert "database.clock_far" in found
    assert "database.clock_off" in codes(databases.check(settings_of(url), clock=lambda: time.time() - 5))
    run(url, f"ALTER DATABASE \"{url.rpartition('/')[2]}\" SET timezone = 'America/New_York'")
    assert of_databases(url) == ["database.time_zone"]


def test_pools_beyond_the_real_servers_limit_are_found(url: str) -> None:
    assert of_databases(url, XINHUO_DB_POOL="200") == ["database.pools_exceed"]


def test_a_database_that_is_away_or_embedded_is_told() -> None:
    assert codes(databases.check(settings_of("postgresql://x:y@127.0.0.1:9/z"))) == ["database.away"]
    assert codes(databases.check(config.load({}))) == ["database.embedded"]


def test_a_database_that_refuses_is_told(url: str) -> None:
    assert of_databases(f"{url}?nosuch=1") == ["database.refused"]


def test_an_office_in_which_nobody_answers_for_personal_data_is_found(url: str) -> None:
    made = (
        "INSERT INTO portal.accounts (id, login, role, state, password_hash) VALUES (gen_random_uuid(), '{0}', '{1}',"
    )
    person = made + " '{2}', '$argon2id$')"
    run(url, person.format("chen.admin", "bureau_admin", "active"))
    assert of_databases(url) == ["accounts.no_officer"]
    run(url, person.format("lin.officer", "privacy_officer", "invited"))
    assert of_databases(url) == ["accounts.no_officer"]
    run(url, "UPDATE portal.accounts SET state = 'active' WHERE login = 'lin.officer'")
    assert of_databases(url) == []


def test_another_master_key_than_the_datas_is_found_and_starts_nothing(url: str, tmp_path: Path) -> None:
    create_key_file(tmp_path / "master.key")
    mine = {"XINHUO_KEY_FILE": str(tmp_path / "master.key")}
    assert of_databases(url, **mine) == [], "any key fits where nobody is registered"
    office = open_office(url, people=1)

    assert of_databases(url, **mine) == ["key.wrong"]
    check_key(office.service)
    office.service.runtime.keys = load_keys(tmp_path / "master.key")
    with pytest.raises(BadKeyFile, match="XINHUO_KEY_FILE"):
        check_key(office.service)
    ready = Client(make_app(office.service)).get("/readyz")
    assert (ready.status_code, "XINHUO_KEY_FILE" in ready.get_data(as_text=True)) == (503, True)
    office.service.runtime.db.close()


def test_schemas_of_another_release_are_found(url: str, empty_database: str) -> None:
    assert of_databases(empty_database) == ["database.migration_pending"]
    run(url, "UPDATE awards.alembic_version SET version_num = '0001'")
    assert of_databases(url) == ["database.migration_pending"]
    run(url, "UPDATE awards.alembic_version SET version_num = '9999', works_from = '9999'")
    assert of_databases(url) == ["database.migration_unknown"]
    run(url, "UPDATE awards.alembic_version SET works_from = '0001'")
    assert of_databases(url) == ["database.migration_newer"]


def test_a_missing_extension_is_found(url: str) -> None:
    run(url, "DROP EXTENSION btree_gist CASCADE")

    assert of_databases(url) == ["database.btree_gist_missing"]


def test_a_role_that_is_missing_or_above_the_policies_is_found(url: str) -> None:
    assert of_databases(url, XINHUO_ENVIRONMENT="production") == ["database.runs_as_owner"]
    run(url, "ALTER TABLE awards.stars OWNER TO xinhuo_awards")
    assert of_databases(url) == ["database.role_too_wide"]
    run(url, "ALTER TABLE awards.stars OWNER TO CURRENT_USER")
    # The roles of the server are everybody's: that of another name stands for one that is not there.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roles, "role_of", lambda service: f"xinhuo_absent_{service}")
        assert of_databases(url) == ["database.role_missing"]


def test_what_waits_in_the_tables_is_found(url: str) -> None:
    event = (
        "INSERT INTO awards.outbox (id, aggregatetype, aggregateid, type, payload, public, recorded_at) VALUES"
        " (gen_random_uuid(), 'awards', 'x', 'awards.star_earned.v1', '', true, now() - interval '%s seconds')"
    )
    run(url, event % 30)
    assert of_databases(url) == []
    run(url, event % 100)
    assert of_databases(url) == ["outbox.slow"]
    run(url, event % 700)
    assert of_databases(url) == ["outbox.stalled"]
    run(
        url,
        "UPDATE awards.outbox SET published_at = now()",
        "INSERT INTO notify.dead_letters (id, handler, reason, error, body_hash, body) VALUES (gen_random_uuid(),"
        " 'notify.acknowledge_star', 'handler.failed', 'ValueError', '', '')",
        "INSERT INTO volunteers.reconciliations VALUES ('ledger_statistics', 2, 0, now()), ('other', 0, 0, now())",
    )
    assert sorted(of_databases(url)) == ["dead_letters.waiting", "reconcile.differs"]


# The broker


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("amqps://xinhuo:4fe7c0@mq.example:5671/xinhuo", []),
        ("amqp://xinhuo:4fe7c0@127.0.0.1/xinhuo", []),
        ("amqp://xinhuo:4fe7c0@localhost:5672/xinhuo", []),
        ("amqp://xinhuo:4fe7c0@[::1]:5672/xinhuo", []),
        ("amqp://xinhuo:4fe7c0@mq.example:5672/xinhuo", ["broker.no_tls"]),
        ("amqp://guest:4fe7c0@127.0.0.1/xinhuo", ["broker.guest_user"]),
        ("amqp://127.0.0.1/xinhuo", ["broker.guest_user", "broker.default_password"]),
        ("amqp://xinhuo:guest@127.0.0.1/xinhuo", ["broker.default_password"]),
        ("amqp://xinhuo:xinhuo@127.0.0.1/xinhuo", ["broker.default_password"]),
        ("amqp://xinhuo@127.0.0.1/xinhuo", ["broker.default_password"]),
        ("amqp://xinhuo:4fe7c0@127.0.0.1/", ["broker.default_vhost"]),
        ("amqp://xinhuo:4fe7c0@127.0.0.1/%2F", ["broker.default_vhost"]),
    ],
)
def test_what_is_wrong_with_the_address_is_found_and_its_password_not_told(uri: str, found: list[str]) -> None:
    findings = list(broker.check_uri(uri))

    assert codes(iter(findings)) == found
    assert not any("4fe7c0" in f"{one}" for one in findings)


@pytest.mark.parametrize(
    ("product", "version", "found"),
    [
        ("RabbitMQ", "3.9.29", ["broker.too_old"]),
        ("RabbitMQ", "3.10.8", ["broker.old", "broker.flag_unseen"]),
        ("RabbitMQ", "3.11.0", ["broker.old", "broker.flag_unseen"]),
        ("RabbitMQ", "3.12.1", ["broker.old"]),
        ("RabbitMQ", "3.13.7", []),
        ("RabbitMQ", "4.1.0", []),
        ("RabbitMQ", "4.2.0-rc.1", []),
        ("LavinMQ", "2.1.0", ["broker.too_old"]),
    ],
)
def test_versions_of_the_broker_are_judged(product: str, version: str, found: list[str]) -> None:
    assert codes(broker.check_version("mq", {"product": product, "version": version})) == found


def of_broker(uri: str, topology: Topology) -> list[str]:
    """Return what is found, without what every broker or this one's version has."""
    always = {"broker.unseen", "broker.old", "broker.flag_unseen"}
    found = codes(broker.check(uri, topology, SERVICES))
    assert "broker.unseen" in found
    return [code for code in found if code not in always]


def test_a_broker_set_up_wrongly_is_told_step_by_step(amqp_uri: str) -> None:
    wanted = full_topology()
    client = Broker(amqp_uri)
    for queue in wanted.queues:
        client.channel.queue_delete(queue.name)
    assert of_broker(amqp_uri, wanted) == ["topology.missing"]

    amqp_topology.declare(amqp_uri, wanted)
    assert of_broker(amqp_uri, wanted) == ["topology.dead_queue_unread", "topology.queue_unread"]
    for queue in wanted.queues:
        client.channel.basic_consume(queue.name, callback=lambda _message: None)
    assert of_broker(amqp_uri, wanted) == []
    client.close()

    client = Broker(amqp_uri)
    tally = next(queue for queue in wanted.queues if queue.name == "awards.add_to_tally")
    assert otherwise(client, tally, None, wanted, amqp_uri) == ["topology.classic_queue"]
    kept = {name: value for name, value in tally.arguments.items() if "dead-letter" not in name}
    assert otherwise(client, tally, kept, wanted, amqp_uri) == ["topology.no_dead_letter_exchange"]
    assert otherwise(client, tally, {**tally.arguments, "x-delivery-limit": 3}, wanted, amqp_uri) == [
        "topology.differs"
    ]
    client.channel.queue_delete(tally.name)
    client.channel.queue_declare("awards.old", durable=True, auto_delete=False)
    retired = replace(wanted, retired=("awards.old",))
    assert "topology.retired" in of_broker(amqp_uri, retired)
    for name in ("awards.old", *(queue.name for queue in wanted.queues)):
        client.channel.queue_delete(name)
    client.close()


def otherwise(client: Broker, queue: Queue, arguments: dict[str, Any] | None, wanted: Topology, uri: str) -> list[str]:
    """Return what is found about a queue that was declared with other arguments."""
    client.channel.queue_delete(queue.name)
    client.channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=arguments)
    found = of_broker(uri, replace(wanted, queues=(queue,)))
    return [code for code in found if code != "topology.queue_unread"]


def test_an_exchange_of_another_type_is_found() -> None:
    item = Item("exchange", "awards.events", "differs")

    assert codes(broker.judge([item], SERVICES)) == ["topology.differs"]


def test_a_broker_that_is_away_or_refuses_or_is_none_is_told(amqp_uri: str) -> None:
    away = "amqp://x:4fe7c0@127.0.0.1:9/z"
    assert codes(broker.check(away, full_topology(), SERVICES)) == ["broker.away"]
    user, _, rest = amqp_uri.removeprefix("amqp://").partition(":")
    refused = f"amqp://{user}:4fe7c0@{rest.partition('@')[2]}"
    assert "broker.refused" in codes(broker.check(refused, full_topology(), SERVICES))
    assert codes(broker.check(None, full_topology(), SERVICES)) == ["broker.in_process"]


def test_an_alarm_is_found(amqp_uri: str, rabbit_node: RabbitNode) -> None:
    assert codes(broker.check_alarm(amqp_uri)) == []
    rabbit_node.ctl("set_disk_free_limit", "900GB")
    try:
        assert codes(broker.check_alarm(amqp_uri)) == ["broker.alarm"]
    finally:
        rabbit_node.ctl("set_disk_free_limit", "50MB")
    with Connection(amqp_uri) as connection:
        assert connection.connected or connection.connect()


def test_every_code_is_found_by_a_test() -> None:
    # Users are looked for where they are made.
    modules = (Path(__file__), Path(__file__).parent / "broker_users" / "test_apply.py")
    source = "".join(module.read_text(encoding="utf-8") for module in modules)

    assert [code for code in CODES if f'"{code}"' not in source] == []


def test_every_code_has_texts_in_both_languages_and_a_level() -> None:
    for code, (level, zh, en) in CODES.items():
        assert level in ("error", "warning", "unseen"), code
        assert any("\u4e00" <= letter <= "\u9fff" for letter in zh), code
        assert en.isascii(), code
        assert len(en) < 90, code

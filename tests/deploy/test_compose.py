"""deploy/compose.yaml: its set-up and its ten processes, run from the file itself on the tests' servers.

What needs docker itself is not shown here: networks, published ports, limits, the images of PostgreSQL and RabbitMQ.
"""

import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import requests
from psycopg import sql

from tests.support.campaign import make_campaign
from tests.support.compose import FILE, Composed, read
from tests.support.image import USER, Container, Image
from tests.support.installation import SERVICES, Installation
from tests.support.processes import LOOPBACK, tail
from tests.support.rabbit import RabbitNode
from tests.support.waiting import wait_for
from tools.deploy_check import compose
from xinhuo.chassis import config
from xinhuo.cli import installing

# The first test that asks for the image may have to wait until it is built, with others building beside it.
pytestmark = pytest.mark.timeout(900)

PATIENCE = 120
SERVERS = 999
ROLES = ("api", "worker")
ONCE = ("passwords", "key", "migrate", "topology", "hand-out")


class Office(Installation):
    """The composed system, for the helpers that use an installation."""

    def __init__(self, composed: Composed) -> None:
        self.composed = composed
        deploy = composed.volume("secrets-deploy")
        key = composed.volume("master-key") / "master.key"
        url = (deploy / "database-url").read_text().strip()
        super().__init__("rabbitmq", composed.folder, {"DATABASE_URL": url, "XINHUO_KEY_FILE": str(key)})

    def url(self, service: str) -> str:
        return self.composed.url(f"{service}-api")


@pytest.fixture(scope="module")
def composed(
    image: Image, rabbit_node: RabbitNode, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Composed]:
    name = f"t_{secrets.token_hex(5)}"
    server = postgres_url.rpartition("@")[2].partition("/")[0]
    api = rabbit_node.api.rpartition("@")[2].removeprefix("http://")
    broker = rabbit_node.uri(name).rpartition("@")[2].partition("/")[0]
    places = {
        "xinhuo@postgres:5432/xinhuo": f"{name}@{server}/{name}",
        "xinhuo@rabbitmq:5672/xinhuo": f"{name}@{broker}/{name}",
        "rabbitmq:15672": api,
    }
    made = Composed(image, tmp_path_factory.mktemp("compose"), places)
    yield made
    if name in rabbit_node.ctl("list_vhosts").split():
        rabbit_node.delete_vhost(name)
    for user in rabbit_node.ctl("list_users").split():
        if user == name or user.startswith(f"{name}."):
            rabbit_node.ctl("delete_user", user)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        for login in (*(f"{name}_{service}_login" for service in SERVICES), name):
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(login)))


@pytest.fixture(scope="module")
def set_up(composed: Composed, rabbit_node: RabbitNode, postgres_url: str) -> dict[str, str]:
    """What each step of set-up printed."""
    printed: dict[str, str] = {}
    for name, _ in composed.order():
        if name == "postgres":
            _begin_postgres(composed, postgres_url)
        elif name == "rabbitmq":
            _begin_rabbitmq(composed, rabbit_node)
        elif name not in composed.ports:
            ended = composed.run(name)
            printed[name] = ended.stdout
            assert ended.code == 0, f"{name}: {ended.stdout}{ended.stderr}"
    return printed


@pytest.fixture(scope="module")
def running(composed: Composed, set_up: dict[str, str]) -> Iterator[dict[str, Container]]:
    """All processes, ready; in the end each is told to stop, and must do so with exit code 0 within its time."""
    containers = {name: composed.start(name) for name in composed.ports}
    try:
        for name, container in containers.items():
            wait_for(lambda name=name, it=container: it.runs() and _is_ready(composed, name), PATIENCE, name)
        yield containers
        for container in containers.values():
            container.tell()
        for name, container in containers.items():
            assert container.ended(_grace(composed, name)) == 0, f"{name}\n{tail(container.log, 40)}"
    finally:
        for container in containers.values():
            container.end()


def _grace(composed: Composed, name: str) -> int:
    return int(composed.services[name]["stop_grace_period"].removesuffix("s"))


def _begin_postgres(composed: Composed, postgres_url: str) -> None:
    """Do what the image of PostgreSQL does at its first start, with what the file gives it."""
    given = composed.services["postgres"]["environment"]
    file = composed.volume("secrets-database") / Path(given["POSTGRES_PASSWORD_FILE"]).name
    _for_its_owner_only(file, SERVERS)
    name = sql.Identifier(
        composed.places[f"{given['POSTGRES_USER']}@postgres:5432/{given['POSTGRES_DB']}"].split("@")[0]
    )
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        password = sql.Literal(file.read_text().strip())
        connection.execute(sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}").format(name, password))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, name))


def _begin_rabbitmq(composed: Composed, node: RabbitNode) -> None:
    """Do what RabbitMQ does at its first start with its file of settings."""
    [file] = composed.volume("secrets-broker").iterdir()
    _for_its_owner_only(file, SERVERS)
    conf = dict(line.split(" = ") for line in file.read_text().splitlines())
    assert file.suffix == ".conf"
    assert conf["default_user_tags.administrator"] == "true"
    node.add_vhost(conf["default_vhost"])
    node.ctl("add_user", conf["default_user"], conf["default_pass"])
    node.ctl("set_user_tags", conf["default_user"], "administrator")
    node.ctl("set_permissions", "-p", conf["default_vhost"], conf["default_user"], ".*", ".*", ".*")


def _for_its_owner_only(file: Path, owner: int) -> None:
    state = file.stat()
    assert (state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode)) == (owner, owner, 0o600), file


def _is_ready(composed: Composed, name: str) -> bool:
    try:
        return requests.get(composed.url(name) + "/readyz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def _secrets(composed: Composed) -> dict[str, str]:
    volumes = [composed.volume(name) for name in read()["volumes"] if name.startswith(("secrets-", "master-key"))]
    files = [file for volume in volumes for file in volume.rglob("*") if file.is_file()]
    return {str(file.relative_to(composed.folder)): file.read_text() for file in files}


# --- The file itself ------------------------------------------------------------------------------------


def test_every_service_has_an_api_and_a_worker_in_it_and_nothing_else_serves() -> None:
    commands = {
        (name, *one["command"]) for name, one in read()["services"].items() if one.get("command", [""])[0] == "serve"
    }
    wanted = {(f"{s}-{r}", "serve", s, "--role", r, "--port", "8080") for s in config.SERVICES for r in ROLES}
    assert commands == wanted


def test_only_the_interfaces_of_the_services_are_published_and_on_this_machine_only() -> None:
    published = {name: one["ports"] for name, one in read()["services"].items() if one.get("ports")}
    defaults = config.Settings()
    assert published == {f"{s}-api": [f"127.0.0.1:{defaults.port_of(s)}:8080"] for s in config.SERVICES}


def test_every_container_is_locked_up_and_bounded() -> None:
    for name, one in read()["services"].items():
        assert (one["read_only"], one["cap_drop"], one["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
        assert one.get("cap_add", []) == (["CHOWN"] if name == "passwords" else [])
        assert not one.get("privileged")
        limits = one["deploy"]["resources"]["limits"] if name != "passwords" else {"memory", "pids"}
        assert set(limits) == {"memory", "pids"}, name
        assert one.get("network_mode") == "none" or "inside" in one["networks"], name


def test_what_serves_has_a_health_check_and_time_to_finish() -> None:
    services = read()["services"]
    for name in (*(f"{s}-{r}" for s in config.SERVICES for r in ROLES), "postgres", "rabbitmq"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"
        assert services[name]["stop_grace_period"] == "60s"
        assert services[name]["restart"] == "unless-stopped"


def test_it_holds_no_secret_and_asks_for_none() -> None:
    for name, one in read()["services"].items():
        given = one.get("environment", {})
        assert not set(given) & set(config.secret_variables()), name
        assert not [variable for variable in given if variable.endswith(("PASSWORD", "PASS", "COOKIE"))], name


def test_who_asks_other_services_has_a_key_and_nobody_else() -> None:
    services = read()["services"]
    asking = {name for name, one in services.items() if "XINHUO_SERVICE_KEY_FILE" in one.get("environment", {})}
    assert asking == {f"{service}-{role}" for service in installing.ASKS for role in ROLES}


def test_all_its_settings_exist() -> None:
    known = {item.metadata.get("variable") for item in config.fields(config.Settings)}
    known |= {config.URL_OF.format(service.upper()) for service in config.SERVICES}
    known |= {variable + config.IN_FILE for variable in config.secret_variables()}
    ours = [one for one in read()["services"].values() if one["image"].startswith("xinhuo")]
    assert {variable for one in ours for variable in one.get("environment", {})} <= known


def test_whom_docker_waits_for_either_stays_or_ends_well() -> None:
    # `up --wait` fails for a container that ends, unless somebody waits for its end.
    services = read()["services"]
    conditions = {on: how["condition"] for one in services.values() for on, how in one.get("depends_on", {}).items()}
    assert {name for name, how in conditions.items() if how == "service_completed_successfully"} == set(ONCE)
    stays = {name for name, one in services.items() if "healthcheck" in one}
    tools = {name for name, one in services.items() if one.get("profiles")}
    assert set(services) == set(ONCE) | stays | tools


def test_every_command_that_the_guide_gives_names_a_service_of_the_file() -> None:
    guide = (FILE.parent / "README.md").read_text(encoding="utf-8").partition("compose.yaml 单机部署\n")[2]
    text = guide.partition("\n## ")[0] + FILE.read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:run --rm|logs|restart)(?: -T| -v \S+| --entrypoint \S+)* ([a-z-]+)", text))
    assert {"xinhuo", "hand-out", "topology", "awards-api"} <= named
    assert named <= set(read()["services"])


# --- The system -----------------------------------------------------------------------------------------


def test_set_up_says_what_it_did_and_shows_no_secret(composed: Composed, set_up: dict[str, str]) -> None:
    assert list(set_up) == list(ONCE)
    assert set_up["passwords"].startswith("已生成各服务器和服务的密码 / passwords made")
    assert "new service keys" in set_up["hand-out"]
    kept = {line.split("@")[0].split(":")[-1] for text in _secrets(composed).values() for line in text.split()}
    long = {word for word in kept if len(word) > 30}
    assert len(long) > 10
    assert not [word for word in long if word in str(set_up)]


def test_each_service_gets_what_is_its_own_in_files_of_its_user(composed: Composed, set_up: dict[str, str]) -> None:
    for service in config.SERVICES:
        folder = composed.volume(f"secrets-{service}")
        asked = {"service-key"} if service in installing.ASKS else set()
        assert {file.name for file in folder.iterdir()} == {"database-url", "amqp-uri"} | asked
        for file in folder.iterdir():
            _for_its_owner_only(file, USER)
        url = (folder / "database-url").read_text().strip()
        elsewhere = next(other for other in config.SERVICES if other != service)
        with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"SELECT count(*) FROM {elsewhere}.alembic_version")  # noqa: S608
        with psycopg.connect(url) as connection:
            assert connection.execute(f"SELECT count(*) FROM {service}.alembic_version").fetchone() == (1,)  # noqa: S608


def test_set_up_may_run_again_and_changes_nothing(composed: Composed, set_up: dict[str, str]) -> None:
    before = _secrets(composed)
    for name in ONCE:
        ended = composed.run(name)
        assert ended.code == 0, f"{name}: {ended.stdout}{ended.stderr}"
        assert "made" not in ended.stdout, ended.stdout
    assert _secrets(composed) == before


def test_the_first_administrator_gets_in_by_a_link_that_is_shown_once(
    composed: Composed, running: dict[str, Container]
) -> None:
    shown = composed.run("xinhuo", "accounts", "first-admin")
    assert shown.code == 0, shown.stderr
    [link] = [word for word in shown.stdout.split() if word.startswith("xhl_")]

    password = secrets.token_urlsafe(16)
    done = composed.run("xinhuo", "activate", "--password-stdin", stdin=password + "\n", env={"XINHUO_LINK": link})
    assert done.code == 0, done.stdout + done.stderr
    again = composed.run("xinhuo", "accounts", "first-admin")
    assert (again.code, "xhl_" in again.stdout) == (1, False)
    signed_in = composed.run(
        "xinhuo",
        "login",
        "admin",
        "--password-stdin",
        stdin=password + "\n",
        env={"XINHUO_DATA": "/tmp/x"},  # noqa: S108
    )
    assert "bureau_admin" in signed_in.stdout, signed_in.stdout + signed_in.stderr


def test_an_hour_is_logged_and_counted_and_thanked_for(composed: Composed, running: dict[str, Container]) -> None:
    campaign = make_campaign(Office(composed))
    campaign.log(day=1, minutes=60)
    wait_for(lambda: campaign.statistics()["minutes"] == 60, PATIENCE, "the statistics")
    wait_for(lambda: campaign.stars()["minutes"] == 60, PATIENCE, "the stars")
    wait_for(lambda: "hours_logged" in {one["occasion"] for one in campaign.inbox()}, PATIENCE, "the message")


def test_the_health_check_tells_a_process_that_serves_from_one_that_does_not(
    composed: Composed, running: dict[str, Container]
) -> None:
    container = running["notices-worker"]
    assert composed.healthcheck(container, "notices-worker") == 0
    ports, composed.ports = composed.ports, {**composed.ports, "notices-worker": 1}
    try:
        assert composed.healthcheck(container, "notices-worker") != 0
    finally:
        composed.ports = ports


def test_no_process_says_a_secret_or_listens_elsewhere(composed: Composed, running: dict[str, Container]) -> None:
    passwords = [text.split("@")[0].rpartition(":")[2].strip() for text in _secrets(composed).values()]
    for name, container in running.items():
        log = container.log.read_text(encoding="utf-8")
        assert '"event": "started"' in log, name
        assert not [word for word in passwords if len(word) > 20 and word in log], name
    assert all(composed.url(name).startswith(f"http://{LOOPBACK}:") for name in running)


def test_sigterm_ends_a_process_of_either_role_well_within_its_time(
    composed: Composed, running: dict[str, Container]
) -> None:
    # Of all ten it is shown where `running` ends; these two are begun again for the other tests.
    for name in ("notify-api", "notify-worker"):
        running[name].tell()
        assert running[name].ended(_grace(composed, name)) == 0, tail(running[name].log, 40)
        assert '"event": "stopped"' in running[name].log.read_text(encoding="utf-8")
        running[name] = composed.start(name)
    for name in ("notify-api", "notify-worker"):
        wait_for(lambda name=name: running[name].runs() and _is_ready(composed, name), PATIENCE, name)


# --- The check of the file ------------------------------------------------------------------------------


def test_the_file_is_what_the_compose_specification_allows() -> None:
    found = compose.check(FILE.parents[1])
    assert (found.problems, found.counts) == ([], {"compose_services": len(read()["services"])})


@pytest.mark.parametrize(
    ("there", "broken", "named"),
    [
        ("  read_only: true", "  read_onli: true", "read_onli"),
        ("service_healthy", "service_well", "service_well"),
        ("interval: 15s", "interval: 15 seconds", "seconds"),
        ("cap_drop: [ALL]", "cap_drop: ALL", "expected a set"),
        ("networks: [inside]\n    volumes", "networks: [within]\n    volumes", "within"),
        ("key: { condition", "keys: { condition", "keys"),
        ("secrets-deploy:/run/secrets/xinhuo:ro", "secrets-deply:/run/secrets/xinhuo:ro", "secrets-deply"),
        ("services:", "services: [", "services"),
    ],
)
def test_what_docker_would_refuse_is_found(there: str, broken: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    text = FILE.read_text(encoding="utf-8")
    assert there in text
    (tmp_path / "deploy" / "compose.yaml").write_text(text.replace(there, broken), encoding="utf-8")
    problems = compose.check(tmp_path).problems
    assert any(named in problem for problem in problems), problems

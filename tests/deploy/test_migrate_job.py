"""The migrate Job and `admin` where RabbitMQ is outside: services' users have the passwords of their Secrets."""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import amqp
import pytest

from tests.support.broker_users import connected
from tests.support.pods import ROOT, PlainRunner, Rendered, container_of, pod_of
from tests.support.processes import tail
from tests.support.rabbit import RabbitNode
from tools.kubectl import render
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.key_file import create_key_file, load_keys

SECONDS = 120


def uri_of(empty_broker: str, service: str, password: str) -> str:
    """Return the address that the vault has for a service: in a file of Kubernetes it stands without a name."""
    parts = urlsplit(empty_broker)
    account = f"{parts.path[1:]}.{service}:{password}"
    return urlunsplit(parts._replace(netloc=f"{account}@{parts.hostname}:{parts.port}"))


def topology_apply(rendered: Rendered, folder: Path, secrets: dict[str, dict[str, str]], who: str = "migrate") -> str:
    """Run `topology apply` in the Job that makes queues and users, or where commands are run; return what it says."""
    job = rendered.get("Job", who) if who == "migrate" else rendered.get("CronJob", who)["spec"]["jobTemplate"]
    (container,) = pod_of(job)["containers"]
    pod, container = pod_of(job), {**container, "args": ["topology", "apply"]}
    log = folder / "log"
    laid_out = container_of(rendered, pod, container, secrets, folder)
    assert PlainRunner().start(laid_out, log, 0, {}).wait(SECONDS) == 0, tail(log)
    return log.read_text(encoding="utf-8")


def test_users_get_the_passwords_of_the_secrets_and_another_one_when_a_secret_changes(
    rabbit_node: RabbitNode, empty_broker: str, tmp_path: Path
) -> None:
    staging = Rendered(render(ROOT / "deploy" / "overlays" / "staging"))
    secrets = {
        f"{service}-secrets": {"amqp-uri": uri_of(empty_broker, service, f"first-of-{service}")} for service in SERVICES
    }
    secrets["deploy-secrets"] = {
        "amqp-uri": empty_broker, "rabbitmq-api": rabbit_node.api, "database-url": "postgresql://nobody@nowhere/none",
    }  # fmt: skip
    secrets["xinhuo-master-key"] = {"master.key": "not read by this"}

    assert "first-of" not in topology_apply(staging, tmp_path / "1", secrets)
    for service in SERVICES:
        with connected(secrets[f"{service}-secrets"]["amqp-uri"]) as connection:
            assert connection.connected

    before = secrets["awards-secrets"]["amqp-uri"]
    secrets["awards-secrets"]["amqp-uri"] = uri_of(empty_broker, "awards", "second-of-awards")
    assert "已改正 / mended: user" in topology_apply(staging, tmp_path / "2", secrets)
    with connected(secrets["awards-secrets"]["amqp-uri"]) as connection:
        assert connection.connected
    with pytest.raises(amqp.AccessRefused), connected(before):
        pass

    assert "已是最新 / nothing to do" in topology_apply(staging, tmp_path / "3", secrets, "admin"), "it sees the same"
    secrets["awards-secrets"]["amqp-uri"] = before
    assert "已改正 / mended: user" in topology_apply(staging, tmp_path / "4", secrets, "admin")
    with connected(before) as connection:
        assert connection.connected


def test_a_master_key_is_read_as_kubernetes_mounts_it(tmp_path: Path) -> None:
    """A link to a link, for the group only; when the Secret changes, both lead elsewhere and keys are read again."""
    for number in ("1", "2"):
        (tmp_path / f"..{number}").mkdir()
        create_key_file(tmp_path / f"..{number}" / "master.key")
        (tmp_path / f"..{number}" / "master.key").chmod(0o440)
    data = tmp_path / "..data"
    data.symlink_to("..1")
    key = tmp_path / "master.key"
    key.symlink_to("..data/master.key")

    first = load_keys(key)
    newer = tmp_path / "..data_tmp"
    newer.symlink_to("..2")
    newer.rename(data)

    assert load_keys(key).current != first.current

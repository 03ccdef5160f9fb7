"""What Kubernetes does with rendered manifests, in small: the migrate Job, Deployments, Services, rolling restarts.

Accounts at the broker and at the database are made as the operators make them, from the rendered objects.
"""

import contextlib
import secrets
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import certifi
import psycopg
import requests
from psycopg import sql

from tests.support.installation import Installation
from tests.support.pods import Container, Object, PlainRunner, Rendered, Runner, container_of, pod_of
from tests.support.processes import LOOPBACK, free_port, tail
from tests.support.rabbit import RabbitNode
from tests.support.waiting import wait_for
from xinhuo.chassis import config
from xinhuo.chassis.key_file import create_key_file
from xinhuo.cli import installing
from xinhuo.cli.backup import sealed

PATIENCE = 120
_PIECE = 65536


@dataclass
class Pod:
    """A running container of a Deployment."""

    deployment: str
    process: "subprocess.Popen[Any]"
    port: int
    log: Path
    ready: bool = False

    def probe(self, probe: Object) -> bool:
        """Ask as the kubelet does."""
        address = f"http://{LOOPBACK}:{self.port}{probe['httpGet']['path']}"
        try:
            return requests.get(address, timeout=probe.get("timeoutSeconds", 1)).status_code < 400
        except requests.RequestException:
            return False


class ServiceAddress:
    """The address of a Service: each connection goes to the next pod that is ready, and stays with it."""

    def __init__(self, pods: "list[Pod]") -> None:
        self._pods, self._turn = pods, count()
        self._listener = socket.create_server((LOOPBACK, 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The address."""
        return f"http://{LOOPBACK}:{self.port}"

    def close(self) -> None:
        """Take no more."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        ready = [pod for pod in list(self._pods) if pod.ready]
        with client:
            if not ready:
                return
            try:
                server = socket.create_connection((LOOPBACK, ready[next(self._turn) % len(ready)].port), timeout=10)
            except OSError:
                return
            with server:
                server.settimeout(None)
                back = threading.Thread(target=_copy, args=(server, client), daemon=True)
                back.start()
                _copy(client, server)
                back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@dataclass
class Accounts:
    """What the operators make: a login and a user for each service and for whoever deploys."""

    database_urls: dict[str, str]
    amqp_uris: dict[str, str]
    management: str
    """The management API, with the account that RabbitMQ was begun with."""
    logins: list[str] = field(default_factory=list)


def accounts_of(rendered: Rendered, postgres_url: str, node: RabbitNode, vhost_uri: str) -> Accounts:
    """Make database, roles, users and rights as the objects of the overlay say, under names of this test's own."""
    urls, logins = _roles(rendered, postgres_url)
    account, parts = urlsplit(vhost_uri).netloc.rpartition("@")[0], urlsplit(node.api)
    management = urlunsplit(parts._replace(netloc=f"{account}@{parts.netloc}"))
    return Accounts(urls, _users(rendered, node, vhost_uri), management, logins)


def _roles(rendered: Rendered, postgres_url: str) -> tuple[dict[str, str], list[str]]:
    """Do what CloudNativePG does: the roles, and a database that its owner, who is no superuser, may change."""
    (cluster,) = rendered.of_kind("Cluster")
    spec, mark, password = cluster["spec"], secrets.token_hex(4), secrets.token_urlsafe(16)
    owner, names = spec["bootstrap"]["initdb"]["owner"], []
    database = f"t_{mark}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        roles = sorted(spec["managed"]["roles"], key=lambda role: bool(role["login"]))
        for role in roles:  # those without login are the same for all tests on this server
            login, name = role["login"], f"{role['name']}_{mark}" if role["login"] else role["name"]
            with contextlib.suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                connection.execute(sql.SQL("CREATE ROLE {} NOSUPERUSER NOLOGIN").format(sql.Identifier(name)))
            if login:
                names.append(name)
                connection.execute(
                    sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(password))
                )
            if "connectionLimit" in role:
                limit = sql.Literal(role["connectionLimit"])
                connection.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(sql.Identifier(name), limit))
            if role.get("bypassrls"):
                connection.execute(sql.SQL("ALTER ROLE {} BYPASSRLS").format(sql.Identifier(name)))
            for other in role.get("inRoles", []):
                connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(other), sql.Identifier(name)))
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(
                sql.Identifier(database), sql.Identifier(f"{owner}_{mark}")
            )
        )
    parts = urlsplit(postgres_url)
    place = f"{parts.hostname}:{parts.port}"

    def url(login: str) -> str:
        return urlunsplit(parts._replace(netloc=f"{login}_{mark}:{password}@{place}", path=f"/{database}"))

    logins = [role["name"] for role in roles if role["login"]]
    return {("deploy" if login == owner else login): url(login) for login in logins}, names


def _users(rendered: Rendered, node: RabbitNode, vhost_uri: str) -> dict[str, str]:
    """Do what the topology operator does: users, what they may do, policies, in a virtual host of this test's own."""
    parts = urlsplit(vhost_uri)
    vhost, found = parts.path[1:], {}
    with requests.Session() as api:
        api.auth = (parts.username or "", parts.password or "")

        def put(path: str, body: Object) -> None:
            answer = api.put(f"{node.api}/api/{path}", json=body, timeout=30)
            assert answer.ok, answer.text

        def user_of(item: Object) -> str:
            return f"{vhost}.{item['spec']['userReference']['name']}"

        for item in rendered.of_kind("User"):
            who, password = item["metadata"]["name"], secrets.token_urlsafe(16)
            put(f"users/{vhost}.{who}", {"password": password, "tags": ",".join(item["spec"].get("tags", []))})
            account = f"{vhost}.{who}:{quote(password, safe='')}"
            found[who] = urlunsplit(parts._replace(netloc=f"{account}@{parts.hostname}:{parts.port}"))
        for item in rendered.of_kind("Permission"):
            put(f"permissions/{vhost}/{user_of(item)}", item["spec"]["permissions"])
        for item in rendered.of_kind("TopicPermission"):
            put(f"topic-permissions/{vhost}/{user_of(item)}", item["spec"]["permissions"])
        for kind, place in (("Policy", "policies"), ("OperatorPolicy", "operator-policies")):
            for item in rendered.of_kind(kind):
                spec = item["spec"]
                body = {"pattern": spec["pattern"], "apply-to": spec["applyTo"], "definition": spec["definition"]}
                put(f"{place}/{vhost}/{spec['name']}", body)
    return found


class Cluster(Installation):
    """Everything of an overlay, running; its clients ask the Services."""

    def __init__(self, rendered: Rendered, accounts: Accounts, folder: Path, runner: Runner | None = None) -> None:
        super().__init__("rabbitmq", folder, {"DATABASE_URL": accounts.database_urls["deploy"]})
        self.rendered, self.runner = rendered, runner or PlainRunner()
        self._accounts = accounts
        self.data.mkdir(parents=True)
        self.settings["XINHUO_KEY_FILE"] = str(self.data / "master.key")
        create_key_file(self.data / "master.key")
        self.backup_identity = self.data / "backup-identity.txt"
        self.recipient = sealed.make_identity(self.backup_identity)
        self.pods: dict[str, list[Pod]] = {item["metadata"]["name"]: [] for item in rendered.of_kind("Deployment")}
        self._addresses = {
            name: ServiceAddress(self.pods[self._deployment_behind(name)])
            for name in (item["metadata"]["name"] for item in rendered.of_kind("Service"))
            if rendered.get("Service", name)["spec"].get("clusterIP") != "None"
        }
        self._numbers = count()
        self._over = threading.Event()
        self._kubelet = threading.Thread(target=self._watch, daemon=True)

    def _deployment_behind(self, service: str) -> str:
        wanted = self.rendered.get("Service", service)["spec"]["selector"]
        (name,) = (
            item["metadata"]["name"]
            for item in self.rendered.of_kind("Deployment")
            if wanted.items() <= item["spec"]["template"]["metadata"]["labels"].items()
        )
        return str(name)

    # --- Installing ------------------------------------------------------------------------------------------

    @property
    def secrets(self) -> dict[str, dict[str, str]]:
        """The content of the Secrets."""
        accounts, master = self._accounts, (self.data / "master.key").read_text()
        made = {
            f"{service}-secrets": {
                "database-url": accounts.database_urls[service],
                "amqp-uri": accounts.amqp_uris[service],
            }
            for service in config.SERVICES
        }
        for service, key in self._service_keys.items():
            made[f"{service}-secrets"]["service-key"] = key
        deploy = {
            "database-url": accounts.database_urls["deploy"], "amqp-uri": accounts.amqp_uris["deploy"],
            "rabbitmq-api": accounts.management,
        }  # fmt: skip
        # Read by nobody here: servers of tests are reached without TLS.
        authority = {"ca.crt": Path(certifi.where()).read_text(encoding="ascii")}
        return {
            **made, "deploy-secrets": deploy, "xinhuo-master-key": {"master.key": master},
            "backup-secrets": {"database-url": accounts.database_urls["backup"], "recipient": self.recipient},
            "rabbitmq-tls": authority, "postgresql-ca": authority,
        }  # fmt: skip

    def install(self) -> None:
        """Run the migrate Job, make the keys of services that ask others, and start one pod of each Deployment."""
        self._service_keys: dict[str, str] = {}
        self.run_job("migrate")
        self._service_keys = installing.service_keys(self._portal())
        self._kubelet.start()
        self.start(*self.pods)

    def run_job(self, name: str) -> None:
        """Run the containers of a Job, one after the other, as its init containers are."""
        self._run_once(name, pod_of(self.rendered.get("Job", name)))

    def run_scheduled(self, name: str) -> Path:
        """Run the containers of a CronJob's Job now; return where its claims of volumes are."""
        self._run_once(name, pod_of(self.rendered.get("CronJob", name)["spec"]["jobTemplate"]))
        return self._claims

    def restore(self, job: Object, database_url: str) -> str:
        """Run the Job that brings the newest backup back, into a database of its own; return what it says."""
        deploy = {**self.secrets["deploy-secrets"], "database-url": database_url}
        identity = {"backup-identity.txt": self.backup_identity.read_text(encoding="ascii")}
        secrets = {**self.secrets, "deploy-secrets": deploy, "backup-identity": identity}
        pod, log = pod_of(job), self.folder / "restore.log"
        (container,) = pod["containers"]
        folder = self.folder / "pods" / "restore"
        laid_out = container_of(self.rendered, pod, container, secrets, folder, self._claims)
        assert self.runner.start(laid_out, log, 0, {}).wait(PATIENCE) == 0, tail(log, 40)
        return log.read_text(encoding="utf-8")

    def _run_once(self, name: str, pod: Object) -> None:
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            log = self.folder / f"{name}-{container['name']}.log"
            process = self.runner.start(self._laid_out(pod, container), log, 0, {})
            assert process.wait(PATIENCE) == 0, tail(log, 40)

    def execute(self, deployment: str, *arguments: str) -> str:
        """Do what `kubectl exec` does: run a command with the environment of a Deployment's container."""
        return self._execute(pod_of(self.rendered.get("Deployment", deployment)), *arguments)

    def administer(self, *arguments: str, code: int = 0) -> str:
        """Run a command where whoever administers does: in a Job of the CronJob `admin`."""
        pod = pod_of(self.rendered.get("CronJob", "admin")["spec"]["jobTemplate"])
        return self._execute(pod, *arguments, code=code)

    def _execute(self, pod: Object, *arguments: str, code: int = 0) -> str:
        container = {**pod["containers"][0], "args": list(arguments)}
        log = self.folder / f"exec-{next(self._numbers)}.log"
        assert self.runner.start(self._laid_out(pod, container), log, 0, {}).wait(PATIENCE) == code, tail(log)
        return log.read_text(encoding="utf-8")

    def start(self, *deployments: str) -> None:
        """Start a pod of each Deployment; return when all are ready."""
        for pod in [self._start(name) for name in deployments]:
            self._wait_until_ready(pod)

    def _wait_until_ready(self, pod: Pod) -> None:
        wait_for(lambda: self._is_ready(pod), PATIENCE, f"{pod.deployment}: {tail(pod.log)}")

    def _start(self, deployment: str) -> Pod:
        pod = pod_of(self.rendered.get("Deployment", deployment))
        (container,) = pod["containers"]
        number, port = next(self._numbers), free_port()
        log = self.folder / f"{deployment}-{number}.log"
        addresses = {f"http://{name}": address.url for name, address in self._addresses.items()}
        process = self.runner.start(self._laid_out(pod, container), log, port, addresses)
        self.pods[deployment].append(made := Pod(deployment, process, port, log))
        return made

    def _laid_out(self, pod: Object, container: Object) -> Container:
        folder = self.folder / "pods" / str(next(self._numbers))
        return container_of(self.rendered, pod, container, self.secrets, folder, self._claims)

    @property
    def _claims(self) -> Path:
        return self.folder / "claims"

    def _is_ready(self, pod: Pod) -> bool:
        assert pod.process.poll() is None, tail(pod.log, 40)
        return pod.ready

    def _watch(self) -> None:
        """Ask each pod whether it is ready, as often as its probe says."""
        probes = {name: self.probe(name, "readinessProbe") for name in self.pods}
        due: dict[int, float] = {}
        while not self._over.wait(0.1):
            for name, pods in self.pods.items():
                for pod in list(pods):
                    if due.get(pod.port, 0.0) <= time.monotonic():
                        due[pod.port] = time.monotonic() + probes[name]["periodSeconds"]
                        pod.ready = pod.probe(probes[name])

    def probe(self, deployment: str, which: str) -> Object:
        """Return a probe of a Deployment's container."""
        found: Object = pod_of(self.rendered.get("Deployment", deployment))["containers"][0][which]
        return found

    # --- Restarting ------------------------------------------------------------------------------------------

    def restart(self, *deployments: str) -> None:
        """Do what `kubectl rollout restart` does, with maxSurge 1 and maxUnavailable 0, for all of them at once."""
        before = {name: list(self.pods[name]) for name in deployments}
        for pod in [self._start(name) for name in deployments]:
            self._wait_until_ready(pod)
            for old in before[pod.deployment]:
                old.process.send_signal(signal.SIGTERM)
        for name, pods in before.items():
            grace = pod_of(self.rendered.get("Deployment", name))["terminationGracePeriodSeconds"]
            for old in pods:
                assert old.process.wait(grace) == 0, tail(old.log, 40)
                self.pods[name].remove(old)

    def stop(self, *_: Any) -> int:  # type: ignore[override]
        """Send SIGTERM to everything at once; all must end well, in time."""
        pods = [pod for several in self.pods.values() for pod in several]
        for pod in pods:
            pod.process.send_signal(signal.SIGTERM)
        codes = [pod.process.wait(60) for pod in pods]
        return max(codes)

    def end(self) -> None:
        """End everything, whatever it is at."""
        self._over.set()
        for address in self._addresses.values():
            address.close()
        for pods in self.pods.values():
            for pod in pods:
                self.runner.end(pod.process)

    def url(self, service: str) -> str:
        """Return the address of a Service."""
        return self._addresses[service].url

"""Private RabbitMQ nodes: own ports, epmd and cookie, on the loopback interface, ended with their tests."""

import json
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import amqp

from tests.support import apt
from tests.support.processes import LOOPBACK, MARK, ServersUnavailable, end, free_port, listens, send, tail
from tests.support.waiting import wait_for

# Debian's wrappers in /usr/sbin switch to the user and the cookie of the installed service, and so never find
# a node that somebody else runs; the scripts behind them do as they are told.
SCRIPT_FOLDERS = ("/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin")
START_SECONDS = 120
CTL_SECONDS = 60


def installed() -> Path | None:
    """Return the folder with RabbitMQ's own scripts, if RabbitMQ is installed."""
    for folder in map(Path, SCRIPT_FOLDERS):
        if (folder / "rabbitmq-server").exists() and shutil.which("erl"):
            return folder
    return None


def ensure_installed() -> Path:
    """Return the folder with RabbitMQ's scripts, installing Debian's package first when that is possible."""
    folder = installed()
    if folder is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print("RabbitMQ is missing: apt-get install rabbitmq-server", flush=True)
        apt.install("rabbitmq-server")
        folder = installed()
    if folder is None:
        raise ServersUnavailable(
            "测试需要 RabbitMQ：请以 root 身份运行 apt-get install rabbitmq-server，"
            "或设置 XINHUO_TEST_AMQP_URI=amqp://用户:密码@主机/虚拟主机\n"
            "The tests need RabbitMQ: run as root `apt-get install rabbitmq-server`, "
            "or set XINHUO_TEST_AMQP_URI=amqp://user:password@host/vhost"
        )
    return folder


class Epmd:
    """Erlang's port mapper on a port of its own; the nodes of one cluster share one."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the mapper, unless one answers at its port."""
        if not listens(self.port):
            program = shutil.which("epmd") or str(next(Path("/usr/lib/erlang").glob("erts-*/bin/epmd")))
            self._process = subprocess.Popen(
                [program, "-port", str(self.port), "-address", LOOPBACK],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            wait_for(lambda: listens(self.port), 10, "epmd to listen")

    def stop(self) -> None:
        """End the mapper, if it was started here."""
        if self._process is not None:
            end(self._process, signal.SIGTERM, 5)
            self._process = None


class RabbitNode:
    """One RabbitMQ node that lives in `folder`; stopped or killed, it starts again as it was."""

    def __init__(
        self,
        folder: Path,
        *,
        epmd: Epmd | None = None,
        cookie: str | None = None,
        password: str | None = None,
        management: bool = False,
        metrics: bool = False,
    ) -> None:
        """Nodes that are to be a cluster share the first three: when they join, the users of one become everybody's.

        With ``management`` it has the management API, which makes a start some 0.7 s longer; with ``metrics`` what
        Prometheus asks.
        """
        self.folder = folder
        self.scripts = ensure_installed()
        self._process: subprocess.Popen[bytes] | None = None
        self._shares_epmd = epmd is not None
        state = folder / "node.json"
        if state.exists():
            # Another process made this node; it is used, and may be started again, from here too.
            self._state: dict[str, Any] = json.loads(state.read_text())
            self._epmd = epmd or Epmd(self._state["epmd_port"])
            return
        self._epmd = epmd or Epmd()
        self._state = {
            "name": f"xinhuo-{secrets.token_hex(4)}@localhost",
            "port": free_port(),
            "dist_port": free_port(),
            "ctl_port": free_port(),
            "epmd_port": self._epmd.port,
            "user": "tests",
            "password": password or secrets.token_urlsafe(12),
            "cookie": cookie or secrets.token_hex(16),
            "management_port": free_port() if management else None,
            "metrics_port": free_port() if metrics else None,
            "pid": None,
        }
        self._lay_out()

    @property
    def name(self) -> str:
        """The node's name, as other nodes of a cluster call it."""
        return str(self._state["name"])

    @property
    def port(self) -> int:
        """The AMQP port."""
        return int(self._state["port"])

    @property
    def cookie(self) -> str:
        """What nodes must share to talk to each other."""
        return str(self._state["cookie"])

    def uri(self, vhost: str = "/") -> str:
        """Return the AMQP URI of one virtual host, with the rights of an administrator."""
        state = self._state
        return f"amqp://{state['user']}:{state['password']}@{LOOPBACK}:{state['port']}/{quote(vhost, safe='')}"

    @property
    def metrics_port(self) -> int:
        """Where Prometheus asks."""
        return int(self._state["metrics_port"])

    @property
    def api(self) -> str:
        """The address of the management API, whose administrator is the user of `uri`."""
        assert self._state["management_port"], "this node has none"
        return f"http://{LOOPBACK}:{self._state['management_port']}"

    def start(self, *, wait: bool = True) -> "RabbitNode":
        """Start the node and, unless told otherwise, wait until it serves."""
        self._epmd.start()
        with (self.folder / "log" / "console.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.scripts / "rabbitmq-server"],
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._state["pid"] = self._process.pid
        self._save()
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        """Return when a client can open a channel."""
        wait_for(self._serves, START_SECONDS, f"RabbitMQ to serve at port {self.port}")

    def stop(self) -> None:
        """Shut the node down in good order, and its port mapper; the data stays."""
        self.thaw()
        if self._process is not None:
            end(self._process, signal.SIGTERM, 60)
            self._process = None
        if not self._shares_epmd:
            self._epmd.stop()

    def write_down(self) -> None:
        """Have the node write to the disk which queues and bindings it has; by itself it does so every few minutes.

        One declared just before a power cut may be gone after it, or stay without a leader.
        """
        self.ctl("eval", "mnesia:sync_log(), dumped = mnesia:dump_log(), [dets:sync(Table) || Table <- dets:all()].")

    def kill(self) -> None:
        """Kill the node at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        elif self._state["pid"]:
            send(self._state["pid"], signal.SIGKILL)

    def discard(self) -> None:
        """Kill the node, end its port mapper and remove its data."""
        self.kill()
        if not self._shares_epmd:
            self._epmd.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def freeze(self) -> None:
        """Stop the node in its tracks: connections stay open and nobody answers."""
        send(self._state["pid"], signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen node go on."""
        if self._state["pid"]:
            send(self._state["pid"], signal.SIGCONT)

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl against this node and return what it prints."""
        answer = subprocess.run(
            [self.scripts / "rabbitmqctl", "--quiet", "--node", self.name, *arguments],
            env=self._environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CTL_SECONDS,
            check=False,
        )
        if answer.returncode != 0:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {answer.stdout}{answer.stderr}")
        return answer.stdout

    def add_vhost(self, name: str) -> str:
        """Make a virtual host that this node's user administers, and return its URI."""
        # One `eval` in place of `add_vhost` and `set_permissions`: each rabbitmqctl costs most of a second.
        self.ctl(
            "eval",
            f'V = <<"{name}">>, U = <<"{self._state["user"]}">>, ok = rabbit_vhost:add(V, U), '
            'rabbit_auth_backend_internal:set_permissions(U, V, <<".*">>, <<".*">>, <<".*">>, U).',
        )
        return self.uri(name)

    def delete_vhost(self, name: str) -> None:
        """Remove a virtual host with everything in it."""
        self.ctl("delete_vhost", name)

    def _serves(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            log = tail(self.folder / "log" / "console.log")
            raise RuntimeError(f"RabbitMQ ended while starting:\n{log}")
        try:
            with amqp.Connection(
                host=f"{LOOPBACK}:{self.port}",
                userid=self._state["user"],
                password=self._state["password"],
                connect_timeout=2,
                read_timeout=5,
            ) as connection:
                connection.channel().close()
        except (OSError, amqp.exceptions.AMQPError):
            return False
        api = self._state["management_port"]
        return api is None or listens(api)

    def _save(self) -> None:
        path = self.folder / "node.json"
        path.write_text(json.dumps(self._state))
        path.chmod(0o600)

    def _lay_out(self) -> None:
        for part in ("home", "data", "log"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        cookie = self.folder / "home" / ".erlang.cookie"
        cookie.write_text(self._state["cookie"])
        cookie.chmod(0o400)
        api = self._state["management_port"]
        metrics = self._state.get("metrics_port")
        plugins = [name for name, port in (("rabbitmq_management", api), ("rabbitmq_prometheus", metrics)) if port]
        (self.folder / "enabled_plugins").write_text(f"[{', '.join(plugins)}].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = {LOOPBACK}:{self.port}\n"
            f"default_user = {self._state['user']}\n"
            f"default_pass = {self._state['password']}\n"
            "disk_free_limit.absolute = 50MB\n"
            "cluster_partition_handling = pause_minority\n"
            "log.file.level = info\n"
            + (f"management.tcp.ip = {LOOPBACK}\nmanagement.tcp.port = {api}\n" if api else "")
            + (f"prometheus.tcp.ip = {LOOPBACK}\nprometheus.tcp.port = {metrics}\n" if metrics else "")
        )
        self._save()

    def _environment(self) -> dict[str, str]:
        state, folder = self._state, self.folder
        inherited = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR", MARK) if key in os.environ}
        loopback_only = "-kernel inet_dist_use_interface {127,0,0,1}"
        return inherited | {
            "HOME": str(folder / "home"),
            "LC_ALL": "C.UTF-8",
            # Without it the script stays between us and the node, and signals go to the wrong process.
            "RUNNING_UNDER_SYSTEMD": "1",
            "ERL_EPMD_PORT": str(state["epmd_port"]),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_NODENAME": state["name"],
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(state["port"]),
            "RABBITMQ_DIST_PORT": str(state["dist_port"]),
            "RABBITMQ_CTL_DIST_PORT_MIN": str(state["ctl_port"]),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(min(state["ctl_port"] + 500, 65535)),
            "RABBITMQ_CTL_ERL_ARGS": loopback_only,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback_only,
            "RABBITMQ_CONF_ENV_FILE": str(folder / "no-such-file"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(folder / "no-such-folder"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "no-such-file"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "data" / "config"),
            "RABBITMQ_PID_FILE": str(folder / "data" / "node.pid"),
        }

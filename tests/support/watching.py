"""A real Prometheus and a real Alertmanager on the loopback interface, with our rules, and whom they would call.

Everything is what deploy/monitoring holds. Changed are only: all durations of rules (``for``, windows in brackets,
intervals of groups) and of Alertmanager's groups are divided by ``FASTER``, so that what takes minutes at an office
takes seconds here; scrapes are a second apart; addresses are those of the test; and whoever would get WeCom or mail is
a telephone that writes down who called. Limits, labels, routes and inhibitions stay as they are.
"""

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import requests
import yaml

from tests.support import apt
from tests.support.processes import LOOPBACK, ServersUnavailable, end, free_port, tail
from tests.support.waiting import wait_for
from tools.locks import ROOT

MONITORING = ROOT / "deploy" / "monitoring"
FASTER = 60
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION = re.compile(r"(\d+)(ms|[smhdw])")
_WINDOW = re.compile(r"\[(\w+)\]")
#: A window of one second would hold one sample, of which there is no rate.
_LEAST, _LEAST_WINDOW = 1000, 5000


class Call(NamedTuple):
    """Somebody was told of an alert."""

    receiver: str
    status: str
    labels: dict[str, str]


def program(name: str) -> str:
    """Return the path of a program, installing its package, which has the same name, if need be."""
    if shutil.which(name) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        apt.install(name)
    if (found := shutil.which(name)) is None:
        raise ServersUnavailable(
            f"测试需要 {name}：请以 root 身份运行 apt-get install {name}\n"
            f"The tests need {name}: run as root `apt-get install {name}`"
        )
    return found


def faster(duration: str, least: int = _LEAST) -> str:
    """Return a duration of Prometheus divided, but not to less than can be seen."""
    milliseconds = sum(int(number) * _UNITS[unit] for number, unit in _DURATION.findall(duration))
    return f"{max(least, milliseconds // FASTER)}ms"


def quick_rules(text: str) -> str:
    """Return a file of rules with shorter durations; nothing else is changed."""
    content = yaml.safe_load(text)
    for group in content["groups"]:
        if "interval" in group:
            group["interval"] = faster(group["interval"])
        for rule in group["rules"]:
            rule["expr"] = _WINDOW.sub(lambda window: f"[{faster(window[1], _LEAST_WINDOW)}]", rule["expr"])
            if "for" in rule:
                rule["for"] = faster(rule["for"])
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)


def quick_routes(text: str, telephone: str) -> dict[str, Any]:
    """Return Alertmanager's configuration with shorter durations, and a telephone in place of each receiver."""
    content: dict[str, Any] = yaml.safe_load(text)
    routes = [content["route"]]
    for route in routes:
        routes += route.get("routes", [])
        for name in {"group_wait", "group_interval"} & route.keys():
            route[name] = faster(route[name])
    content["receivers"] = [
        {"name": one["name"], "webhook_configs": [{"url": f"{telephone}/{one['name']}", "send_resolved": True}]}
        for one in content["receivers"]
    ]
    return {"global": {}, **{name: content[name] for name in ("route", "inhibit_rules", "receivers")}}


class Watch:
    """Prometheus, Alertmanager, and the telephone."""

    def __init__(self, folder: Path, rabbit: int) -> None:
        """``rabbit`` is the port at which RabbitMQ tells Prometheus of itself."""
        self.folder, self._rabbit = folder, rabbit
        self.calls: list[Call] = []
        """In the order in which they came."""
        self._prometheus, self._alertmanager = free_port(), free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._telephone = ThreadingHTTPServer((LOOPBACK, 0), _handler(self._ring))

    def start(self) -> None:
        """Start all three and return when both servers are ready."""
        threading.Thread(target=self._telephone.serve_forever, args=(0.05,), daemon=True).start()
        for path in sorted(MONITORING.glob("rules/*.yaml")) + sorted(MONITORING.glob("alerts/*.yaml")):
            (self.folder / path.parent.name).mkdir(parents=True, exist_ok=True)
            new = self.folder / path.parent.name / path.name
            new.write_text(quick_rules(path.read_text(encoding="utf-8")), encoding="utf-8")
        self.watch([])
        configuration = self._configuration((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        telephone = f"http://{LOOPBACK}:{self._telephone.server_address[1]}"
        routes = quick_routes((MONITORING / "alertmanager.yml").read_text(encoding="utf-8"), telephone)
        (self.folder / "alertmanager.yml").write_text(yaml.safe_dump(routes))
        data, told = f"--storage.tsdb.path={self.folder}/data", f"--storage.path={self.folder}/told"
        started = (
            self._spawn("prometheus", self._prometheus, data, "--rules.alert.resend-delay=1s"),
            self._spawn("prometheus-alertmanager", self._alertmanager, told, "--cluster.listen-address="),
        )
        for name, port in started:
            wait_for(lambda port=port: _is_ready(port), 60, f"{name}: {tail(self.folder / f'{name}.log')}")

    def watch(self, targets: Iterable[tuple[int, str, str]]) -> None:
        """Have Prometheus ask processes at these ports, each with its service and role."""
        content = [
            {"targets": [f"{LOOPBACK}:{port}"], "labels": {"service": service, "role": role}}
            for port, service, role in targets
        ]
        path = self.folder / "targets" / "xinhuo.yaml"
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".new").write_text(yaml.safe_dump(content))
        path.with_suffix(".new").rename(path)

    def wait_for(self, status: str, alert: str, patience: float = 60, **labels: str) -> Call:
        """Return the call in which somebody was told this of an alert, as the last that he was told of it."""
        wanted = {"alertname": alert, **labels}

        def found() -> Call | None:
            about = [call for call in self.calls if wanted.items() <= call.labels.items()]
            return about[-1] if about and about[-1].status == status else None

        return wait_for(found, patience, f"{wanted} to be {status}; calls: {self.calls[-20:]}")

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """Return what Prometheus answers now."""
        url = f"http://{LOOPBACK}:{self._prometheus}/api/v1/query"
        answer = requests.get(url, params={"query": expression}, timeout=10).json()
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def broken_rules(self) -> list[str]:
        """Return the rules that Prometheus cannot evaluate, with why."""
        groups = requests.get(f"http://{LOOPBACK}:{self._prometheus}/api/v1/rules", timeout=10).json()["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert rules
        return [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule["health"] == "err"]

    def end(self) -> None:
        """End all three."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            end(process, 15, 20)  # type: ignore[arg-type]
        self._telephone.shutdown()
        self._telephone.server_close()

    def _configuration(self, text: str) -> dict[str, Any]:
        content: dict[str, Any] = yaml.safe_load(text)
        content["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        content["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"{LOOPBACK}:{self._alertmanager}"]
        for scrape in content["scrape_configs"]:
            for static in scrape.get("static_configs", []):
                static["targets"] = [f"{LOOPBACK}:{self._rabbit}"]
        return content

    def _ring(self, receiver: str, body: bytes) -> None:
        for alert in json.loads(body)["alerts"]:
            self.calls.append(Call(receiver, alert["status"], alert["labels"]))

    def _spawn(self, name: str, port: int, *arguments: str) -> tuple[str, int]:
        configuration = f"{name.removeprefix('prometheus-')}.yml"
        command = [program(name), f"--config.file={self.folder}/{configuration}", "--log.level=warn"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [*command, f"--web.listen-address={LOOPBACK}:{port}", *arguments],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )
            )  # fmt: skip
        return name, port


def _is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://{LOOPBACK}:{port}/-/ready", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def _handler(ring: Callable[[str, bytes], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            ring(self.path.strip("/"), self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    return Handler

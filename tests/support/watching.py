"""A real Prometheus and a real Alertmanager on the loopback interface, with our rules, and whom they would call.

The rules are those of deploy/monitoring; only their durations (``for``, windows in brackets, intervals of groups) are
divided by ``FASTER``, so that what takes minutes at an office takes seconds here. Limits stay as they are.
"""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

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
_WINDOW = re.compile(r"\[([0-9a-z]+)(?::([0-9a-z]*))?\]")
#: Debian's packages, by the program that is wanted.
PACKAGES = {"prometheus": "prometheus", "prometheus-alertmanager": "prometheus-alertmanager"}


def program(name: str) -> str:
    """Return the path of a program, installing its package if need be."""
    if shutil.which(name) is None:
        apt.install(PACKAGES[name])
    found = shutil.which(name)
    if found is None:
        raise ServersUnavailable(
            f"测试需要 {name}：请以 root 身份运行 apt-get install {PACKAGES[name]}\n"
            f"The tests need {name}: run as root `apt-get install {PACKAGES[name]}`"
        )
    return found


def faster(duration: str) -> str:
    """Return a duration of Prometheus divided, a second at least: nothing is looked at more often."""
    milliseconds = sum(int(number) * _UNITS[unit] for number, unit in _DURATION.findall(duration))
    return f"{max(1000, milliseconds // FASTER)}ms"


def quick_rules(text: str) -> str:
    """Return a file of rules with shorter durations; nothing else is changed."""
    content = yaml.safe_load(text)
    for group in content["groups"]:
        if "interval" in group:
            group["interval"] = faster(group["interval"])
        for rule in group["rules"]:
            # A window of one second would hold one sample, of which there is no rate.
            rule["expr"] = _WINDOW.sub(lambda window: f"[{_window(window[1])}]", rule["expr"])
            if "for" in rule:
                rule["for"] = faster(rule["for"])
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)


def _window(duration: str) -> str:
    return f"{max(5000, int(faster(duration).removesuffix('ms')))}ms"


class Watch:
    """Prometheus, Alertmanager, and a telephone that writes down who calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[tuple[str, dict[str, str]]] = []
        """``firing`` or ``resolved``, and the labels of the alert, in the order in which they came."""
        self._targets: dict[str, list[dict[str, Any]]] = {"xinhuo": [], "rabbitmq": []}
        self._prometheus, self._alertmanager = free_port(), free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._telephone = ThreadingHTTPServer((LOOPBACK, 0), _handler(self._ring))

    def start(self) -> None:
        """Start all three and return when both servers are ready."""
        threading.Thread(target=self._telephone.serve_forever, args=(0.05,), daemon=True).start()
        rules = self.folder / "rules"
        rules.mkdir(parents=True)
        for path in [*(MONITORING / "rules").glob("*.yaml"), *(MONITORING / "alerts").glob("*.yaml")]:
            (rules / f"{path.parent.name}-{path.name}").write_text(quick_rules(path.read_text(encoding="utf-8")))
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(self._configuration()))
        (self.folder / "alertmanager.yml").write_text(yaml.safe_dump(self._routes()))
        self.watch("xinhuo", [])
        self.watch("rabbitmq", [])
        self._spawn(
            "prometheus",
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/prometheus",
            f"--web.listen-address={LOOPBACK}:{self._prometheus}",
            "--rules.alert.resend-delay=1s",
            "--log.level=warn",
        )
        self._spawn(
            "prometheus-alertmanager",
            f"--config.file={self.folder}/alertmanager.yml",
            f"--storage.path={self.folder}/alertmanager",
            f"--web.listen-address={LOOPBACK}:{self._alertmanager}",
            "--cluster.listen-address=",
            "--log.level=warn",
        )
        for name, port in (("prometheus", self._prometheus), ("prometheus-alertmanager", self._alertmanager)):
            wait_for(lambda port=port: _is_ready(port), 60, f"{name}: {tail(self.folder / f'{name}.log')}")

    def watch(self, job: str, targets: Iterable[tuple[int, dict[str, str]]]) -> None:
        """Have Prometheus ask these ports of the loopback interface, with labels."""
        content = [{"targets": [f"{LOOPBACK}:{port}"], "labels": labels} for port, labels in targets]
        path = self.folder / f"{job}.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(content))
        new.rename(path)

    def wait_for(self, status: str, alert: str, patience: float = 60, **labels: str) -> None:
        """Return when somebody was called last about this alert with this status."""
        wanted = {"alertname": alert, **labels}

        def last() -> str:
            about = [was for was, of in self.calls if wanted.items() <= of.items()]
            return about[-1] if about else ""

        wait_for(lambda: last() == status, patience, f"{wanted} to be {status}; calls: {self.calls[-20:]}")

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
            end(process, 15, 20)  # type: ignore[arg-type]
        self._telephone.shutdown()
        self._telephone.server_close()

    def _configuration(self) -> dict[str, Any]:
        def job(name: str, **more: Any) -> dict[str, Any]:
            files = [f"{self.folder}/{name.partition('-')[0]}.json"]
            return {"job_name": name, "file_sd_configs": [{"files": files}], **more}

        detailed = {"family": ["queue_coarse_metrics", "queue_consumer_count"]}
        return {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [f"{self.folder}/rules/*.yaml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"{LOOPBACK}:{self._alertmanager}"]}]}]},
            "scrape_configs": [
                job("xinhuo", honor_labels=True),
                job("rabbitmq"),
                job("rabbitmq-detailed", metrics_path="/metrics/detailed", params=detailed),
            ],
        }

    def _routes(self) -> dict[str, Any]:
        url = f"http://{LOOPBACK}:{self._telephone.server_address[1]}/"
        route = {"receiver": "telephone", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}
        return {
            "global": {"resolve_timeout": "10s"},
            "route": {**route, "repeat_interval": "1h"},
            "receivers": [{"name": "telephone", "webhook_configs": [{"url": url, "send_resolved": True}]}],
        }

    def _ring(self, body: bytes) -> None:
        for alert in json.loads(body)["alerts"]:
            self.calls.append((alert["status"], alert["labels"]))

    def _spawn(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen([program(name), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            )


def _is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://{LOOPBACK}:{port}/-/ready", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def _handler(ring: Callable[[bytes], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            ring(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    return Handler

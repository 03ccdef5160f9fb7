"""Services whose processes are started and ended one by one, and clients that go on entering hours meanwhile."""

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import requests

from tests.support.campaign import Campaign
from tests.support.installation import SERVICES, Installation, clean_environment, xinhuo
from tests.support.processes import LOOPBACK, end, tail
from tests.support.waiting import wait_for
from xinhuo.chassis.ids import new_id

PATIENCE = 120
PROCESS = (sys.executable, "-m", "xinhuo.cli.process")
CLIENTS = 3
PACE = 0.02


class Fleet(Installation):
    """An installation whose processes are started one by one, each on the adapter that it is given."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        super().__init__("rabbitmq", folder, {**settings, "XINHUO_KEY_FILE": str(folder / "master.key")})
        self.settings["XINHUO_PORT_BASE"] = str(self.port_base)
        self.running: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    def settings_of(self, service: str) -> dict[str, str]:
        """Return the settings of a service's processes."""
        return self.settings

    def prepare(self) -> None:
        """Make key, tables and queues."""
        for arguments in (("key", "create"), ("db", "upgrade"), ("topology", "apply")):
            ended = xinhuo(*arguments, settings=self.settings)
            assert ended.code == 0, ended.stdout + ended.stderr

    def begin(self, adapter: str, *members: tuple[str, str]) -> None:
        """Start processes and wait until they are ready."""
        logs = [self._spawn(member, adapter) for member in members]
        for member, log in zip(members, logs, strict=True):
            wait_for(lambda member=member, log=log: self._is_ready(member, log), PATIENCE, f"{member}: {tail(log)}")
            assert f'"adapter": "{adapter}"' in log.read_text(encoding="utf-8")

    def _spawn(self, member: tuple[str, str], adapter: str) -> Path:
        service, role = member
        log = self.folder / f"{service}-{role}-{adapter}.log"
        with log.open("ab") as output:
            self.running[member] = subprocess.Popen(
                [*PROCESS, service, "--role", role, "--port", str(port_of(self, member))],
                env=clean_environment({**self.settings_of(service), "XINHUO_ADAPTER": adapter}),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        return log

    def finish(self, member: tuple[str, str]) -> None:
        """Stop a process with SIGTERM; it must end well."""
        process = self.running.pop(member)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, member

    def end(self) -> None:
        """End everything, all at once."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            end(process, signal.SIGTERM, 40)

    def _is_ready(self, member: tuple[str, str], log: Path) -> bool:
        assert self.running[member].poll() is None, tail(log, 40)
        try:
            answer = requests.get(f"http://{LOOPBACK}:{port_of(self, member)}/readyz", timeout=5)
        except requests.RequestException:
            return False
        return answer.status_code == 200


def port_of(fleet: Fleet, member: tuple[str, str]) -> int:
    service, role = member
    return fleet.port_base + 1 + SERVICES.index(service) + (10 if role == "worker" else 0)


class Load:
    """Clients that enter time served at a steady pace, each request again and again until it is answered."""

    def __init__(self, fleet: Fleet, campaign: Campaign, first: int = 0, *, pace: float = PACE) -> None:
        """``first`` is the number of the first minute: those of another load must not be entered again."""
        self._fleet, self._pace = fleet, pace
        self._url = fleet.url("volunteers") + "/v1/hours"
        self._campaign = campaign
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._next = first
        self.entered: dict[str, int] = {}
        self.refused: list[str] = []
        self.interrupted = 0
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End when every request was answered."""
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads)

    def grew(self, by: int = 20) -> None:
        """Return when so many more were entered."""
        wanted = len(self.entered) + by
        wait_for(lambda: len(self.entered) >= wanted, PATIENCE, f"{wanted} entries; {self.refused[:3]}")

    def _run(self) -> None:
        while not self._stop.wait(self._pace):
            with self._lock:
                number, self._next = self._next, self._next + 1
            body = self._body(number)
            key = new_id().hex
            while True:
                try:
                    headers = {"Idempotency-Key": key, **self._fleet.bearing(self._fleet.who_may("POST", "/v1/hours"))}
                    answer = requests.post(self._url, json=body, headers=headers, timeout=30)
                except requests.RequestException:
                    self.interrupted += 1
                    self._stop.wait(0.05)
                    continue
                if answer.status_code in (409, 503):
                    self._stop.wait(0.05)
                    continue
                break
            if answer.status_code in (200, 201):
                self.entered[answer.json()["id"]] = 1
            else:
                self.refused.append(answer.text)

    def _body(self, number: int) -> dict[str, Any]:
        """Return a minute of its own: of March 2021, 1440 a day."""
        day, minute = divmod(number, 24 * 60 - 1)
        return {
            "volunteer_id": self._campaign.volunteer["id"],
            "activity_id": self._campaign.activity["id"],
            "started_at": f"2021-03-{day + 1:02d}T{minute // 60:02d}:{minute % 60:02d}:00+08:00",
            "ended_at": f"2021-03-{day + 1:02d}T{(minute + 1) // 60:02d}:{(minute + 1) % 60:02d}:00+08:00",
        }


def ledger(fleet: Fleet, campaign: Campaign) -> tuple[int, int]:
    row = fleet.rows(
        "SELECT count(*) AS entries, coalesce(sum(minutes), 0) AS minutes FROM volunteers.ledger_entries"
        " WHERE volunteer_id = %s", campaign.volunteer["id"],
    )[0]  # fmt: skip
    return int(row["entries"]), int(row["minutes"])


def tally(fleet: Fleet, campaign: Campaign) -> int:
    found = fleet.get("awards", f"/v1/volunteers/{campaign.volunteer['id']}/stars")
    return int(found["minutes"])


def acknowledged(fleet: Fleet, campaign: Campaign) -> int:
    return int(
        fleet.scalar(
            "SELECT count(*) FROM notify.messages WHERE volunteer_id = %s AND occasion = 'hours_logged'",
            campaign.volunteer["id"],
        )
    )

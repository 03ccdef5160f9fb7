"""An installation whose processes are of several versions of the program, and are replaced one by one under load."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import requests

from tests.support.balancer import Balancer
from tests.support.fleet import PATIENCE, Fleet
from tests.support.installation import SERVICES, clean_environment, free_port_base
from tests.support.processes import LOOPBACK, tail
from tests.support.waiting import wait_for
from xinhuo.chassis import migrations

ROOT = Path(__file__).resolve().parents[2]
PREVIOUS = ROOT / "deploy" / "previous-version"
ROLES = ("worker", "api")

Member = tuple[str, str]

#: Runs a module as `python -m` does, and says at the end from which folders the program's modules came.
_PROCESS = """
import atexit, json, os, runpy, sys
def folders():
    own = [m for name, m in list(sys.modules.items()) if name.partition(".")[0] in ("xinhuo", "services")]
    files = [os.path.realpath(m.__file__) for m in own if getattr(m, "__file__", None)]
    trees = sorted({file.rpartition("/xinhuo/" if "/xinhuo/" in file else "/services/")[0] for file in files})
    print(json.dumps({"event": "modules", "count": len(files), "trees": trees}), file=sys.stderr, flush=True)
atexit.register(folders)
runpy.run_module("xinhuo.cli.process", run_name="__main__", alter_sys=True)
"""
_COMMAND = "from xinhuo.cli.main import main; main()"


@dataclass(frozen=True)
class Version:
    """The program's modules in a folder of their own; all versions run on the same requirements."""

    name: str
    tree: Path

    def environment(self, settings: dict[str, str]) -> dict[str, str]:
        """Return an environment in which this version's modules come first."""
        return {**clean_environment(settings), "PYTHONPATH": str(self.tree), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *arguments: str, settings: dict[str, str], code: int = 0) -> str:
        """Run a command of this version to its end and return what it printed."""
        return self._python(_COMMAND, *arguments, settings=settings, code=code)

    def python(self, program: str, *arguments: str) -> str:
        """Run a few lines with this version's modules and return what they printed."""
        return self._python(program, *arguments, settings={}, code=0)

    def _python(self, program: str, *arguments: str, settings: dict[str, str], code: int) -> str:
        ended = subprocess.run(
            [sys.executable, "-c", program, *arguments], cwd=self.tree, env=self.environment(settings),
            capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert ended.returncode == code, f"{self.name} {arguments}: {ended.returncode} {ended.stdout}{ended.stderr}"
        return ended.stdout


def here() -> Version:
    """Return the version that is tested."""
    return Version("here", ROOT)


def previous_commit() -> str:
    """Return the commit that deploy/previous-version names."""
    lines = [line.strip() for line in PREVIOUS.read_text(encoding="utf-8").splitlines()]
    (commit,) = [line for line in lines if line and not line.startswith("#")]
    return commit


def why_no_previous() -> str:
    """Return why the version before cannot be had here, or nothing when it can."""
    if not shutil.which("git"):
        return "git is not installed, so the version before cannot be had from the history"
    commit = previous_commit()
    found = subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True)
    if found.returncode != 0:
        return (
            f"commit {commit[:12]} (deploy/previous-version) is not in this clone: a source archive or a shallow clone"
        )
    return ""


def previous(folder: Path) -> Version:
    """Take the version before out of the history."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", previous_commit(), "xinhuo", "services"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout  # fmt: skip
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return Version("previous", folder)


def following(folder: Path, services: Iterable[str]) -> Version:
    """Make a version after this one: the same program, whose migrations add to the tables of some services."""
    for part in ("xinhuo", "services"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for service in services:
        versions = folder / "services" / service / "migrations"
        before = migrations.head(versions)
        revision = f"{int(before) + 1:04d}"
        (versions / f"{revision}_planted.py").write_text(_PLANTED.format(revision=revision, before=before))
    return Version("following", folder)


_PLANTED = '''"""What a later release might add."""

from alembic import op

revision = "{revision}"
down_revision = "{before}"
phase = "expand"


def upgrade() -> None:
    op.execute("ALTER TABLE outbox ADD COLUMN planted text NOT NULL DEFAULT 'planted'")
    op.execute("CREATE TABLE planted (id uuid PRIMARY KEY, size integer CHECK (size > 0))")
'''


@dataclass
class Process:
    """One process of one version."""

    version: Version
    member: Member
    port: int
    log: Path
    popen: "subprocess.Popen[bytes]"

    def readiness(self) -> dict[str, Any]:
        """Return what /readyz says; nothing while it does not answer."""
        assert self.popen.poll() is None, f"{self.version.name} {self.member}: {tail(self.log, 40)}"
        try:
            found: dict[str, Any] = requests.get(f"http://{LOOPBACK}:{self.port}/readyz", timeout=5).json()
        except requests.RequestException:
            return {}
        return found

    def is_ready(self) -> bool:
        """Tell whether it may have work."""
        return bool(self.readiness().get("ready"))

    def finish(self) -> None:
        """Stop it with SIGTERM: it must end well, and have been of its version in every module."""
        self.popen.terminate()
        assert self.popen.wait(40) == 0, f"{self.version.name} {self.member}: {tail(self.log, 40)}"
        (said,) = [json.loads(line) for line in self.log.read_text().splitlines() if '"event": "modules"' in line]
        assert said["trees"] == [os.path.realpath(self.version.tree)], said
        assert said["count"] > 50, said


class Rolling(Fleet):
    """Services behind addresses that stay, while their processes are replaced with an overlap."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        super().__init__(folder, settings)
        self.processes: dict[Member, Process] = {}
        #: Three, for a process, its successor, and one that is only tried.
        self._bases = [free_port_base() for _ in range(3)]
        self._started: list[Process] = []
        self._starts = 0
        self._balancer = Balancer(self._address(service) for service in SERVICES)

    def start(self, version: Version, *members: Member) -> list[Process]:
        """Start processes beside those that run; nobody sends them anything yet."""
        return [self._spawn_of(version, member) for member in members]

    def _spawn_of(self, version: Version, member: Member) -> Process:
        service, role = member
        self._starts += 1
        used = {process.port for process in self._started if process.popen.poll() is None}
        ports = (base + 1 + SERVICES.index(service) + (10 if role == "worker" else 0) for base in self._bases)
        port = next(port for port in ports if port not in used)
        log = self.folder / f"{self._starts:02d}-{version.name}-{service}-{role}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, "-c", _PROCESS, service, "--role", role, "--port", str(port)],
                cwd=version.tree, env=version.environment(self.settings_of(service)),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        self._started.append(Process(version, member, port, log, popen))
        return self._started[-1]

    def replace(self, version: Version, *members: Member) -> None:
        """Start new processes, give them work when they are ready, and only then stop those before."""
        for process in self.start(version, *members):
            wait_for(process.is_ready, PATIENCE, f"{version.name} {process.member}: {tail(process.log)}")
            old = self.processes.get(process.member)
            self.processes[process.member] = process
            service, role = process.member
            if role != "worker":
                self._balancer.add(self._address(service), process.port)
                if old:
                    self._balancer.remove(self._address(service), old.port)
            if old:
                old.finish()

    def versions(self) -> set[str]:
        """Return the versions of all that run."""
        return {process.version.name for process in self.processes.values()}

    def assert_all_ready(self) -> None:
        """Every process says that it is ready; on a busy machine it may take its time to say so."""
        for process in self.processes.values():
            said = wait_for(process.readiness, PATIENCE, f"{process.version.name} {process.member} to answer")
            assert said["ready"], f"{process.version.name} {process.member}: {said}"

    def end(self) -> None:
        """End everything, all at once."""
        for process in self._started:
            process.popen.terminate()
        for process in self._started:
            process.popen.wait(40)
        self._balancer.close()

    def _address(self, service: str) -> int:
        return self.port_base + 1 + SERVICES.index(service)

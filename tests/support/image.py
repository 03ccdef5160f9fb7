"""The image, built once and kept between runs, and containers of it as locked up as Kubernetes has them.

Built by `make image`'s own code on a base of Debian's packages. Podman gets settings and a store of its own, so that
the machine's are left alone and tests may themselves run in a container.
"""

import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.support import apt
from tests.support.installation import Ended
from tests.support.processes import tail
from tools import base_image
from tools.image import ROOT

USER = 10001
#: What decides what is in the image.
INPUTS = (
    ".dockerignore", "LICENSE", "deploy/images/Containerfile", "pyproject.toml", "requirements/otel.txt",
    "tools/base_image.py", "xinhuo", "services",
)  # fmt: skip
BUILD_SECONDS = 900
SECONDS = 60
#: As the manifests have it: nothing to write to but /tmp, no capability, no way to another user.
LOCKED_UP = (
    "--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp:rw,nosuid,nodev,mode=1777,size=64m",
    "--cap-drop=all", "--security-opt=no-new-privileges",
)  # fmt: skip
_LIMIT = 16384
_OWNER = "xinhuo.tests.owner"


class NoContainers(RuntimeError):
    """This machine cannot run containers; the text says why."""


class Image:
    """The image, and containers of it."""

    def __init__(self) -> None:
        self.store = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xinhuo-tests"
        self.environment = _settings(self.store)
        self.name = f"localhost/xinhuo-tests:{_fingerprint()}"
        self._numbers = count()

    def build(self) -> "Image":
        """Return when the image is there; one builds, others wait. Raises NoContainers."""
        for program, package in (("podman", "podman"), ("runc", "runc"), ("mmdebstrap", "mmdebstrap")):
            if shutil.which(program) is None:
                if os.geteuid() != 0:
                    raise NoContainers(f"{package} is not installed, and only root can: apt-get install {package}")
                apt.install(package)
        with (self.store / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._sweep()
            if self.podman("image", "exists", self.name).code != 0:
                name, _, tag = self.name.rpartition(":")
                command = [sys.executable, "-m", "tools.image", "--tool", "podman", "--offline", "--name", name]
                built = subprocess.run(
                    [*command, "--tag", tag], cwd=ROOT, env=self.environment, capture_output=True, text=True,
                    timeout=BUILD_SECONDS, check=False,
                )  # fmt: skip
                assert built.returncode == 0, "\n".join(built.stderr.splitlines()[-60:])
        if (tried := self.podman("run", "--rm", "--network=host", base_image.name(), "true")).code != 0:
            raise NoContainers(f"podman runs no container on this machine: {tried.stderr.strip()}")
        return self

    def podman(self, *arguments: str, seconds: float = SECONDS) -> Ended:
        """Run podman on our store."""
        ended = subprocess.run(
            ["podman", *arguments], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
            encoding="utf-8", timeout=seconds, check=False,
        )  # fmt: skip
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def inspect(self) -> dict[str, Any]:
        """Return what the image says of itself."""
        [found] = json.loads(self.podman("image", "inspect", self.name).stdout)
        assert isinstance(found, dict)
        return found

    def run_in_image(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        options: tuple[str, ...] = LOCKED_UP,
        entrypoint: tuple[str, ...] = (),
        stdin: str | None = None,
    ) -> Ended:
        """Run a command to its end, with files (path in the container: text) and the machine's network."""
        with tempfile.TemporaryDirectory(prefix="xinhuo-image-") as folder:
            command = self._command(Path(folder), self._fresh_name(), arguments, env, files, options, entrypoint)
            ended = subprocess.run(
                [*command[:2], "--interactive", *command[2:]], env=self.environment, input=stdin or "",
                capture_output=True, encoding="utf-8", timeout=SECONDS, check=False,
            )  # fmt: skip
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def start(
        self,
        folder: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        options: tuple[str, ...] = LOCKED_UP,
        entrypoint: tuple[str, ...] = (),
        log: Path | None = None,
    ) -> "Container":
        """Start a command in the background; `folder` gets its files, and its log unless another file is named."""
        name = self._fresh_name()
        command = self._command(folder / name, name, arguments, env, files, options, entrypoint)
        log = log or folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        return Container(self, name, log, process, " ".join(arguments))

    def _command(
        self,
        folder: Path,
        name: str,
        arguments: tuple[str, ...],
        env: Mapping[str, str] | None,
        files: Mapping[str, str] | None,
        options: tuple[str, ...],
        entrypoint: tuple[str, ...],
    ) -> list[str]:
        mounts = []
        for number, (path, text) in enumerate((files or {}).items()):
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / str(number)
            file.write_text(text, encoding="utf-8")
            file.chmod(0o400)
            os.chown(file, USER, USER)
            mounts.append(f"--volume={file}:{path}:ro")
        given = [f"--env={key}={value}" for key, value in (env or {}).items()]
        start = ["podman", "run", "--rm", f"--name={name}", f"--label={_OWNER}={os.getpid()}", "--network=host"]
        if entrypoint:
            start.append(f"--entrypoint={json.dumps(entrypoint)}")
        return [*start, *options, *mounts, *given, self.name, *arguments]

    def _fresh_name(self) -> str:
        return f"xinhuo-tests-{os.getpid()}-{next(self._numbers)}"

    def _sweep(self) -> None:
        """Remove containers of runs that were killed, and images that nobody has asked for since three days."""
        form = f'{{{{.ID}}}} {{{{index .Labels "{_OWNER}"}}}}'
        for line in self.podman("ps", "--all", "--filter", f"label={_OWNER}", "--format", form).stdout.splitlines():
            container, owner = line.split()
            if not Path(f"/proc/{owner}").exists():
                self.podman("rm", "--force", "--time", "0", container)
        old = ("image", "ls", "--quiet", "--filter", "reference=localhost/xinhuo-tests", "--filter", "until=72h")
        for image in self.podman(*old).stdout.split():
            self.podman("image", "rm", "--force", image)
        self.podman("image", "prune", "--force", "--filter", "until=72h")


@dataclass
class Container:
    """A container that runs in the background."""

    image: Image
    name: str
    log: Path
    process: "subprocess.Popen[bytes]"
    what: str
    code: int | None = field(default=None)

    def runs(self) -> bool:
        """Tell whether it does; fails, with its last lines, when it has ended."""
        assert self.process.poll() is None, f"{self.what}: ended with {self.process.returncode}\n{tail(self.log, 40)}"
        return True

    def tell(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send its first process a signal."""
        self.image.podman("kill", "--signal", number.name, self.name)

    def ended(self, grace: float) -> int:
        """Return the exit code; fails when it has not ended by itself after the grace period."""
        try:
            self.code = self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(f"{self.what}: not ended after {grace:.0f} s\n{tail(self.log, 40)}") from None
        return self.code

    def end(self) -> None:
        """Make an end of it, whatever it is at."""
        if self.process.poll() is None:
            self.image.podman("rm", "--force", "--time", "0", self.name)
            self.process.wait(SECONDS)


def _fingerprint() -> str:
    """Return a hash of all that is built from."""
    found = hashlib.sha256()
    for top in INPUTS:
        path = ROOT / top
        inside = [path] if path.is_file() else sorted(path.rglob("*"))
        for file in inside:
            if file.is_file() and "__pycache__" not in file.parts:
                found.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def _settings(store: Path) -> dict[str, str]:
    """Return an environment in which podman uses our store and can do without what a container in a container lacks.

    That is systemd, the journal, and limits above those of this process.
    """
    store.mkdir(parents=True, exist_ok=True)
    files, processes = (min(_LIMIT, resource.getrlimit(kind)[1] % 2**63) for kind in (7, 6))
    written = {
        "containers.conf": '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        f'[containers]\ndefault_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]\n',
        "storage.conf": f'[storage]\ndriver = "overlay"\ngraphroot = "{store}/store"\nrunroot = "{store}/run"\n',
    }
    for name, text in written.items():
        file = store / name
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
    return {
        **os.environ,
        "CONTAINERS_CONF": str(store / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(store / "storage.conf"),
    }

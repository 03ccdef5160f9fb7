"""Prometheus' and Alertmanager's own checkers, installed as Debian's packages when they are missing."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.support import apt
from tests.support.processes import ServersUnavailable

_PACKAGES = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}


def run(program: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run promtool or amtool in a folder, whatever comes of it."""
    return subprocess.run(
        [_installed(program), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def _installed(program: str) -> str:
    if shutil.which(program) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        apt.install(_PACKAGES[program])
    if (found := shutil.which(program)) is None:
        raise ServersUnavailable(
            f"测试需要 {program}：请以 root 身份运行 apt-get install {_PACKAGES[program]}\n"
            f"The tests need {program}: run as root `apt-get install {_PACKAGES[program]}`"
        )
    return found

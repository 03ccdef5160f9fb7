"""Debian's packages, for servers and libraries that tests need."""

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any

POLICY = Path("/usr/sbin/policy-rc.d")


def install(package: str) -> None:
    """Install a Debian package without letting it start its service on the well-known ports."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _services_stay_down(package):
        subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package],
            env=environment,
            check=False,
            stdout=subprocess.DEVNULL,
        )


@contextlib.contextmanager
def _services_stay_down(service: str) -> Any:
    """Make Debian's policy refuse to start services for a while; keeps a policy that refuses already."""
    refuses = POLICY.exists() and subprocess.run([POLICY, service, "start"], check=False).returncode == 101
    if refuses:
        yield
        return
    kept = POLICY.with_name("policy-rc.d.before-xinhuo-tests")
    if POLICY.exists():
        POLICY.rename(kept)
    try:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
        yield
    finally:
        POLICY.unlink(missing_ok=True)
        if kept.exists():
            kept.rename(POLICY)

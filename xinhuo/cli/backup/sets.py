"""The folder of backups: sets that appear whole or not at all, one at work at a time, old ones removed by a rule."""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from hashlib import sha256
from pathlib import Path

import msgspec

from xinhuo.cli.exits import Exit

from .refused import BackupRefused

MANIFEST = "manifest.json"
FORMAT = 1
_PARTIAL, _REMOVING = ".partial", ".removing"
_READ_AT_ONCE = 1 << 20


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The copy of one service's schema, and what it must be found to be when it is brought back."""

    service: str
    file: str
    size: int
    sha256: str
    plain_size: int
    database: int
    """Parts with the same number are of one instant."""
    taken_at: datetime
    revision: str
    audit_rows: int
    audit_head: str
    master_keys: tuple[str, ...]
    """The names of the master keys that are needed to read it."""
    server: int
    dumped_by: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a set consists of; nothing in it is personal or secret."""

    format: int
    name: str
    xinhuo: str
    taken_at: datetime
    recipients: tuple[str, ...]
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """How many bytes the set has."""
        return sum(part.size for part in self.parts)

    def part_of(self, service: str) -> Part:
        """Return the copy of a service; raises BackupRefused when the set has none."""
        for part in self.parts:
            if part.service == service:
                return part
        raise BackupRefused(f"备份 {self.name} 里没有 {service}", f"backup {self.name} has no {service}")


@dataclass(frozen=True)
class Keep:
    """How many days, weeks and months keep their newest set."""

    daily: int = 7
    weekly: int = 5
    monthly: int = 12


@contextmanager
def locked(folder: Path, *, reading: bool = False) -> Iterator[None]:
    """Be the only one that writes to the folder; raises BackupRefused at once when another is at it.

    Who only reads needs no lock where nobody may write.
    """
    check_folder(folder)
    try:
        lock = (folder / ".lock").open("w")
    except OSError as error:
        if not reading or error.errno not in (errno.EROFS, errno.EACCES):
            raise
        yield
        return
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupRefused(
                f"另一个备份正在写 {folder}，请等它结束",
                f"another backup is writing to {folder}: wait until it has ended",
                Exit.UNAVAILABLE,
            ) from None
        yield


def check_folder(folder: Path) -> None:
    """Raise BackupRefused when there is no such folder: to make one would write beside a disk that is not mounted."""
    if not folder.is_dir():
        raise BackupRefused(
            f"没有目录 {folder}：请先建立，或检查磁盘是否已挂载",
            f"there is no folder {folder}: make it, or see that its disk is mounted",
            Exit.USAGE,
        )


@contextmanager
def new_set(folder: Path, moment: datetime) -> Iterator[tuple[str, Path]]:
    """Give a name and a folder to write to, which gets its name, on disk, when the block has ended well.

    Otherwise nothing is left. What a killed process left is removed by the next one.
    """
    for leftover in (*folder.glob(f".*{_PARTIAL}"), *folder.glob(f".*{_REMOVING}")):
        shutil.rmtree(leftover)
    stem = f"{moment:%Y%m%dT%H%M%SZ}"
    name = next(one for one in (stem, *(f"{stem}-{n}" for n in range(2, 1000))) if not (folder / one).exists())
    partial = folder / f".{name}{_PARTIAL}"
    partial.mkdir(mode=0o700)
    try:
        yield name, partial
        sync(partial)
        partial.rename(folder / name)
        sync(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_manifest(partial: Path, manifest: Manifest) -> None:
    """Write the manifest of a set that is being made."""
    with (partial / MANIFEST).open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Bring the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def all_sets(folder: Path) -> list[Manifest]:
    """Return the sets of a folder, the oldest first; raises BackupRefused for one whose manifest cannot be read."""
    check_folder(folder)
    return sorted((_read(path) for path in folder.glob(f"[0-9]*/{MANIFEST}")), key=lambda one: one.taken_at)


def find(folder: Path, name: str | None) -> Manifest:
    """Return a set by its name, or the newest; raises BackupRefused."""
    check_folder(folder)
    if name is None:
        if found := all_sets(folder):
            return found[-1]
        raise BackupRefused(f"{folder} 里没有备份", f"there is no backup in {folder}")
    if "/" in name or not (folder / name / MANIFEST).is_file():
        raise BackupRefused(
            f"{folder} 里没有备份 {name}；用 xinhuo backup list 查看",
            f"there is no backup {name} in {folder}; xinhuo backup list shows them",
        )
    return _read(folder / name / MANIFEST)


def _read(path: Path) -> Manifest:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise BackupRefused(
            f"{path} 读不了（{type(error).__name__}）：请用另一份备份",
            f"{path} cannot be read ({type(error).__name__}): take another backup",
        ) from None
    if found.format != FORMAT or found.name != path.parent.name:
        raise BackupRefused(
            f"{path} 不属于本目录，或由更新的版本生成", f"{path} is of another folder or of a newer version"
        )
    return found


def problems(folder: Path, manifest: Manifest) -> list[str]:
    """Return which files of a set are missing or are not what they were when they were written."""
    found = []
    for part in manifest.parts:
        path = folder / manifest.name / part.file
        try:
            size, digest = measured(path)
        except OSError as error:
            found.append(f"{part.file}: 读不了 / cannot be read ({type(error).__name__})")
            continue
        if (size, digest) != (part.size, part.sha256):
            found.append(f"{part.file}: 与校验和不符 / differs from its checksum ({size:,} bytes, not {part.size:,})")
    return found


def measured(path: Path) -> tuple[int, str]:
    """Return size and SHA-256 of a file."""
    digest, size = sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_READ_AT_ONCE):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def to_remove(times: Sequence[datetime], keep: Keep, zone: tzinfo) -> list[datetime]:
    """Return which sets go: what is kept is the newest of each of the last days, weeks and months that have one."""
    ways: tuple[tuple[int, Callable[[date], tuple[int, ...]]], ...] = (
        (keep.daily, lambda day: (day.toordinal(),)),
        (keep.weekly, lambda day: tuple(day.isocalendar()[:2])),
        (keep.monthly, lambda day: (day.year, day.month)),
    )
    newest_first = sorted(times, reverse=True)
    kept = set(newest_first[:1])
    for number, period_of in ways:
        newest_of: dict[tuple[int, ...], datetime] = {}
        for moment in newest_first:
            newest_of.setdefault(period_of(moment.astimezone(zone).date()), moment)
        kept.update(list(newest_of.values())[:number])
    return [moment for moment in sorted(times) if moment not in kept]


def remove(folder: Path, names: Sequence[str]) -> None:
    """Remove sets; one that is removed in part has lost its name first."""
    for name in names:
        going = folder / f".{name}{_REMOVING}"
        (folder / name).rename(going)
        sync(folder)
        shutil.rmtree(going)

"""Making a backup: pg_dump of each schema, at one instant for each database, sealed on its way to the disk."""

import contextlib
import errno
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import psycopg
import pyrage
from psycopg import sql

from xinhuo import __version__
from xinhuo.chassis.config import Settings
from xinhuo.cli.exits import Exit

from . import programs, sealed, sets
from .databases import Place, connected, is_half_restored, places, server_major
from .refused import BackupRefused

_BUFFER = 1 << 20
#: What says that there is no room: of the disk, of a quota, of a limit.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SNAPSHOT = "SELECT pg_export_snapshot(), clock_timestamp()"
#: What tells a person's key by whom it was wrapped; only this service has any.
_MASTER_KEYS = "SELECT DISTINCT kek FROM volunteers.person_keys WHERE kek IS NOT NULL ORDER BY kek"


@dataclass(frozen=True)
class Snapshot:
    """One instant of a database, which others can look at while the connection that took it stands."""

    connection: "psycopg.Connection[Any]"
    place: Place
    name: str
    taken_at: datetime


def create(settings: Settings, folder: Path, recipients: Sequence[str]) -> sets.Manifest:
    """Make a set of all services and return its manifest. Raises BackupRefused; then nothing is left of it."""
    able = programs.installed()
    now = _now(places(settings)[0])
    try:
        with sets.new_set(folder, now) as (name, partial):
            parts: list[sets.Part] = []
            for number, place in enumerate(places(settings)):
                parts += _dump(place, number, partial, recipients, able)
            manifest = sets.Manifest(
                format=sets.FORMAT,
                name=name,
                xinhuo=__version__,
                taken_at=min(part.taken_at for part in parts),
                recipients=tuple(recipients),
                parts=tuple(parts),
            )
            sets.write_manifest(partial, manifest)
            for part in parts:  # what the disk gives back is what was written
                if sets.measured(partial / part.file) != (part.size, part.sha256):
                    raise BackupRefused(
                        f"{folder} 读回的内容与写入的不同：磁盘可能坏了", f"{folder} gives back what was not written"
                    )
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise BackupRefused(
                f"{folder} 空间不足，未留下任何半份备份：请腾出空间或换更大的磁盘后再运行",
                f"{folder} has no room left, and nothing was left of the backup: free some and run this again",
            ) from None
        raise BackupRefused(
            f"写不了 {folder}（{type(error).__name__}: {os.strerror(error.errno or 0)}）",
            f"{folder} cannot be written to",
        ) from error
    return manifest


def check(settings: Settings) -> list[tuple[Place, int, int]]:
    """Return each database with the version of its server and of the pg_dump that would be taken; copy nothing."""
    able = programs.installed()
    found = []
    for place in places(settings):
        with connected(place) as connection:
            major = server_major(connection)
            for service in place.services:
                _facts(connection, service)
            found.append((place, major, programs.for_server(major, able).major))
    return found


def _now(place: Place) -> datetime:
    with connected(place) as connection:
        (now,) = connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
    assert isinstance(now, datetime)  # noqa: S101  (for the type checker)
    return now


def _dump(
    place: Place, number: int, partial: Path, recipients: Sequence[str], able: Sequence[programs.Programs]
) -> list[sets.Part]:
    with connected(place) as connection:
        major = server_major(connection)
        used = programs.for_server(major, able)
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row = connection.execute(_SNAPSHOT).fetchone()
        assert row is not None  # noqa: S101  (for the type checker)
        snapshot = Snapshot(connection, place, *row)
        made = []
        for service in place.services:
            facts = _facts(connection, service)
            path = partial / f"{service}.dump.age"
            size, digest, plain = _write(snapshot, service, path, used, recipients)
            made.append(
                sets.Part(
                    service=service,
                    file=path.name,
                    size=size,
                    sha256=digest,
                    plain_size=plain,
                    database=number,
                    taken_at=snapshot.taken_at,
                    server=major,
                    dumped_by=used.major,
                    **facts,
                )
            )
        return made


def _facts(connection: "psycopg.Connection[Any]", service: str) -> dict[str, Any]:
    """Return what is compared when the copy is brought back; raises BackupRefused."""
    if is_half_restored(connection, service):
        raise BackupRefused(
            f"{service} 的备份没有恢复完，里面是从前的数据：请先再恢复一次，再备份",
            f"a restore of {service} has not ended, and what is there is of an earlier time: restore it again, then "
            "make the backup",
        )
    schema = sql.Identifier(service)
    try:
        asked = sql.SQL("SELECT a.version_num, h.seq, h.hash FROM {0}.alembic_version a, {0}.audit_head h")
        row = connection.execute(asked.format(schema)).fetchone()
        keys = connection.execute(_MASTER_KEYS).fetchall() if service == "volunteers" else []
    except (psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedTable):
        row = None
    except psycopg.errors.InsufficientPrivilege:
        raise BackupRefused(
            f"这个账号读不了 {service} 的表：备份要用表的所有者，或有 BYPASSRLS 和 pg_read_all_data 的账号",
            f"this account may not read the tables of {service}: a backup takes the owner of the tables, or an "
            "account with BYPASSRLS and pg_read_all_data",
            Exit.USAGE,
        ) from None
    if row is None:
        raise BackupRefused(
            f"{service} 还没有表：请先运行 xinhuo db upgrade", f"{service} has no tables yet: run xinhuo db upgrade"
        )
    revision, seq, head = row
    return {
        "revision": revision,
        "audit_rows": seq,
        "audit_head": bytes(head).hex(),
        "master_keys": tuple(key for (key,) in keys),
    }


class _Dumped:
    """What is sealed: the bytes of pg_dump, each also given to a pg_restore that reads the archive to its end."""

    def __init__(self, dump: IO[bytes], reader: IO[bytes]) -> None:
        self._dump, self._reader = dump, reader
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._dump.read(size)
        self._reader.write(chunk)
        self.size += len(chunk)
        return chunk


class _Written:
    """Where it is sealed to: a file, measured on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest, self.size = sha256(), 0
        self.failure: OSError | None = None

    def write(self, chunk: bytes) -> int:
        try:
            self._file.write(chunk)
        except OSError as error:
            self.failure = error
            raise
        self.digest.update(chunk)
        self.size += len(chunk)
        return len(chunk)

    def flush(self) -> None:
        self._file.flush()


def _write(
    snapshot: Snapshot, service: str, path: Path, used: programs.Programs, recipients: Sequence[str]
) -> tuple[int, str, int]:
    """Dump a schema into a sealed file; return its size, its SHA-256, and the size of what is in it."""
    command = [
        used.path("pg_dump"), "--format=custom", f"--schema={service}", f"--snapshot={snapshot.name}", "--no-password",
        "--lock-wait-timeout=60s", *snapshot.place.arguments(),
    ]  # fmt: skip
    reading = [used.path("pg_restore"), "--format=custom", "--file=/dev/null"]
    with (
        tempfile.TemporaryFile() as said,
        path.open("xb") as file,
        snapshot.place.environment() as environment,
        subprocess.Popen(  # noqa: S603
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said,
            bufsize=_BUFFER,
        ) as dump,
        subprocess.Popen(  # noqa: S603
            reading, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, bufsize=_BUFFER
        ) as reader,
    ):  # fmt: skip
        os.chmod(path, 0o600)
        assert dump.stdout is not None  # noqa: S101  (for the type checker)
        assert reader.stdin is not None  # noqa: S101
        source, target = _Dumped(dump.stdout, reader.stdin), _Written(file)
        whole = False
        try:
            sealed.seal(source, target, recipients)
            reader.stdin.close()
            file.flush()
            os.fsync(file.fileno())
            whole = True
        except (pyrage.EncryptError, BrokenPipeError) as error:
            if target.failure is not None:
                raise target.failure from None
            if "BrokenPipe" not in f"{type(error).__name__} {error}":  # then pg_restore says below what is wrong
                raise
        finally:
            if not whole:
                dump.kill()
            with contextlib.suppress(BrokenPipeError):
                reader.stdin.close()
            dump.stdout.close()
            reader.wait()
            dump.wait()
        if dump.returncode != 0 or reader.returncode != 0:
            raise _failed(service, said)
    return target.size, target.digest.hexdigest(), source.size


def _failed(service: str, said: IO[bytes]) -> BackupRefused:
    said.seek(0)
    last = said.read().decode(errors="replace").strip().splitlines()[-3:]
    text = "; ".join(last)
    away = any(sign in text for sign in ("connection to server", "server closed", "terminating connection"))
    return BackupRefused(
        f"pg_dump 未能导出 {service}：{text}",
        f"pg_dump could not copy {service}",
        Exit.UNAVAILABLE if away else Exit.REFUSED,
    )

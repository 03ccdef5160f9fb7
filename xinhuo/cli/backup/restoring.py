"""Bringing a backup back: whole or not at all for each service, beside what is there and never over it."""

import subprocess
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import psycopg
import sqlalchemy as sa
from psycopg import sql

from xinhuo.chassis import audit, migrations, roles
from xinhuo.chassis.config import Settings
from xinhuo.chassis.db import Database
from xinhuo.chassis.security import BadKeyFile
from xinhuo.chassis.service import Runtime, Service
from xinhuo.cli import build

from . import erasures, programs, sealed, sets
from .databases import Place, connected, is_half_restored, places
from .refused import BackupRefused
from .settling import Settled, refuse_running, replay_from, settle_one

_BUFFER = 1 << 20
_TABLES = (
    "SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
    " WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'S')"
)
_LEFTOVERS = (
    "SELECT datname FROM pg_database AS d"
    " WHERE datname ~ '^xinhuo_verify_[0-9a-f]{8}$' AND pg_has_role(datdba, 'USAGE')"
    " AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.datid = d.oid)"
)
_AUDITED = sa.text("SELECT hash FROM audit_log WHERE seq = :seq")


@dataclass(frozen=True)
class Wanted:
    """What is to be brought back, and how."""

    folder: Path
    manifest: sets.Manifest
    services: tuple[str, ...]
    identities: Sequence[Any]
    replace: bool = False
    without_master_key: bool = False


@dataclass
class Progress:
    """What was changed so far, for whoever is told of it, also when something went wrong."""

    begun: bool = False
    settled: list[str] = field(default_factory=list)
    """The services that are back, and fit to be worked on."""
    moved: dict[str, str] = field(default_factory=dict)
    """The schemas that were in the way, and what they are called now."""
    kept: Path | None = None
    """The folder whose list of erasures names whoever was erased."""
    half: list[str] = field(default_factory=list)
    """What could not be undone: no service can use it, for its role was not let in."""

    def told(self) -> list[str]:
        """Return what was changed, in Chinese and English."""
        if not self.begun:
            return ["未改动任何数据 / nothing was changed"]
        back, half = ", ".join(self.settled) or "—", ", ".join(self.half)
        lines = [f"已恢复可用：{back}；其余没有恢复 / back and fit to be worked on: {back}; no other came back"]
        if half:
            lines.append(
                f"{half} 可能留下一半，任何服务都不能使用：请用 --replace 再恢复一次 / of {half} something may "
                "be there, which no service can use: restore it again, with --replace"
            )
        return lines


@dataclass(frozen=True)
class Restored:
    """What came of it."""

    known: erasures.Known
    """Who was erased, and whom that was asked of."""
    settled: Settled


def restore(settings: Settings, wanted: Wanted, progress: Progress) -> Restored:
    """Bring services back from a set, each settled or not at all. Raises BackupRefused; ``progress`` tells the rest."""
    known = check(settings, wanted)
    # What is moved out of the way may be dropped before the next disaster.
    progress.kept = erasures.keep_somewhere(wanted.folder, settings, known.persons)
    name = wanted.manifest.name
    taken_at = min(wanted.manifest.part_of(service).taken_at for service in wanted.services)
    settled = Settled(taken_at)
    for place in places(settings, wanted.services):
        for service in place.services:
            with _room(place, service, name.lower().replace("-", "_"), progress):
                bring_back(place.url, wanted.manifest.part_of(service), wanted.folder / name, wanted.identities)
                _let_in(settings, wanted, service, known.persons, settled)
            progress.settled.append(service)
    settled.since = replay_from(settings, wanted.services, taken_at)
    return Restored(known, settled)


def check(settings: Settings, wanted: Wanted) -> erasures.Known:
    """Raise BackupRefused for whatever would go wrong: nothing was changed by then; return who was erased."""
    parts = [wanted.manifest.part_of(service) for service in wanted.services]
    one = sets.Manifest(**{**_fields(wanted.manifest), "parts": tuple(parts)})
    if found := sets.problems(wanted.folder, one):
        raise BackupRefused("备份已损坏：" + "；".join(found), "the backup is damaged: take another one")
    for part in parts:
        programs.for_archive(part.dumped_by, programs.installed())
        newest = migrations.head(build.versions_of(part.service))
        if part.revision > newest:
            raise BackupRefused(
                f"{part.service} 的备份来自更新的版本（{part.revision}，本程序到 {newest}）：请先升级程序",
                f"the backup of {part.service} is of a newer version ({part.revision}, this program knows {newest}): "
                "upgrade the program first",
            )
        _check_opens(part, wanted)
    _check_master_keys(settings, parts, wanted)
    for place in places(settings, wanted.services):
        with connected(place) as connection:
            taken = [service for service in place.services if _tables(connection, service)]
        if taken and not wanted.replace:
            names = ", ".join(taken)
            raise BackupRefused(
                f"{place.shown} 里还有 {names} 的表：加 --replace 会先把它们改名放到一边，不会删除",
                f"there are tables of {names} in {place.shown}: --replace renames them first, and deletes nothing",
            )
    refuse_running(settings, wanted.services)
    return erasures.known_of_all(settings, wanted.services, wanted.folder)


def _fields(manifest: sets.Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in manifest.__struct_fields__}


class _Head(Exception):
    """Enough was read."""


class _First:
    """Takes the first piece only."""

    def write(self, chunk: bytes) -> int:
        raise _Head

    def flush(self) -> None:
        """Do nothing."""


def _check_opens(part: sets.Part, wanted: Wanted) -> None:
    with (wanted.folder / wanted.manifest.name / part.file).open("rb") as file:
        try:
            sealed.opened(file, _First(), wanted.identities)
        except _Head:
            return


def _check_master_keys(settings: Settings, parts: Sequence[sets.Part], wanted: Wanted) -> None:
    if wanted.without_master_key:
        return
    needed = {key for part in parts for key in part.master_keys}
    if not needed and not any(part.service in ("volunteers", "portal") for part in parts):
        return
    try:
        keys = build.keys_of(settings)
    except BadKeyFile as error:
        raise BackupRefused(
            "备份里没有主密钥，它要另外恢复：没有它，姓名、证件号码、电话和账号都读不出来。"
            f"请先放好主密钥文件；只要台账和统计时可加 --without-master-key（{error}）",
            "the master key is not in any backup and is restored apart: without it no name, number, telephone or "
            "account can be read; put its file in place first, or, for ledger and statistics only, add "
            "--without-master-key",
        ) from None
    if missing := sorted(key for key in needed if not keys.has(key)):
        raise _other_key(", ".join(missing))


def _other_key(names: str) -> BackupRefused:
    return BackupRefused(
        f"主密钥文件不是这份备份所用的那个（缺少 {names}）：姓名、证件号码、电话将读不出来。请放好当时的主密钥文件",
        f"the master key file is not that of this backup (it lacks {names}): names, numbers and telephones could not "
        "be read; put the file of that time in place",
    )


def _let_in(settings: Settings, wanted: Wanted, name: str, persons: Collection[UUID], settled: Settled) -> None:
    """Let a service in to what was brought back, looked at with its key and settled, or to nothing at all."""
    service = build.service_class(name)()
    db = build.database(name, settings, role="backup")
    try:
        with db.transaction() as session:
            roles.admit(session, name)
            # Only the service knows whether the key opens what came back.
            if not wanted.without_master_key and type(service).key_fits is not Service.key_fits:
                service.runtime = Runtime(settings, db, build.keys_of(settings))
                if not service.key_fits(session):
                    raise _other_key(name)
            settle_one(session, name, persons, wanted.manifest.name, settled)
    finally:
        db.close()


def _tables(connection: "psycopg.Connection[Any]", service: str) -> int:
    row = connection.execute(_TABLES, (service,)).fetchone()
    return int(row[0]) if row else 0


@contextmanager
def _room(place: Place, service: str, mark: str, progress: Progress) -> Iterator[None]:
    """Have no schema of the service there; if the block fails all is as it was: what was there has its name again.

    From here until the service is let in, ``xinhuo db upgrade`` refuses: it would let it in.
    """
    schema, mark_of = sql.Identifier(service), sql.Identifier(roles.mark(service))
    progress.begun = True
    with connected(place) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public")
        aside = f"{service}_before_{mark}_{uuid4().hex[:4]}" if _tables(connection, service) else None
        if aside is None:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {}").format(schema))
        else:
            connection.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(schema, sql.Identifier(aside)))
        again = is_half_restored(connection, service)
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(mark_of))
    if aside is not None:
        progress.moved[service] = aside
    progress.half.append(service)
    try:
        yield
    except BaseException:
        with connected(place) as connection:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))
            if aside is not None:
                connection.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(aside), schema))
            if not again:  # what an earlier restore left is as half as it was
                connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {}").format(mark_of))
        progress.moved.pop(service, None)
        progress.half.remove(service)
        raise
    progress.half.remove(service)


def bring_back(url: str, part: sets.Part, folder: Path, identities: Sequence[Any]) -> None:
    """Bring one service's schema back into a database that has none, up to the newest version, and check it.

    Nobody is let in yet: a process that finds it so, because whoever did this was killed, is not ready.
    """
    db = Database(url, part.service, application="xinhuo-backup")
    try:
        with db.as_owner() as connection:
            roles.make(connection, part.service)
        _fill(Place(url, (part.service,)), part, folder, identities)
        migrations.upgrade(db, build.versions_of(part.service), enter=False)
        with db.as_owner() as connection:
            found = audit.verify(connection)
            head = connection.scalar(_AUDITED, {"seq": part.audit_rows}) if part.audit_rows else None
        if found.broken or (part.audit_rows and (head is None or bytes(head).hex() != part.audit_head)):
            raise BackupRefused(
                f"{part.service} 的审计记录与备份时不符：请用另一份备份，并查明原因",
                f"the audit log of {part.service} is not what it was when the backup was made: take another one, and "
                "find out why",
            )
    finally:
        db.close()


def _fill(place: Place, part: sets.Part, folder: Path, identities: Sequence[Any]) -> None:
    used = programs.for_archive(part.dumped_by, programs.installed())
    command = [
        used.path("pg_restore"), "--format=custom", "--single-transaction", "--exit-on-error", "--no-owner",
        "--no-privileges", "--no-password", *place.arguments(),
    ]  # fmt: skip
    with (
        tempfile.TemporaryFile() as said,
        (folder / part.file).open("rb") as file,
        place.environment() as environment,
    ):
        with subprocess.Popen(  # noqa: S603
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said,
            bufsize=_BUFFER,
        ) as process:  # fmt: skip
            assert process.stdin is not None  # noqa: S101  (for the type checker)
            try:
                sealed.opened(file, process.stdin, identities)
                process.stdin.close()
            except BrokenPipeError:
                pass  # it has ended, and says why
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            raise _failed(part.service, said)


def read_through(part: sets.Part, folder: Path, identities: Sequence[Any]) -> None:
    """Open a copy and read the archive to its end, bringing nothing back; raises BackupRefused."""
    used = programs.for_archive(part.dumped_by, programs.installed())
    with tempfile.TemporaryFile() as said, (folder / part.file).open("rb") as file:
        command = [used.path("pg_restore"), "--format=custom", "--file=/dev/null"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said, bufsize=_BUFFER) as process:  # noqa: S603
            assert process.stdin is not None  # noqa: S101  (for the type checker)
            try:
                sealed.opened(file, process.stdin, identities)
                process.stdin.close()
            except BrokenPipeError:
                pass
        if process.returncode != 0:
            raise _failed(part.service, said)


def _failed(service: str, said: IO[bytes]) -> BackupRefused:
    said.seek(0)
    # Its first line says what is wrong; lines after it may hold rows.
    lines = [line for line in said.read().decode(errors="replace").splitlines() if "error" in line]
    return BackupRefused(
        f"pg_restore 未能读入 {service}：{lines[0] if lines else ''}",
        f"pg_restore could not take {service} in",
    )


def try_out(settings: Settings, folder: Path, manifest: sets.Manifest, identities: Sequence[Any]) -> None:
    """Bring a set back into a database of its own on the same server, check it, and drop it; raises BackupRefused."""
    [place, *_] = places(settings, (manifest.parts[0].service,))
    name = f"xinhuo_verify_{uuid4().hex[:8]}"
    parts = urlsplit(place.url)
    with connected(place) as connection:
        connection.commit()
        connection.autocommit = True
        _drop_leftovers(connection)
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            url = urlunsplit(parts._replace(path=f"/{name}"))
            with connected(Place(url, ())) as inside:  # to the end: nobody else takes it for a leftover
                inside.execute("CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public")
                inside.commit()
                for part in manifest.parts:
                    bring_back(url, part, folder / manifest.name, identities)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _drop_leftovers(connection: "psycopg.Connection[Any]") -> None:
    """Drop what a test restore that was killed has left: nobody is connected to it, and personal data are in it."""
    for (name,) in connection.execute(_LEFTOVERS).fetchall():
        with suppress(psycopg.errors.ObjectInUse, psycopg.errors.InvalidCatalogName):
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))

"""Persons who were erased: an older copy knows them still, so their ids are kept apart and they are erased again."""

import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from uuid import UUID

import psycopg
from sqlalchemy.orm import Session

from services.awards.commands import forget_persons as awards_forget
from services.notify.commands import forget_persons as notify_forget
from services.portal.commands.forgetting import forget_persons as portal_forget
from services.volunteers.commands import erasure
from xinhuo.chassis.config import Settings
from xinhuo.chassis.db import database_now
from xinhuo.chassis.ids import new_id
from xinhuo.cli.exits import Exit
from xinhuo.contracts import codec
from xinhuo.contracts.volunteers import PersonErased

from . import sets
from .databases import connected, is_half_restored, places
from .refused import BackupRefused

JOURNAL = "erasures.txt"
#: Why persons are erased again, in the audit log.
REASON = "backup_restored"
#: Where it stands who was erased: three services know, and a disaster may leave one of them.
_KNOWN_BY = {
    "volunteers": "SELECT id FROM volunteers.volunteers WHERE state = 'erased'",
    "awards": "SELECT volunteer_id FROM awards.erased_persons",
    "notify": "SELECT volunteer_id FROM notify.forgotten_persons",
}
#: What an editor leaves around a line: blanks, the end of a line of Windows, its mark at the beginning of a file.
_AROUND = " \t\r\ufeff"
#: The beginning of an id, of which a kill let no more be written.
_TORN = re.compile(r"[0-9a-f-]{1,35}")
_FORGETTERS = {"awards": awards_forget, "notify": notify_forget, "portal": portal_forget}


@dataclass(frozen=True)
class Known:
    """Who was erased, which services could be asked, and which could not though they may know."""

    persons: frozenset[UUID]
    asked: tuple[str, ...]
    away: tuple[str, ...] = ()


def known(settings: Settings) -> Known:
    """Ask every service that can still be read who was erased, and the journal in the data folder."""
    persons = set(read_journal(settings.data))
    asked, away = [], []
    for service, statement in _KNOWN_BY.items():
        [place] = places(settings, (service,))
        try:
            with connected(place) as connection:
                persons.update(person for (person,) in connection.execute(statement))
                half = is_half_restored(connection, service)
        except psycopg.errors.UndefinedTable:
            continue  # what is lost cannot tell; the others and the journal can
        except (BackupRefused, psycopg.Error):
            away.append(service)
        else:
            if not half:  # what a restore left that was killed knows no more than the lost: those of an earlier time
                asked.append(service)
    return Known(frozenset(persons), tuple(asked), tuple(away))


def known_of_all(settings: Settings, services: Collection[str], folder: Path | None) -> Known:
    """Return everybody who was erased, the journal of a folder read too, before services go back to an earlier time.

    Raises BackupRefused when somebody could be missed. Volunteers knows everybody; where it is lost or goes back
    itself, the two others may know more.
    """
    found = known(settings)
    if found.away and ("volunteers" in services or "volunteers" not in found.asked):
        raise unasked(found.away)
    return replace(found, persons=found.persons | (read_journal(folder) if folder else frozenset()))


def unasked(services: Iterable[str]) -> BackupRefused:
    """Return what to say of services that could not be asked who was erased."""
    names = ", ".join(services)
    return BackupRefused(
        f"无法向 {names} 询问谁被删除：请检查数据库能否连接，账号是否为表的所有者，或有 BYPASSRLS 和 pg_read_all_data，"
        "再运行一次；已丢失的请先建空的数据库",
        f"{names} could not be asked who was erased: see that the database is there, and that the account is the owner "
        "of the tables or has BYPASSRLS and pg_read_all_data, and run this again; for one that is lost create an empty "
        "database first",
        Exit.UNAVAILABLE,
    )


def read_journal(folder: Path) -> frozenset[UUID]:
    """Return who stands in the journal; a last line that was cut off by a kill is left out.

    Raises BackupRefused for any other line that cannot be read: whoever it names would be known again.
    """
    path = folder / JOURNAL
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return frozenset()
    persons = set()
    for number, line in enumerate(lines, start=1):
        text = line.decode(errors="replace").strip(_AROUND)
        if not text or (number == len(lines) and _TORN.fullmatch(text)):
            continue
        try:
            persons.add(UUID(text))
        except ValueError:
            raise BackupRefused(
                f"{path} 第 {number} 行读不出是谁被删除：请改正这一行（从别处的副本），再运行一次",
                f"line {number} of {path} does not tell who was erased: correct it, from another copy of the file, "
                "and run this again",
            ) from None
    return frozenset(persons)


def keep(folder: Path, persons: Iterable[UUID]) -> int:
    """Add persons to the journal and bring it to disk; return how many were new."""
    sets.check_folder(folder)
    new = sorted(set(persons) - read_journal(folder))
    if not new:
        return 0
    descriptor = os.open(folder / JOURNAL, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        last = file.read().rpartition(b"\n")[2]
        if _TORN.fullmatch(last.decode(errors="replace").strip(_AROUND)):
            file.seek(-len(last), os.SEEK_END)
            file.truncate()
            last = b""
        file.write("".join(("\n" if last else "", *(f"{person}\n" for person in new))).encode())
        file.flush()
        os.fsync(file.fileno())
    sets.sync(folder)
    return len(new)


def keep_somewhere(folder: Path, settings: Settings, persons: Iterable[UUID]) -> Path:
    """Add persons to the journal of a folder, or of the data folder where that one cannot be written to; return which.

    From the data folder they come to the next folder of backups: ``known`` reads it.
    """
    try:
        keep(folder, persons)
    except OSError:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        keep(settings.data, persons)
        return settings.data
    return folder


def erase_again(service: str, session: Session, persons: Iterable[UUID]) -> int:
    """Erase persons in a service's copy who are still known there; return how many they were."""
    gone = set(persons)
    if service == "volunteers":
        found = erasure.not_erased(session, gone)
        erasure.erase(session, found, database_now(session), REASON)
        return len(found)
    if service in _FORGETTERS and gone:
        now = database_now(session)
        _FORGETTERS[service](session, [_told(person, now) for person in sorted(gone)])
    return 0


def _told(person: UUID, now: datetime) -> codec.Envelope:
    return codec.Envelope(
        id=new_id(), time=now, data=PersonErased(volunteer_id=person), source=codec.source_of("volunteers"),
        subject=str(person), replayed=True,
    )  # fmt: skip

"""Persons who were erased: an older copy knows them still, so their ids are kept apart and they are erased again."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
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
from xinhuo.contracts import codec
from xinhuo.contracts.volunteers import PersonErased

from . import sets
from .databases import connected, places
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
    """Who was erased, and which services could still be asked."""

    persons: frozenset[UUID]
    asked: tuple[str, ...]


def known(settings: Settings) -> Known:
    """Ask every service that can still be read who was erased."""
    persons: set[UUID] = set()
    asked = []
    for service, statement in _KNOWN_BY.items():
        [place] = places(settings, (service,))
        try:
            with connected(place) as connection:
                persons.update(person for (person,) in connection.execute(statement))
        except (BackupRefused, psycopg.Error):
            continue  # what is lost cannot tell; the others and the journal can
        asked.append(service)
    return Known(frozenset(persons), tuple(asked))


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

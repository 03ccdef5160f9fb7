"""A small service, the events it takes and records, and what its tables hold afterwards.

It goes by the name of a publisher, so that its events have a contract and an exchange of its own.
"""

import threading
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tests.support.identity import for_everybody
from tests.support.services import KEYS, delivery_of
from xinhuo.chassis import config, outbox
from xinhuo.chassis.db import Database
from xinhuo.chassis.errors import Conflict, PermanentEventError
from xinhuo.chassis.identity.rights import PUBLIC_RIGHT
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.ladder import Delivery
from xinhuo.chassis.markers import Submission, http, subscribe
from xinhuo.chassis.service import Runtime, Service
from xinhuo.chassis.web import pages, schema
from xinhuo.chassis.web.pages import Answer
from xinhuo.contracts.codec import Envelope
from xinhuo.contracts.notices import UnitRegistered
from xinhuo.contracts.volunteers import HoursLogged

VERSIONS = Path(__file__).parent / "migrations"
SOME_ID = UUID("01890000-0000-7000-8000-000000000000")
CHASSIS_TABLES = (
    "outbox", "inbox", "parked_events", "dead_letter_actions", "dead_letters", "jobs", "idempotency_keys",
)  # fmt: skip


class WordTaken(Conflict):
    """The word is taken"""

    code = "chassis_test.word_taken"
    title = "词语已被占用"

    def __init__(self, word: str) -> None:
        super().__init__(f"“{word}”已被占用，请换一个。", "The word is taken; choose another.", pointer="/word")


class NeverRight(PermanentEventError):
    """The event can never be counted."""

    code = "chassis_test.never_right"
    title = "此事件永不可计"


class NoteIn(schema.Schema):
    """What `POST /v1/notes` takes."""

    word = schema.Text(required=True)


class NoteOut(schema.Schema):
    """A note."""

    number = schema.Integer()
    word = schema.Text()


@for_everybody
class Desk(Service):
    """Writes words down, with an event for each; some words do other things to it."""

    name = "volunteers"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.began = threading.Event()
        self.may_go_on = threading.Event()

    @http("POST", "/v1/notes", right=PUBLIC_RIGHT, accepts=NoteIn, returns=NoteOut, status=201, errors=(WordTaken,))
    def write(self, session: Session, body: dict[str, Any]) -> Answer:
        """Write a word down."""
        number = write(session, body["word"])
        outbox.record(session, event(body["word"]))
        if body["word"] == "slow":
            self.began.set()
            self.may_go_on.wait(10)
        if body["word"] == "taken":
            raise WordTaken(body["word"])
        if body["word"].startswith("boom"):
            session.execute(sa.text("SELECT secret FROM persons WHERE phone = '14200010000'"))
        note = {"number": number, "word": body["word"]}
        return Answer(note, headers={"Location": f"/v1/notes/{number}", "ETag": '"1"', "X-Not-Kept": "1"})

    @http("POST", "/v1/words", right=PUBLIC_RIGHT, accepts=NoteIn, returns=NoteOut, status=201, coalesce=True)
    def write_together(self, session: Session, submitted: list[Submission]) -> list[Any]:
        """Write down the words of all who come at the same time."""
        bodies = [one.body for one in submitted]
        self.batches.append(len(bodies))
        numbers = [write(session, body["word"]) for body in bodies if body["word"] != "taken"]
        if any(body["word"] == "slow" for body in bodies):
            self.began.set()
            self.may_go_on.wait(10)
        if any(body["word"] == "boom" for body in bodies):
            raise RuntimeError("no")
        rest = iter(numbers)
        return [
            WordTaken("taken") if body["word"] == "taken" else {"number": next(rest), "word": body["word"]}
            for body in bodies
        ]

    @http("GET", "/v1/notes", right=PUBLIC_RIGHT, query=schema.Page, returns=NoteOut)
    def notes(self, session: Session, query: dict[str, Any]) -> pages.Listed:
        """List the notes."""
        after = pages.read_cursor(query["after"], int) or (0,)
        found = session.execute(
            sa.text("SELECT number, word FROM notes WHERE number > :after ORDER BY number LIMIT :limit"),
            {"after": after[0], "limit": query["limit"] + 1},
        ).mappings()
        return pages.page_of([dict(row) for row in found], query["limit"], lambda note: (note["number"],))

    @subscribe(HoursLogged)
    def count(self, session: Session, envelopes: list[Envelope]) -> None:
        """Write each event's category down."""
        note_all(session, envelopes)


def write(session: Session, word: str) -> int:
    """Write a word down and return its number."""
    number = session.scalar(sa.text("INSERT INTO notes (word) VALUES (:word) RETURNING number"), {"word": word})
    assert isinstance(number, int)
    return number


def note_all(session: Session, envelopes: list[Envelope]) -> None:
    """Handle events: write their words down, but fail as those that say so want it."""
    for envelope in envelopes:
        if envelope.data.category == "bad":
            raise ValueError("canary of a person")
        write(session, envelope.data.category)


def make_desk(url: str) -> Desk:
    """Return the service on a database that has its tables."""
    desk = Desk()
    desk.runtime = Runtime(config.load({}), database(url), KEYS)
    return desk


def database(url: str, **options: Any) -> Database:
    """Return the service's database; close it at the end."""
    return Database("postgresql+psycopg" + url[url.index(":") :], Desk.name, application="chassis-tests", **options)


def event(word: str = "ok") -> HoursLogged:
    """Return a public event with an internal field."""
    return HoursLogged(
        entry_id=new_id(), volunteer_id=SOME_ID, team_code="T1", unit_code="U1", activity_id=SOME_ID,
        category=word, served_on=date(2026, 3, 5), minutes=60,
    )  # fmt: skip


def large_event(size: int) -> UnitRegistered:
    """Return an event with so long a code."""
    return UnitRegistered(unit_code="x" * size, kind="middle_school")


def deliveries(*words: str) -> list[Delivery]:
    """Return events as they come from the broker."""
    return [delivery_of(event(word)) for word in words]


def id_of_month(year: int, month: int, day: int = 15) -> UUID:
    """Return a UUIDv7 made on a day."""
    milliseconds = int(datetime(year, month, day, 12, tzinfo=UTC).timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (new_id().int & ((1 << 80) - 1)))


def fetch(db: Database, statement: str, **parameters: Any) -> list[Any]:
    """Return the rows of a statement, as whoever owns the tables sees them."""
    with db.as_owner() as connection:
        return list(connection.execute(sa.text(statement), parameters).all())


def execute(db: Database, statement: str, **parameters: Any) -> None:
    """Run one statement in a transaction of its own, as whoever owns the tables."""
    with db.as_owner() as connection:
        connection.execute(sa.text(statement), parameters)


def words(db: Database) -> list[str]:
    """Return what was written down, in its order."""
    return [row.word for row in fetch(db, "SELECT word FROM notes ORDER BY number")]


def topics(db: Database) -> int:
    """Return how many events are in the outbox."""
    return int(fetch(db, "SELECT count(*) FROM outbox")[0][0])


def clear(db: Database) -> None:
    """Forget everything that happened."""
    with db.transaction() as session:  # TRUNCATE would take its time for every partition
        for table in ("notes", *CHASSIS_TABLES):
            session.execute(sa.text(f"DELETE FROM {table}"))  # noqa: S608  (names from above)
        session.execute(sa.text("UPDATE slots SET taken = 0"))


def categories(envelopes: Iterable[Envelope]) -> list[str]:
    """Return what the events say."""
    return [envelope.data.category for envelope in envelopes]

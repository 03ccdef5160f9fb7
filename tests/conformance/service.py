"""A small service that hears its own events, and whose handler does what an event's category says.

It goes by the name of a publisher, so that its events have a contract and an exchange of its own.
"""

import os
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tests.support.identity import for_everybody
from xinhuo.chassis import outbox
from xinhuo.chassis.errors import Conflict, PermanentEventError
from xinhuo.chassis.identity.rights import PUBLIC_RIGHT
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.markers import Submission, http, job, subscribe
from xinhuo.chassis.service import Service
from xinhuo.chassis.web import schema
from xinhuo.contracts.codec import Envelope
from xinhuo.contracts.volunteers import HoursLogged

VERSIONS = Path(__file__).parent / "migrations"
QUEUE, DEAD_QUEUE, EXCHANGE = "volunteers.count", "volunteers.dead", "volunteers.events"
KEY = "hours_logged.v1"
#: Other categories begin with what shall happen, and a dash: see ``Bench._do``.
SLOW_SECONDS, LONG_SECONDS, COMPUTING_SECONDS = 1.5, 7.0, 3.0
LARGEST_BATCH = 50
BODY_LIMIT = 20_000
_SOME_ID = UUID("01890000-0000-7000-8000-000000000000")


class NeverRight(PermanentEventError):
    """The event can never be counted."""

    code = "bench.never_right"
    title = "此事件永不可计"


class WordTaken(Conflict):
    """The word is taken"""

    code = "bench.word_taken"
    title = "词语已被占用"

    def __init__(self) -> None:
        super().__init__("该词已被占用，请换一个。", "The word is taken; choose another.", pointer="/word")


class Sale(schema.Schema):
    """What ``POST /v1/events`` takes."""

    word = schema.Text(required=True)
    count = schema.Integer(load_default=1)


class Word(schema.Schema):
    """A word, and how many were answered in the same transaction."""

    word = schema.Text(required=True)
    together = schema.Integer(dump_only=True)


@for_everybody
class Bench(Service):
    """Counts words, one by one and together."""

    name = "volunteers"

    @http("POST", "/v1/events", right=PUBLIC_RIGHT, accepts=Sale, status=201)
    def record(self, session: Session, body: dict[str, Any]) -> None:
        """Record events."""
        outbox.record_all(session, [event(body["word"]) for _ in range(body["count"])])

    @http(
        "POST",
        "/v1/words",
        right=PUBLIC_RIGHT,
        accepts=Word,
        returns=Word,
        status=201,
        errors=(WordTaken,),
        body_limit=BODY_LIMIT,
    )
    def write(self, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        """Write one word down; some words take their time, or go wrong."""
        session.execute(sa.text("INSERT INTO answers (word, together) VALUES (:word, 1)"), body)
        if body["word"].startswith("slow-"):
            session.execute(sa.text("SELECT pg_sleep(:seconds)"), {"seconds": SLOW_SECONDS})
        if body["word"].startswith("taken-"):
            raise WordTaken
        if body["word"].startswith("boom-"):
            session.execute(sa.text("SELECT secret FROM persons WHERE phone = '14200010000'"))
        return {"word": body["word"], "together": 1}

    @http(
        "POST",
        "/v1/words:together",
        right=PUBLIC_RIGHT,
        accepts=Word,
        returns=Word,
        status=201,
        coalesce=True,
        errors=(WordTaken,),
    )
    def write_together(self, session: Session, submitted: list[Submission]) -> list[Any]:
        """Write down the words of all who come at the same time."""
        bodies = [one.body for one in submitted]
        for body in bodies:
            session.execute(sa.text("INSERT INTO answers (word, together) VALUES (:word, 0)"), body)
        session.execute(sa.text("SELECT pg_sleep(0.1)"))
        return [
            WordTaken() if body["word"].startswith("taken-") else {"word": body["word"], "together": len(bodies)}
            for body in bodies
        ]

    @subscribe(HoursLogged, batch=LARGEST_BATCH)
    def count(self, session: Session, envelopes: list[Envelope]) -> None:
        """Note each event, and do what its category says."""
        words = [envelope.data.category for envelope in envelopes]
        session.execute(
            sa.text("INSERT INTO batches (word, size) VALUES (:word, :size)"), {"word": words[0], "size": len(words)}
        )
        for envelope in envelopes:
            _do(session, envelope.data.category)
            session.execute(
                sa.text("INSERT INTO seen (word, event_id) VALUES (:word, :id)"),
                {"word": envelope.data.category, "id": envelope.id},
            )

    @job(every=timedelta(seconds=1))
    def go_wrong(self, session: Session) -> None:
        """Fail, every time."""
        raise RuntimeError("a job that fails")

    @job(every=timedelta(seconds=2))
    def tick(self, session: Session) -> None:
        """Note that it ran, and where."""
        session.execute(sa.text("INSERT INTO ticks (pid) VALUES (:pid)"), {"pid": os.getpid()})


def _do(session: Session, word: str) -> None:
    what = word.partition("-")[0]
    if what == "never":
        raise NeverRight("never")
    if what == "raise" and not session.scalar(sa.text("SELECT true FROM mended WHERE word = :word"), {"word": word}):
        raise RuntimeError("not mended")
    if what in ("slow", "long"):
        print(f"began {word}", flush=True)
        seconds = SLOW_SECONDS if what == "slow" else LONG_SECONDS
        session.execute(sa.text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})
    if what == "compute":
        until = time.monotonic() + COMPUTING_SECONDS
        while time.monotonic() < until:
            pass


def event(word: str) -> HoursLogged:
    """Return an event of a category."""
    return HoursLogged(
        entry_id=new_id(), volunteer_id=_SOME_ID, team_code="T1", unit_code="U1", activity_id=_SOME_ID,
        category=word, served_on=date(2021, 3, 5), minutes=60,
    )  # fmt: skip

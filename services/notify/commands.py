"""What is told to volunteers, and that they read it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.counted import count
from xinhuo.chassis.db import rows
from xinhuo.chassis.errors import NotFound
from xinhuo.chassis.identity.actor import access_of
from xinhuo.chassis.identity.reached import reaches_person
from xinhuo.chassis.ids import new_ids
from xinhuo.chassis.roundtrips import at_commit
from xinhuo.contracts.awards import StarEarned
from xinhuo.contracts.codec import Envelope
from xinhuo.contracts.volunteers import HoursLogged, PersonErased

from . import texts
from .figures import INBOX, MESSAGES_SENT
from .models import messages

HOURS_LOGGED = "hours_logged"
STAR_EARNED = "star_earned"
#: A message that waits for whatever channel reaches the volunteer.
WRITTEN = "written"
#: A message about something of which the volunteer was told in its time: it stands in the inbox again, as a read
#: one, and no channel that sends ever takes it.
RESTORED = "restored"
#: What was told to somebody who was erased since: that it was told counts, what it said is gone.
FORGOTTEN = "forgotten"


class MessageNotFound(NotFound):
    """There is no such message"""

    code = "message.not_found"
    title = "没有这条消息"


@dataclass(frozen=True)
class Message:
    """One thing to tell a volunteer: for one occurrence of one occasion, once."""

    volunteer_id: UUID
    occasion: str
    subject_id: UUID
    occurrence: int
    text: texts.Text
    replayed: bool = False

    @property
    def key(self) -> tuple[int, str, int, int]:
        """What makes it one and the same message, however often it is written, in the order of the unique key."""
        return self.volunteer_id.int, self.occasion, self.subject_id.int, self.occurrence


def acknowledge_hours(session: Session, envelopes: Sequence[Envelope]) -> None:
    """Thank volunteers for the hours of a batch, once for each entry of the ledger."""
    logged = [(envelope.data, envelope) for envelope in envelopes if isinstance(envelope.data, HoursLogged)]
    hand_over(
        session,
        [
            Message(
                hours.volunteer_id,
                HOURS_LOGGED,
                hours.entry_id,
                1,
                texts.write(HOURS_LOGGED, served_on=hours.served_on, minutes=hours.minutes),
                envelope.replayed,
            )
            for hours, envelope in logged
        ],
    )


def acknowledge_star(session: Session, envelopes: Sequence[Envelope]) -> None:
    """Congratulate volunteers on the stars of a batch, once for each occurrence of a star."""
    earned = [(envelope.data, envelope) for envelope in envelopes if isinstance(envelope.data, StarEarned)]
    hand_over(
        session,
        [
            Message(
                star.volunteer_id,
                STAR_EARNED,
                star.award_id,
                star.occurrence,
                texts.write(
                    STAR_EARNED,
                    star=star.star,
                    occurrence=star.occurrence,
                    minutes_total=star.minutes_total,
                    threshold_minutes=star.threshold_minutes,
                ),
                envelope.replayed,
            )
            for star, envelope in earned
        ],
    )


def forget_persons(session: Session, envelopes: Sequence[Envelope]) -> None:
    """Empty the messages of persons who were erased; what comes for them later is entered empty."""
    ids = sorted({envelope.data.volunteer_id for envelope in envelopes if isinstance(envelope.data, PersonErased)})
    session.execute(_FORGET, {"ids": ids})
    session.execute(_EMPTY, {"ids": ids})


def hand_over(session: Session, batch: Sequence[Message]) -> None:
    """Give messages to the channel that reaches the volunteer: the in-app inbox, whoever the volunteer is.

    Every message of the system passes here, and no other place may tell a volunteer anything. What was handed over
    before is left as it is. What only a replay brings is entered as ``restored``: a channel that sends (a short
    message, an e-mail) takes messages in the state ``written`` and no others. One statement.
    """
    # In the order of the unique key, so that two batches with the same messages cannot wait for each other.
    ordered = sorted(batch, key=lambda message: message.key)
    restored = sum(message.replayed for message in ordered)
    count(session, MESSAGES_SENT, (INBOX, WRITTEN), len(ordered) - restored)
    count(session, MESSAGES_SENT, (INBOX, RESTORED), restored)
    at_commit(
        session,
        _PUT_INTO_INBOX,
        {
            "ids": new_ids(len(ordered)),
            "volunteers": [message.volunteer_id for message in ordered],
            "occasions": [message.occasion for message in ordered],
            "subjects": [message.subject_id for message in ordered],
            "occurrences": [message.occurrence for message in ordered],
            "templates": [message.text.template for message in ordered],
            "titles": [message.text.title for message in ordered],
            "texts": [message.text.text for message in ordered],
            "states": [RESTORED if message.replayed else WRITTEN for message in ordered],
        },
    )


def read_message(session: Session, message_id: UUID) -> dict[str, Any]:
    """Note that a message was read and return it; the first time counts. Raises MessageNotFound."""
    found = rows(
        session.execute(
            sa.update(messages)
            .where(messages.c.id == message_id, messages.c.state != FORGOTTEN)
            .where(*reaches_person(access_of(session), messages.c.volunteer_id))
            .values(read_at=sa.func.coalesce(messages.c.read_at, sa.func.clock_timestamp()))
            .returning(messages)
        )
    )
    if not found:
        raise MessageNotFound("没有这条消息，请刷新消息列表后重试。", "There is no such message; load the inbox again.")
    return found[0]


_FORGET = sa.text(
    "INSERT INTO forgotten_persons (volunteer_id) SELECT unnest(CAST(:ids AS uuid[])) ON CONFLICT DO NOTHING"
)
_EMPTY = sa.text(
    "UPDATE messages SET state = 'forgotten', title = '', text = '', read_at = COALESCE(read_at, clock_timestamp())"
    " WHERE volunteer_id = ANY(CAST(:ids AS uuid[]))"
)
_PUT_INTO_INBOX = sa.text(
    "INSERT INTO messages"
    " (id, volunteer_id, occasion, subject_id, occurrence, template, title, text, state, read_at)"
    " SELECT id, new.volunteer_id, occasion, subject_id, occurrence, template,"
    " CASE WHEN forgotten_at IS NULL THEN title ELSE '' END, CASE WHEN forgotten_at IS NULL THEN text ELSE '' END,"
    " CASE WHEN forgotten_at IS NULL THEN state ELSE 'forgotten' END,"
    " CASE WHEN state = 'restored' OR forgotten_at IS NOT NULL THEN clock_timestamp() END"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:volunteers AS uuid[]), CAST(:occasions AS text[]),"
    " CAST(:subjects AS uuid[]), CAST(:occurrences AS integer[]), CAST(:templates AS text[]),"
    " CAST(:titles AS text[]), CAST(:texts AS text[]), CAST(:states AS text[]))"
    " AS new (id, volunteer_id, occasion, subject_id, occurrence, template, title, text, state)"
    " LEFT JOIN forgotten_persons AS gone ON gone.volunteer_id = new.volunteer_id"
    " ON CONFLICT (volunteer_id, occasion, subject_id, occurrence) DO NOTHING"
)

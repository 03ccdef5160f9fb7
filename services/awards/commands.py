"""What changes tallies and stars: service time logged and taken back."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from operator import attrgetter
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.db import ask_with_time
from xinhuo.chassis.errors import PermanentEventError, RetryEventLater
from xinhuo.chassis.outbox import record
from xinhuo.chassis.roundtrips import at_commit
from xinhuo.chassis.rules import DatedRule
from xinhuo.contracts import awards
from xinhuo.contracts.codec import Envelope
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed, PersonErased

from . import domain, thresholds


class EntryConflict(PermanentEventError):
    """One ledger entry was announced twice with different minutes or for different volunteers."""

    code = "event.entry_conflict"
    title = "同一时数记录前后不一致"


class ReversalMismatch(PermanentEventError):
    """A reversal names another volunteer, or fewer minutes, than the entry it takes back."""

    code = "event.reversal_mismatch"
    title = "冲正与原记录不符"


_FORGET = sa.text(
    "INSERT INTO erased_persons (volunteer_id) SELECT unnest(CAST(:ids AS uuid[])) ON CONFLICT DO NOTHING"
)


_BROUGHT_BACK = sa.text("UPDATE tallies SET live = false WHERE live")


def take_as_brought_back(session: Session) -> None:
    """Take all tallies as brought back, which they are after a restore: who is told of a star that a replay completes
    was told before."""
    session.execute(_BROUGHT_BACK)


def forget_persons(session: Session, envelopes: Sequence[Envelope]) -> None:
    """Note who was erased: their tallies go on counting, and nobody is shown their stars."""
    ids = sorted({envelope.data.volunteer_id for envelope in envelopes if isinstance(envelope.data, PersonErased)})
    session.execute(_FORGET, {"ids": ids})


def add_to_tally(session: Session, envelopes: Sequence[Envelope], zone: tzinfo) -> None:
    """Count a batch of logged and reversed hours, and announce the stars earned and withdrawn by it.

    The number of statements does not depend on the size of the batch. ``zone`` tells which day it is, and so
    which thresholds are in force; for what a replay sends again that is the day on which it happened.
    Raises RetryEventLater when a reversal came before its original, and NegativeTotal, SenselessMinutes,
    EntryConflict or ReversalMismatch for an event that cannot be right.
    """
    changes = [
        (envelope, envelope.data) for envelope in envelopes if isinstance(envelope.data, HoursLogged | HoursReversed)
    ]
    book = _Book.open(session, [data for _, data in changes], zone)
    early: defaultdict[UUID, list[tuple[Envelope, HoursReversed]]] = defaultdict(list)
    for envelope, data in changes:
        if isinstance(data, HoursLogged):
            book.add(envelope, data)
            for waiting in early.pop(data.entry_id, ()):
                book.take_back(*waiting)
        elif data.entry_id in book.entries:
            book.take_back(envelope, data)
        else:
            early[data.entry_id].append((envelope, data))
    if early:
        raise RetryEventLater(f"not yet here: the entries of {len(early)} reversal(s)")
    book.write(session)


@dataclass
class _Entry:
    volunteer_id: UUID
    minutes: int
    reversed_by: UUID | None = None


@dataclass
class _Award:
    award_id: UUID
    volunteer_id: UUID
    star: int
    occurrence: int
    threshold_minutes: int
    minutes_total: int
    rule: str
    earned_at: datetime
    withdrawn_by: UUID | None = None
    withdrawn_at: datetime | None = None


@dataclass
class _Book:
    """What is known about the volunteers of a batch, locked until the end of the transaction."""

    session: Session
    now: datetime
    zone: tzinfo
    tallies: dict[UUID, domain.Tally]
    entries: dict[UUID, _Entry]
    held: dict[tuple[UUID, int], UUID]
    """The award by which a volunteer holds a star."""
    live: set[UUID]
    """The volunteers of whom not everything that counts was brought back by a replay."""
    rules: dict[date, DatedRule[domain.Thresholds]] = field(default_factory=dict)
    changed: set[UUID] = field(default_factory=set)
    new_entries: list[UUID] = field(default_factory=list)
    reversed_entries: list[UUID] = field(default_factory=list)
    new_awards: dict[UUID, _Award] = field(default_factory=dict)
    withdrawn: dict[UUID, tuple[UUID, datetime]] = field(default_factory=dict)
    """The reversal that withdrew an award of an earlier batch, and when."""

    @classmethod
    def open(cls, session: Session, hours: Sequence[HoursLogged | HoursReversed], zone: tzinfo) -> "_Book":
        """Lock the tallies of a batch, in one order for everyone, and read what belongs to them."""
        volunteers = sorted({data.volunteer_id for data in hours}, key=attrgetter("int"))
        now, (_, tallies, awarded, counted) = ask_with_time(
            session,
            (_MAKE_TALLIES, {"volunteers": volunteers}),
            (_LOCK_TALLIES, {"volunteers": volunteers}),
            # Read after the locks: by then every other batch about these volunteers is committed or gone.
            (_LAST_AWARDS, {"volunteers": volunteers}),
            (_ENTRIES, {"entries": [data.entry_id for data in hours]}),
        )
        stars: defaultdict[UUID, dict[int, domain.StarState]] = defaultdict(dict)
        held = {}
        for volunteer_id, star, occurrence, award_id, is_held in awarded:
            stars[volunteer_id][star] = domain.StarState(occurrence, held=is_held)
            if is_held:
                held[volunteer_id, star] = award_id
        return cls(
            session=session,
            now=now,
            zone=zone,
            tallies={key: domain.Tally(minutes, stars.get(key, {})) for key, minutes, _ in tallies},
            entries={
                entry_id: _Entry(volunteer_id, minutes, reversed_by)
                for entry_id, volunteer_id, minutes, reversed_by in counted
            },
            held=held,
            live={key for key, _, is_live in tallies if is_live},
        )

    def add(self, envelope: Envelope, logged: HoursLogged) -> None:
        """Count an entry; the same entry under another event id changes nothing."""
        known = self.entries.get(logged.entry_id)
        if known is not None:
            if (known.volunteer_id, known.minutes) != (logged.volunteer_id, logged.minutes):
                raise EntryConflict(f"entry {logged.entry_id} was counted with other minutes or another volunteer")
            return
        self._apply(envelope, logged.volunteer_id, domain.Logged(logged.entry_id, logged.minutes))
        self.entries[logged.entry_id] = _Entry(logged.volunteer_id, logged.minutes)
        self.new_entries.append(logged.entry_id)

    def take_back(self, envelope: Envelope, taken: HoursReversed) -> None:
        """Count a reversal of a known entry; the same reversal under another event id changes nothing."""
        entry = self.entries[taken.entry_id]
        if entry.reversed_by == taken.reversal_id:
            return
        left = 0 if entry.reversed_by else entry.minutes
        if taken.minutes > left:
            raise domain.NegativeTotal(
                f"reversal {taken.reversal_id} takes {taken.minutes} minutes from an entry that has {left}"
            )
        if entry.volunteer_id != taken.volunteer_id or 0 < taken.minutes < left:
            raise ReversalMismatch(f"reversal {taken.reversal_id} does not have the volunteer and minutes of its entry")
        change = domain.Reversed(taken.reversal_id, taken.entry_id, taken.minutes)
        self._apply(envelope, taken.volunteer_id, change)
        entry.reversed_by = taken.reversal_id
        self.reversed_entries.append(taken.entry_id)

    def _apply(self, envelope: Envelope, volunteer: UUID, change: domain.Logged | domain.Reversed) -> None:
        moment = envelope.time if envelope.replayed else self.now
        rule = self._rule_on(moment.astimezone(self.zone).date())
        if not envelope.replayed:
            self.live.add(volunteer)
        self.tallies[volunteer], outcomes = domain.apply(self.tallies[volunteer], change, rule.value)
        self.changed.add(volunteer)
        for outcome in outcomes:
            if isinstance(outcome, domain.StarEarned):
                self._earn(envelope, volunteer, outcome, rule, moment)
            else:
                self._withdraw(envelope, volunteer, outcome, rule, moment)

    def _rule_on(self, day: date) -> DatedRule[domain.Thresholds]:
        if day not in self.rules:
            self.rules[day] = thresholds.on(day)
        return self.rules[day]

    def _earn(
        self,
        envelope: Envelope,
        volunteer: UUID,
        earned: domain.StarEarned,
        rule: DatedRule[domain.Thresholds],
        moment: datetime,
    ) -> None:
        award = _Award(
            award_id=domain.award_id(volunteer, earned.star, earned.occurrence),
            volunteer_id=volunteer,
            star=earned.star,
            occurrence=earned.occurrence,
            threshold_minutes=rule.value.of_star(earned.star),
            minutes_total=earned.minutes_total,
            rule=rule.reference,
            earned_at=moment,
        )
        self.new_awards[award.award_id] = award
        self.held[volunteer, earned.star] = award.award_id
        event = awards.StarEarned(
            award_id=award.award_id,
            volunteer_id=volunteer,
            star=award.star,
            occurrence=award.occurrence,
            minutes_total=award.minutes_total,
            threshold_minutes=award.threshold_minutes,
            rule=award.rule,
            earned_on=moment.astimezone(self.zone).date(),
        )
        record(self.session, event, caused_by=envelope, replayed=volunteer not in self.live)

    def _withdraw(
        self,
        envelope: Envelope,
        volunteer: UUID,
        taken: domain.StarWithdrawn,
        rule: DatedRule[domain.Thresholds],
        moment: datetime,
    ) -> None:
        award_id = self.held.pop((volunteer, taken.star))
        if award_id in self.new_awards:
            self.new_awards[award_id].withdrawn_by = taken.reversal_id
            self.new_awards[award_id].withdrawn_at = moment
        else:
            self.withdrawn[award_id] = taken.reversal_id, moment
        event = awards.StarWithdrawn(
            award_id=award_id,
            volunteer_id=volunteer,
            star=taken.star,
            occurrence=taken.occurrence,
            reversal_id=taken.reversal_id,
            minutes_total=taken.minutes_total,
            threshold_minutes=rule.value.of_star(taken.star),
            rule=rule.reference,
            withdrawn_on=moment.astimezone(self.zone).date(),
        )
        record(self.session, event, caused_by=envelope, replayed=volunteer not in self.live)

    def write(self, session: Session) -> None:
        """Write what the batch changed: one statement a table."""
        if self.changed:
            at_commit(
                session,
                _WRITE_TALLIES,
                {
                    "volunteers": list(self.changed),
                    "minutes": [self.tallies[volunteer].minutes for volunteer in self.changed],
                    "live": [volunteer in self.live for volunteer in self.changed],
                },
            )
        if self.new_entries:
            entries = [self.entries[entry_id] for entry_id in self.new_entries]
            at_commit(
                session,
                _INSERT_ENTRIES,
                {
                    "entries": self.new_entries,
                    "volunteers": [entry.volunteer_id for entry in entries],
                    "minutes": [entry.minutes for entry in entries],
                    "reversals": [entry.reversed_by for entry in entries],
                },
            )
        if earlier := set(self.reversed_entries).difference(self.new_entries):
            at_commit(
                session,
                _REVERSE_ENTRIES,
                {
                    "entries": list(earlier),
                    "reversals": [self.entries[entry_id].reversed_by for entry_id in earlier],
                },
            )
        if self.withdrawn:
            at_commit(
                session,
                _WITHDRAW_AWARDS,
                {
                    "awards": list(self.withdrawn),
                    "reversals": [reversal_id for reversal_id, _ in self.withdrawn.values()],
                    "moments": [moment for _, moment in self.withdrawn.values()],
                },
            )
        if self.new_awards:
            new = list(self.new_awards.values())
            at_commit(
                session,
                _INSERT_AWARDS,
                {
                    "awards": [award.award_id for award in new],
                    "volunteers": [award.volunteer_id for award in new],
                    "stars": [award.star for award in new],
                    "occurrences": [award.occurrence for award in new],
                    "thresholds": [award.threshold_minutes for award in new],
                    "totals": [award.minutes_total for award in new],
                    "reversals": [award.withdrawn_by for award in new],
                    "withdrawn": [award.withdrawn_at for award in new],
                    "rules": [award.rule for award in new],
                    "earned": [award.earned_at for award in new],
                },
            )


_MAKE_TALLIES = sa.text(
    "INSERT INTO tallies (volunteer_id)"
    " SELECT id FROM unnest(CAST(:volunteers AS uuid[])) AS new (id) ORDER BY id ON CONFLICT DO NOTHING"
)
_LOCK_TALLIES = sa.text(
    "SELECT volunteer_id, minutes, live FROM tallies WHERE volunteer_id = ANY(:volunteers)"
    " ORDER BY volunteer_id FOR UPDATE"
)
_LAST_AWARDS = sa.text(
    "SELECT DISTINCT ON (volunteer_id, star)"
    " volunteer_id, star, occurrence, award_id, withdrawn_at IS NULL AS held"
    " FROM stars WHERE volunteer_id = ANY(:volunteers) ORDER BY volunteer_id, star, occurrence DESC"
)
_ENTRIES = sa.text(
    "SELECT entry_id, volunteer_id, minutes, reversed_by FROM tally_entries WHERE entry_id = ANY(:entries)"
)
_WRITE_TALLIES = sa.text(
    "UPDATE tallies SET minutes = new.minutes, live = new.live"
    " FROM unnest(CAST(:volunteers AS uuid[]), CAST(:minutes AS bigint[]), CAST(:live AS boolean[]))"
    " AS new (volunteer_id, minutes, live)"
    " WHERE tallies.volunteer_id = new.volunteer_id"
)
_INSERT_ENTRIES = sa.text(
    "INSERT INTO tally_entries (entry_id, volunteer_id, minutes, reversed_by)"
    " SELECT * FROM unnest(CAST(:entries AS uuid[]), CAST(:volunteers AS uuid[]), CAST(:minutes AS bigint[]),"
    " CAST(:reversals AS uuid[]))"
)
_REVERSE_ENTRIES = sa.text(
    "UPDATE tally_entries SET reversed_by = new.reversal_id"
    " FROM unnest(CAST(:entries AS uuid[]), CAST(:reversals AS uuid[])) AS new (entry_id, reversal_id)"
    " WHERE tally_entries.entry_id = new.entry_id"
)
_INSERT_AWARDS = sa.text(
    "INSERT INTO stars (award_id, volunteer_id, star, occurrence, threshold_minutes, minutes_total,"
    " withdrawn_by, withdrawn_at, rule, earned_at)"
    " SELECT * FROM unnest(CAST(:awards AS uuid[]), CAST(:volunteers AS uuid[]), CAST(:stars AS smallint[]),"
    " CAST(:occurrences AS integer[]), CAST(:thresholds AS integer[]), CAST(:totals AS bigint[]),"
    " CAST(:reversals AS uuid[]), CAST(:withdrawn AS timestamptz[]), CAST(:rules AS text[]),"
    " CAST(:earned AS timestamptz[]))"
)
_WITHDRAW_AWARDS = sa.text(
    "UPDATE stars SET withdrawn_at = new.moment, withdrawn_by = new.reversal_id"
    " FROM unnest(CAST(:awards AS uuid[]), CAST(:reversals AS uuid[]), CAST(:moments AS timestamptz[]))"
    " AS new (award_id, reversal_id, moment)"
    " WHERE stars.award_id = new.award_id"
)

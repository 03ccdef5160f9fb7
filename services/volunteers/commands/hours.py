"""Service time enters the ledger, and is taken back by reversals; whole batches with a fixed number of statements.

Whoever writes about a volunteer's hours first locks the volunteer's row, all rows of a batch in the order of their
ids. What is read after that stays true until the commit, so the rules are checked in Python against what the ledger
holds, and the inserts cannot collide. The exclusion constraint stands behind that for whoever forgets the lock.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import outbox
from xinhuo.chassis.db import ask_with_time
from xinhuo.chassis.errors import RuleError
from xinhuo.chassis.identity.actor import Access, Reach, access_of
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.roundtrips import ask, at_commit
from xinhuo.chassis.row_security import wide
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed

from .. import domain, reach
from ..models import Entered, Entry, Existing, Reversed, Served, ledger_entries
from .diary import Diary, Span
from .limits import day_limit

_LOCK = sa.text("SELECT id, state FROM volunteers WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE")
_ACTIVITIES = sa.text(
    """
    SELECT id, team_code, unit_code, category, starts_at, ends_at FROM activities
    WHERE id = ANY(CAST(:ids AS uuid[]))
    """
)
#: The units above that of each activity, its own included: whoever is to log there must be of one of them.
_ABOVE = sa.text(
    """
    WITH RECURSIVE above AS (
        SELECT DISTINCT unit_code AS unit, unit_code AS code FROM activities WHERE id = ANY(CAST(:ids AS uuid[]))
        UNION
        SELECT above.unit, known.parent_code
        FROM above JOIN known_units AS known ON known.code = above.code AND known.parent_code IS NOT NULL
    )
    SELECT unit, code FROM above
    """
)
#: Spans of a volunteer do not overlap: of those that begin before a window only the last one can reach into it. Each is
#: looked up by its beginning in the index ``service_spans_in_order``, for which the conditions are spelled so: joined,
#: or asked for the volunteer by ``=``, PostgreSQL looks for them among the spans of everybody.
_SPANS = sa.text(
    """
    SELECT span.volunteer_id, lower(span.span), upper(span.span), span.activity_id, span.served_on, span.minutes,
        span.entry_id
    FROM unnest(CAST(:volunteers AS uuid[]), CAST(:lows AS timestamptz[]), CAST(:highs AS timestamptz[]))
        AS wanted (volunteer_id, low, high)
    CROSS JOIN LATERAL (
        (SELECT * FROM service_spans AS within
            WHERE uuid_hash(within.volunteer_id) = uuid_hash(wanted.volunteer_id)
                AND coalesce(within.volunteer_id = wanted.volunteer_id, false)
                AND lower(within.span) >= wanted.low AND lower(within.span) < wanted.high
            ORDER BY uuid_hash(within.volunteer_id), lower(within.span))
        UNION ALL
        (SELECT * FROM service_spans AS before
            WHERE uuid_hash(before.volunteer_id) = uuid_hash(wanted.volunteer_id)
                AND coalesce(before.volunteer_id = wanted.volunteer_id, false)
                AND lower(before.span) < wanted.low
            ORDER BY uuid_hash(before.volunteer_id) DESC, lower(before.span) DESC LIMIT 1)
    ) AS span
    WHERE upper(span.span) > wanted.low
    """
)
_ENTER = sa.text(
    """
    WITH new AS (
        SELECT n.*, a.team_code, a.unit_code, a.category
        FROM unnest(
            CAST(:ids AS uuid[]), CAST(:volunteers AS uuid[]), CAST(:activities AS uuid[]),
            CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]), CAST(:days AS date[]),
            CAST(:minutes AS integer[]), CAST(:attention AS boolean[]), CAST(:recorders AS uuid[]))
            AS n (id, volunteer_id, activity_id, started_at, ended_at, served_on, minutes, needs_attention, recorded_by)
        JOIN activities AS a ON a.id = n.activity_id
    ), spans AS (
        INSERT INTO service_spans (entry_id, volunteer_id, activity_id, span, served_on, minutes)
        SELECT id, volunteer_id, activity_id, tstzrange(started_at, ended_at), served_on, minutes FROM new
    )
    INSERT INTO ledger_entries (id, kind, volunteer_id, activity_id, team_code, unit_code, category, started_at,
        ended_at, served_on, minutes, source, import_id, needs_attention, recorded_at, recorded_by, approved_by)
    SELECT id, 'entry', volunteer_id, activity_id, team_code, unit_code, category, started_at,
        ended_at, served_on, minutes, :source, CAST(:import_id AS uuid), needs_attention, :now, recorded_by,
        CAST(:approved_by AS uuid)
    FROM new
    """
)
_ENTRIES = sa.text(
    """
    SELECT id, kind, reverses, volunteer_id, activity_id, team_code, unit_code, category, started_at, ended_at,
        served_on, minutes, source, import_id, needs_attention, reason_code, recorded_at, recorded_by, approved_by
    FROM ledger_entries WHERE id = ANY(CAST(:ids AS uuid[]))
    """
)
_REVERSALS = sa.text("SELECT reverses, id FROM ledger_entries WHERE reverses = ANY(CAST(:ids AS uuid[]))")
_REVERSE = sa.text(
    """
    WITH new AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:reversed AS uuid[])) AS n (reversal_id, entry_id)
    ), freed AS (
        DELETE FROM service_spans WHERE entry_id = ANY(CAST(:reversed AS uuid[]))
    )
    INSERT INTO ledger_entries (id, kind, reverses, volunteer_id, activity_id, team_code, unit_code, category,
        started_at, ended_at, served_on, minutes, source, import_id, needs_attention, reason_code, recorded_at,
        recorded_by, approved_by)
    SELECT new.reversal_id, 'reversal', e.id, e.volunteer_id, e.activity_id, e.team_code, e.unit_code, e.category,
        e.started_at, e.ended_at, e.served_on, -e.minutes, e.source, e.import_id, false, :reason_code, :now,
        CAST(:recorded_by AS uuid), CAST(:approved_by AS uuid)
    FROM new JOIN ledger_entries AS e ON e.id = new.entry_id
    """
)
_ENTERING = sa.text("SELECT set_config('xinhuo.entering', :places, true)")
_DAY = timedelta(days=1)
#: Nobody has served until then, and the calendar goes on for a day.
_FAR = datetime(9999, 12, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where entries come from: in which way, by which import, and who recorded and who approved them."""

    source: str = "api"
    import_id: UUID | None = None
    recorded_by: UUID | None = None
    """By default the account for whom each is entered."""
    approved_by: UUID | None = None


BY_API = Origin()


class _Activity(NamedTuple):
    team_code: str
    unit_code: str
    category: str
    opens_at: datetime
    closes_at: datetime


def lock_volunteers(session: Session, volunteer_ids: Iterable[UUID]) -> dict[UUID, str]:
    """Hold these volunteers' ledgers until the end of the transaction; return the state of each one that exists.

    A transaction that calls ``log_hours`` or ``reverse_entries`` more than once calls this first, with everyone
    it will touch: otherwise two such transactions could wait for each other in a circle.
    """
    [found] = ask(session, (_LOCK, {"ids": list(volunteer_ids)}))
    return dict(found)


def log_hours(
    session: Session,
    items: Sequence[Served],
    *,
    by: Sequence[Access] | None = None,
    now: datetime | None = None,
    origin: Origin = BY_API,
    traces: Sequence[str | None] | None = None,
) -> list[Entered | Existing | RuleError]:
    """Enter service time in the ledger, each item for itself, and record ``HoursLogged`` for each new entry.

    ``by`` says for whom each item is entered, by default all for whom the session works; an activity that is out of
    his reach is unknown. ``now`` is the database's time, asked for when it is not given. ``traces`` says to which
    trace each item belongs, by default all to that of the work at hand.
    Returns one outcome for each item, in order: ``Entered``; ``Existing`` when the ledger holds exactly this
    service (same volunteer, activity, start, end and minutes); or the broken rule: ``VolunteerUnknown``,
    ``VolunteerNotVerified``, ``ActivityUnknown``, ``EndsBeforeStart``, ``InvalidHours``, ``ServedInFuture``,
    ``OutsideActivity``, ``OverlappingService`` naming the other entry if it is in reach, ``DayLimitExceeded``. Of two
    items that exclude each other the first wins. A batch of any size asks once and writes once, and asks once more
    when something exists.
    """
    if not items:
        return []
    by = by or [access_of(session)] * len(items)
    with wide(session):  # who served may be of another unit
        entered, outcomes, now = _weigh(session, items, by, now, origin)
    made_by = zip(outcomes, traces or (), strict=traces is not None)
    belonging = {one.id: its for one, its in made_by if isinstance(one, Entry)}
    if entered:
        _bind(session, by)
    _enter(session, list(entered.values()), now, origin, belonging)
    _hide_foreign(session, outcomes, by)
    known = entered | _load_entries(session, {one for one in outcomes if isinstance(one, UUID)} - entered.keys())
    return [
        Entered(one) if isinstance(one, Entry) else Existing(known[one]) if isinstance(one, UUID) else one
        for one in outcomes
    ]


def _bind(session: Session, by: Sequence[Access]) -> None:
    """Let the database take entries only at places that somebody of these reaches, whatever was checked before.

    Requests that arrive together are entered together: the lock knows the places of all of them.
    """
    if any(access.reach is Reach.ALL or access.actor is None for access in by):
        return
    actors = [(access.reach, access.actor) for access in by if access.actor is not None]
    places = {
        "units": sorted({one.unit for reach_, one in actors if reach_ is Reach.OWN and one.unit is not None}),
        "teams": sorted({one.team for reach_, one in actors if reach_ is Reach.TEAM and one.team is not None}),
    }
    at_commit(session, _ENTERING, {"places": json.dumps(places)})


def check_one(session: Session, item: Served, by: Access, now: datetime) -> Entry | UUID:
    """Check an item as ``log_hours`` does and enter nothing: return the entry it would become, or the id of the same.

    Raises the broken rule. The volunteer's ledger is held until the end of the transaction.
    """
    _, outcomes, _ = _weigh(session, [item], [by], now, BY_API)
    _hide_foreign(session, outcomes, [by])
    if isinstance(outcomes[0], RuleError):
        raise outcomes[0]
    return outcomes[0]


def _weigh(
    session: Session, items: Sequence[Served], by: Sequence[Access], now: datetime | None, origin: Origin
) -> tuple[dict[UUID, Entry], list[Entry | UUID | RuleError], datetime]:
    """Return the new entries, what becomes of each item, and the time of it; nothing is written."""
    times = [(domain.as_instant(item.started_at), domain.as_instant(item.ended_at)) for item in items]
    activity_ids = {"ids": list({item.activity_id for item in items})}
    asked = [
        (_LOCK, {"ids": list({item.volunteer_id for item in items})}),
        (_ACTIVITIES, activity_ids),
        (_SPANS, _windows(items, times)),
    ]
    if any(access.reach is Reach.OWN for access in by):
        asked.append((_ABOVE, activity_ids))
    told, (people, activities, spans, *above) = ask_with_time(session, *asked)
    units_above = {(unit, code) for found in above for unit, code in found}
    now = now or told
    states = dict(people)
    places = {key: _Activity(*described) for key, *described in activities}
    checked = [
        _check_alone(item, time, states, _reached(places.get(item.activity_id), access, units_above), now)
        for item, time, access in zip(items, times, by, strict=True)
    ]
    diaries: defaultdict[UUID, Diary] = defaultdict(Diary)
    for volunteer_id, *span in spans:
        diaries[volunteer_id].add(Span(*span))
    entered: dict[UUID, Entry] = {}
    outcomes: list[Entry | UUID | RuleError] = []
    for item, served, access in zip(items, checked, by, strict=True):
        if isinstance(served, RuleError):
            outcomes.append(served)
            continue
        diary = diaries[item.volunteer_id]
        try:
            outcome = _admit(diary, item, served, places[item.activity_id], now, origin, access)
        except RuleError as error:
            outcomes.append(error)
            continue
        if isinstance(outcome, Entry):
            entered[outcome.id] = outcome
        outcomes.append(outcome)
    return entered, outcomes, now


def log_loaded(session: Session, items: Sequence[Served | RuleError]) -> list[Entered | Existing | RuleError]:
    """Do as ``log_hours`` with items of which some were refused before they got here; those stay as they are."""
    outcomes = iter(log_hours(session, [item for item in items if isinstance(item, Served)]))
    return [next(outcomes) if isinstance(item, Served) else item for item in items]


def reverse_entries(
    session: Session,
    entry_ids: Sequence[UUID],
    reason_code: str,
    now: datetime,
    *,
    asked_by: UUID | None = None,
    approved_by: UUID | None = None,
) -> list[Reversed | RuleError]:
    """Take entries back, each for itself, and record ``HoursReversed`` for each; the time can be logged again.

    What two persons do was ``asked_by`` the one and ``approved_by`` the other.

    Returns one outcome for each id, in order: ``Reversed`` with the new ledger row, ``EntryNotFound`` (also for what
    is out of reach),
    ``ReversalIsFinal``, or ``EntryAlreadyReversed`` naming the reversal. Uses five statements for any number.
    """
    entries = _load_entries(session, set(entry_ids))
    if access_of(session).reach is not Reach.ALL:
        in_reach = sa.select(ledger_entries.c.id).where(ledger_entries.c.id.in_(entries), *reach.of_entries(session))
        entries = {entry_id: entries[entry_id] for entry_id in session.scalars(in_reach)}
    with wide(session):  # who served here may be of another unit
        lock_volunteers(session, {entry.volunteer_id for entry in entries.values()})
    reversals: dict[UUID, UUID] = {}
    if entries:
        found = session.execute(_REVERSALS, {"ids": list(entries)})
        reversals = {entry_id: reversal_id for entry_id, reversal_id in found}
    actor = access_of(session).actor
    recorded_by = asked_by or (actor.subject if actor else None)
    outcomes: list[Reversed | RuleError] = []
    for entry_id in entry_ids:
        entry = entries.get(entry_id)
        if entry is None:
            outcomes.append(domain.EntryNotFound(str(entry_id)))
            continue
        earlier = reversals.get(entry_id)
        try:
            domain.check_reversal(is_reversal=entry.kind == "reversal", reversed_by=str(earlier) if earlier else None)
        except RuleError as error:
            outcomes.append(error)
            continue
        reversal = _reversal_of(entry, reason_code, now, recorded_by, approved_by)
        reversals[entry_id] = reversal.id
        outcomes.append(Reversed(reversal))
    made = [outcome.entry for outcome in outcomes if isinstance(outcome, Reversed)]
    if made:
        with wide(session):
            session.execute(
                _REVERSE,
                {
                    "ids": [reversal.id for reversal in made],
                    "reversed": [reversal.reverses for reversal in made],
                    "reason_code": reason_code,
                    "now": now,
                    "recorded_by": recorded_by,
                    "approved_by": approved_by,
                },
            )
    outbox.record_all(session, [_hours_reversed(reversal) for reversal in made])
    return outcomes


def _load_entries(session: Session, ids: Collection[UUID]) -> dict[UUID, Entry]:
    if not ids:
        return {}
    return {row["id"]: Entry(**row) for row in session.execute(_ENTRIES, {"ids": list(ids)}).mappings().all()}


def _windows(items: Sequence[Served], times: Sequence[tuple[datetime, datetime]]) -> dict[str, Any]:
    """Return whose spans in force can matter, and which: those of the same office days, or overlapping."""
    windows: dict[UUID, tuple[datetime, datetime]] = {}
    for item, (started_at, ended_at) in zip(items, times, strict=True):
        if not started_at < ended_at < _FAR:
            continue  # the rules refuse it, whatever the ledger holds
        low = _midnight(started_at)
        high = max(low + _DAY, ended_at)
        if earlier := windows.get(item.volunteer_id):
            low, high = min(low, earlier[0]), max(high, earlier[1])
        windows[item.volunteer_id] = low, high
    return {
        "volunteers": list(windows),
        "lows": [low for low, _ in windows.values()],
        "highs": [high for _, high in windows.values()],
    }


def _midnight(at: datetime) -> datetime:
    """Return when the office day of an instant began."""
    return datetime.combine(at.astimezone(domain.OFFICE_ZONE), time(0), domain.OFFICE_ZONE)


def _check_alone(
    item: Served,
    times: tuple[datetime, datetime],
    people: dict[UUID, str],
    activity: _Activity | None,
    now: datetime,
) -> domain.ServiceTime | RuleError:
    """Check the rules that need no other entry."""
    try:
        state = people.get(item.volunteer_id)
        if state is None:
            raise domain.VolunteerUnknown
        domain.check_verified(domain.VolunteerStatus(state))
        if activity is None:
            raise domain.ActivityUnknown
        started_at, ended_at = times
        minutes = item.minutes
        if minutes is None:
            # Less than one minute is left to check_hours, which knows why.
            minutes = max((ended_at - started_at) // timedelta(minutes=1), 1)
        return domain.check_hours(
            started_at, ended_at, minutes, now=now, activity=(activity.opens_at, activity.closes_at)
        )
    except RuleError as error:
        return error


def _admit(
    diary: Diary,
    item: Served,
    served: domain.ServiceTime,
    activity: _Activity,
    now: datetime,
    origin: Origin,
    access: Access,
) -> Entry | UUID:
    """Return a new entry that the diary then holds too, or the id of the one that is the same."""
    other = diary.overlapping(served.started_at, served.ended_at)
    if other is not None:
        if other.is_same(item.activity_id, served):
            return other.entry_id
        raise domain.OverlappingService(str(other.entry_id), (other.started_at, other.ended_at))
    needs_attention = domain.check_day_limit(
        diary.minutes_of(served.served_on),
        served.minutes,
        served_on=served.served_on,
        limit=day_limit(served.served_on),
    )
    entry = Entry(
        id=new_id(),
        kind="entry",
        volunteer_id=item.volunteer_id,
        activity_id=item.activity_id,
        team_code=activity.team_code,
        unit_code=activity.unit_code,
        category=activity.category,
        started_at=served.started_at,
        ended_at=served.ended_at,
        served_on=served.served_on,
        minutes=served.minutes,
        source=origin.source,
        import_id=origin.import_id,
        needs_attention=needs_attention,
        recorded_at=now,
        recorded_by=origin.recorded_by or (access.actor.subject if access.actor else None),
        approved_by=origin.approved_by,
    )
    diary.add(Span(served.started_at, served.ended_at, item.activity_id, served.served_on, served.minutes, entry.id))
    return entry


def _enter(
    session: Session, entries: Sequence[Entry], now: datetime, origin: Origin, traces: Mapping[UUID, str | None]
) -> None:
    if not entries:
        return
    # Neighbours in the indexes go in together, which saves a sixth of their cost.
    entries = sorted(entries, key=lambda entry: (entry.volunteer_id.int, entry.started_at))
    columns: dict[str, Any] = {
        "ids": [entry.id for entry in entries],
        "volunteers": [entry.volunteer_id for entry in entries],
        "activities": [entry.activity_id for entry in entries],
        "starts": [entry.started_at for entry in entries],
        "ends": [entry.ended_at for entry in entries],
        "days": [entry.served_on for entry in entries],
        "minutes": [entry.minutes for entry in entries],
        "attention": [entry.needs_attention for entry in entries],
        "recorders": [entry.recorded_by for entry in entries],
    }
    origins = {"source": origin.source, "import_id": origin.import_id, "approved_by": origin.approved_by}
    at_commit(session, _ENTER, columns | origins | {"now": now})
    outbox.record_all(
        session,
        [
            HoursLogged(
                entry_id=entry.id,
                volunteer_id=entry.volunteer_id,
                team_code=entry.team_code,
                unit_code=entry.unit_code,
                activity_id=entry.activity_id,
                category=entry.category,
                served_on=entry.served_on,
                minutes=entry.minutes,
            )
            for entry in entries
        ],
        traces=[traces[entry.id] for entry in entries] if traces else None,
    )


def _reached(activity: _Activity | None, access: Access, units_above: Collection[tuple[str, str]]) -> _Activity | None:
    """Return the activity if it is in reach: what is not, is unknown."""
    if activity is None or access.reach is Reach.ALL or access.actor is None:
        return activity
    if access.reach is Reach.OWN:
        return activity if (activity.unit_code, access.actor.unit) in units_above else None
    return activity if access.reach is Reach.TEAM and activity.team_code == access.actor.team else None


def _hide_foreign(session: Session, outcomes: list[Entry | UUID | RuleError], by: Sequence[Access]) -> None:
    """Leave in the refusals only those entries that are in reach of whoever is told."""
    named: defaultdict[Access, dict[int, UUID]] = defaultdict(dict)
    for place, (outcome, access) in enumerate(zip(outcomes, by, strict=True)):
        if isinstance(outcome, domain.OverlappingService) and access.reach is not Reach.ALL:
            named[access][place] = UUID(str(outcome.extra["other"]))
    for access, others in named.items():
        wanted = sa.select(ledger_entries.c.id).where(ledger_entries.c.id.in_(set(others.values())))
        reached = set(session.scalars(wanted.where(*reach.of_entries(session, access))))
        for place, other in others.items():
            if other not in reached:
                outcomes[place] = domain.OverlappingService(None)


def _reversal_of(
    entry: Entry, reason_code: str, now: datetime, recorded_by: UUID | None, approved_by: UUID | None
) -> Entry:
    return Entry(
        id=new_id(),
        kind="reversal",
        reverses=entry.id,
        volunteer_id=entry.volunteer_id,
        activity_id=entry.activity_id,
        team_code=entry.team_code,
        unit_code=entry.unit_code,
        category=entry.category,
        started_at=entry.started_at,
        ended_at=entry.ended_at,
        served_on=entry.served_on,
        minutes=-entry.minutes,
        source=entry.source,
        import_id=entry.import_id,
        needs_attention=False,
        reason_code=reason_code,
        recorded_at=now,
        recorded_by=recorded_by,
        approved_by=approved_by,
    )


def _hours_reversed(reversal: Entry) -> HoursReversed:
    return HoursReversed(
        reversal_id=reversal.id,
        entry_id=reversal.reverses,  # type: ignore[arg-type]  # a reversal always names its entry
        volunteer_id=reversal.volunteer_id,
        team_code=reversal.team_code,
        unit_code=reversal.unit_code,
        activity_id=reversal.activity_id,
        category=reversal.category,
        served_on=reversal.served_on,
        minutes=-reversal.minutes,
        reason_code=str(reversal.reason_code),
    )

"""What the tables say, read with plain SQL: the ledger, and what each service made of it."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

#: Which handlers must have had each event once: the schema and the name in its inbox.
HANDLERS = {
    "notices.unit_registered.v1": (("volunteers", "volunteers.follow_units"),),
    "notices.unit_changed.v1": (("volunteers", "volunteers.follow_units"),),
    "notices.notice_issued.v1": (("volunteers", "volunteers.open_categories"),),
    "volunteers.hours_logged.v1": (
        ("volunteers", "volunteers.keep_statistics"),
        ("awards", "awards.add_to_tally"),
        ("notify", "notify.acknowledge_hours"),
    ),
    "volunteers.hours_reversed.v1": (
        ("volunteers", "volunteers.keep_statistics"),
        ("awards", "awards.add_to_tally"),
    ),
    "volunteers.person_erased.v1": (
        ("awards", "awards.forget_person"),
        ("notify", "notify.forget_person"),
        ("portal", "portal.forget_person"),
    ),
    "awards.star_earned.v1": (("notify", "notify.acknowledge_star"),),
}
SCHEMAS = ("notices", "volunteers", "awards", "notify")
#: Hours of service from which on each star is held, the bound included (民函〔2012〕340号).
STAR_MINUTES = tuple(hours * 60 for hours in (100, 300, 600, 1000, 1500))

#: A piece of service time, by which calls and rows are matched: volunteer and start.
Key = tuple[str, datetime]


@dataclass
class Effect:
    """What one effect lacks and what it has too often, by the piece of service time."""

    name: str
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)


@dataclass
class Row:
    """An entry of the ledger with what was made of it."""

    id: str
    key: Key
    cell: tuple[str, date, str, str, str]
    minutes: int
    reversal: str | None = None


@dataclass
class Tables:
    """Everything that is compared."""

    rows: dict[str, Row]
    reversals: dict[str, str]
    cells: dict[tuple[str, date, str, str, str], tuple[int, int]]
    totals: dict[tuple[date, str, str, str], tuple[int, int]]
    tallied: dict[str, tuple[int, str | None]]
    tallies: dict[str, int]
    stars: list[dict[str, Any]]
    messages: Counter[tuple[str, str]]


def connect(url: str) -> "psycopg.Connection[dict[str, Any]]":
    """Open a connection whose rows are dictionaries."""
    return psycopg.connect(url, row_factory=dict_row, connect_timeout=5, autocommit=True)


def read(url: str) -> Tables:
    """Read all tables in one transaction."""
    with connect(url) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return _read(connection)


def _read(connection: "psycopg.Connection[dict[str, Any]]") -> Tables:
    ledger = connection.execute(
        "SELECT id::text, kind, reverses::text, volunteer_id::text, started_at, served_month, unit_code, team_code,"
        " category, minutes FROM volunteers.ledger_entries"
    ).fetchall()
    rows: dict[str, Row] = {}
    reversals: dict[str, str] = {}
    for line in ledger:
        if line["kind"] == "reversal":
            reversals[line["id"]] = line["reverses"]
            continue
        place = (line["served_month"], line["unit_code"], line["team_code"], line["category"])
        rows[line["id"]] = Row(
            line["id"],
            (line["volunteer_id"], line["started_at"].astimezone(UTC)),
            (line["volunteer_id"], *place),
            line["minutes"],
        )
    for reversal, entry in reversals.items():
        rows[entry].reversal = reversal
    cells = {
        (line["volunteer_id"], line["month"], line["unit_code"], line["team_code"], line["category"]): (
            line["minutes"],
            line["entries"],
        )
        for line in connection.execute("SELECT *, volunteer_id::text AS volunteer_id FROM volunteers.volunteer_months")
    }
    totals = {
        (line["month"], line["unit_code"], line["team_code"], line["category"]): (line["minutes"], line["entries"])
        for line in connection.execute("SELECT * FROM volunteers.statistics_cells")
    }
    tallied = {
        line["entry_id"]: (line["minutes"], line["reversed_by"])
        for line in connection.execute("SELECT entry_id::text, minutes, reversed_by::text FROM awards.tally_entries")
    }
    tallies = {
        line["volunteer_id"]: line["minutes"]
        for line in connection.execute("SELECT volunteer_id::text, minutes FROM awards.tallies")
    }
    stars = connection.execute(
        "SELECT award_id::text, volunteer_id::text, star, occurrence, minutes_total, withdrawn_by::text,"
        " withdrawn_at IS NULL AS held FROM awards.stars ORDER BY volunteer_id, star, occurrence"
    ).fetchall()
    messages = Counter(
        (line["occasion"], line["subject_id"])
        for line in connection.execute("SELECT occasion, subject_id::text FROM notify.messages")
    )
    return Tables(rows, reversals, cells, totals, tallied, tallies, stars, messages)


def compare(tables: Tables) -> list[Effect]:
    """Compare every effect with the ledger, entry by entry."""
    return [_statistics(tables), _tally(tables), _acknowledgements(tables)]


def _statistics(tables: Tables) -> Effect:
    """Compare cell by cell; with one entry in each cell, a cell's difference is that entry's."""
    effect = Effect("statistics")
    members: defaultdict[tuple[str, date, str, str, str], list[Row]] = defaultdict(list)
    for row in tables.rows.values():
        members[row.cell].append(row)
    for cell in members.keys() | tables.cells.keys():
        inside = members.get(cell, [])
        counted = tables.cells.get(cell, (0, 0))[1]
        difference = counted - sum(row.reversal is None for row in inside)
        names = [row.id for row in inside] or [str(cell)]
        reversed_here = sum(row.reversal is not None for row in inside)
        if difference < 0:
            effect.lost += (names * -difference)[:-difference]
        elif 0 < difference <= reversed_here:
            effect.lost += (names * difference)[:difference]  # it is the reversal that does not show
        elif difference > 0:
            effect.twice += (names * difference)[:difference]
    return effect


def _tally(tables: Tables) -> Effect:
    effect = Effect("tally")
    for row in tables.rows.values():
        known = tables.tallied.get(row.id)
        if known is None or known != (row.minutes, row.reversal):
            effect.lost.append(row.id)
    effect.twice += [entry for entry in tables.tallied if entry not in tables.rows]
    wanted: Counter[str] = Counter()
    for minutes_of in tables.rows.values():
        wanted[minutes_of.key[0]] += 0 if minutes_of.reversal else minutes_of.minutes
    for volunteer in wanted.keys() | tables.tallies.keys():
        difference = tables.tallies.get(volunteer, 0) - wanted[volunteer]
        if difference > 0:
            effect.twice.append(f"volunteer {volunteer}: {difference} minutes too many")
        elif difference < 0:
            effect.lost.append(f"volunteer {volunteer}: {-difference} minutes too few")
    return effect


def _acknowledgements(tables: Tables) -> Effect:
    effect = Effect("acknowledgement")
    wanted = [("hours_logged", entry) for entry in tables.rows]
    wanted += [("star_earned", star["award_id"]) for star in tables.stars]
    for occasion, subject in wanted:
        count = tables.messages[occasion, subject]
        if count == 0:
            effect.lost.append(subject)
        elif count > 1:
            effect.twice.append(subject)
    effect.twice += [subject for _, subject in tables.messages.keys() - set(wanted)]
    return effect


def wrong_totals(tables: Tables) -> list[str]:
    """Return where the statistics of month, unit, team and category differ from the ledger, the first ones."""
    wanted: defaultdict[tuple[date, str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for row in tables.rows.values():
        if row.reversal is None:
            wanted[row.cell[1:]][0] += row.minutes
            wanted[row.cell[1:]][1] += 1
    problems = []
    for cell in sorted(wanted.keys() | tables.totals.keys()):
        should, have = tuple(wanted.get(cell, (0, 0))), tables.totals.get(cell, (0, 0))
        if should != have:
            problems.append(f"{cell}: {have[1]} entries and {have[0]} minutes, the ledger has {should}")
    return problems


def wrong_stars(tables: Tables) -> list[str]:
    """Return which stars do not follow from the ledger, or went without a reversal."""
    minutes: Counter[str] = Counter()
    for row in tables.rows.values():
        minutes[row.key[0]] += 0 if row.reversal else row.minutes
    held: defaultdict[str, set[int]] = defaultdict(set)
    occurrences: defaultdict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    problems = []
    for star in tables.stars:
        occurrences[star["volunteer_id"], star["star"]].append(star)
        if star["held"]:
            held[star["volunteer_id"]].add(star["star"])
        elif star["withdrawn_by"] not in tables.reversals:
            problems.append(f"star {star['award_id']} was withdrawn by no reversal of the ledger")
        if star["minutes_total"] < STAR_MINUTES[star["star"] - 1]:
            problems.append(f"star {star['award_id']} was earned with {star['minutes_total']} minutes")
    for (volunteer, level), found in occurrences.items():
        if [star["occurrence"] for star in found] != list(range(1, len(found) + 1)):
            problems.append(f"star {level} of {volunteer}: occurrences are not 1 to {len(found)}")
        if any(star["held"] for star in found[:-1]):
            problems.append(f"star {level} of {volunteer}: earned again while it was held")
    for volunteer in minutes.keys() | held.keys():
        should = {number for number, bound in enumerate(STAR_MINUTES, 1) if minutes[volunteer] >= bound}
        if held[volunteer] != should:
            problems.append(f"{volunteer} has {minutes[volunteer]} minutes and holds stars {sorted(held[volunteer])}")
    return problems


def unfinished(url: str) -> dict[str, int]:
    """Count what is still on its way: unpublished events, events not yet handled, parked ones."""
    with connect(url) as connection:
        found = dict.fromkeys(("outbox", "public", "parked", "unhandled"), 0)
        for schema in SCHEMAS:
            found["outbox"] += _count(connection, f"{schema}.outbox WHERE published_at IS NULL")
            found["public"] += _count(connection, f"{schema}.outbox WHERE public AND public_published_at IS NULL")
            found["parked"] += _count(connection, f"{schema}.parked_events")
        for topic, handlers in HANDLERS.items():
            publisher = topic.partition(".")[0]
            for schema, handler in handlers:
                handled = f"SELECT 1 FROM {schema}.inbox i WHERE i.event_id = o.id AND i.handler = '{handler}'"  # noqa: S608
                of_type = f"{publisher}.outbox o WHERE o.type = '{topic}'"
                found["unhandled"] += _count(connection, f"{of_type} AND NOT EXISTS ({handled})")
    return found


def inbox_strangers(url: str) -> int:
    """Count inbox rows of events that nobody recorded."""
    recorded = " UNION ALL ".join(f"SELECT id FROM {schema}.outbox" for schema in SCHEMAS)  # noqa: S608
    with connect(url) as connection:
        return sum(
            _count(connection, f"{schema}.inbox i WHERE i.event_id NOT IN (SELECT id FROM ({recorded}) AS known)")  # noqa: S608
            for schema in SCHEMAS
        )


def dead_letters(url: str) -> list[dict[str, Any]]:
    """Return the dead letters of all services that wait to be looked at."""
    letters = " UNION ALL ".join(
        f"SELECT handler, reason, encode(body_hash, 'hex') AS sha256 FROM {schema}.dead_letters WHERE state = 'waiting'"  # noqa: S608
        for schema in SCHEMAS
    )
    with connect(url) as connection:
        return connection.execute(letters.encode()).fetchall()


def _count(connection: "psycopg.Connection[dict[str, Any]]", what: str) -> int:
    row = connection.execute(f"SELECT count(*) AS number FROM {what}".encode()).fetchone()  # noqa: S608
    return int(row["number"]) if row else 0

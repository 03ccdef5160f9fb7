"""The tallies against the entries in them, the stars against the tallies, and both against the ledger."""

from datetime import timedelta

from xinhuo.chassis.db import Database, database_now
from xinhuo.chassis.reconcile import handling
from xinhuo.chassis.reconcile.books import Book
from xinhuo.chassis.reconcile.compare import Copy, compare_tables, snapshot
from xinhuo.chassis.reconcile.results import Result
from xinhuo.contracts.awards import StarEarned
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed

from . import thresholds

_SERVICE = "awards"
_HANDLER = "awards.add_to_tally"

BOOKS = {
    "stars": Book(
        "stars",
        "SELECT award_id AS key, 'volunteer ' || volunteer_id || ', occurrence ' || occurrence AS value FROM stars",
        StarEarned.topic,
        ordered=False,
    )
}
COPIES = (
    Copy(
        "ledger_tally_entries",
        "volunteers",
        "entries",
        Book(
            "tally-entries",
            "SELECT entry_id AS key, 'volunteer ' || volunteer_id || ', minutes ' || minutes AS value"
            " FROM tally_entries",
            HoursLogged.topic,
        ),
        _HANDLER,
    ),
    Copy(
        "ledger_tally_reversals",
        "volunteers",
        "reversals",
        Book(
            "tally-reversals",
            "SELECT reversed_by AS key, 'entry ' || entry_id AS value FROM tally_entries WHERE reversed_by IS NOT NULL",
            HoursReversed.topic,
        ),
        _HANDLER,
    ),
)

_COUNTED = """
    SELECT CAST(volunteer_id AS text) AS key, 'minutes ' || sum(minutes) AS value
    FROM tally_entries WHERE reversed_by IS NULL GROUP BY volunteer_id
"""
_TALLIED = "SELECT CAST(volunteer_id AS text) AS key, 'minutes ' || minutes AS value FROM tallies WHERE minutes <> 0"
_LEVELS = (
    "unnest(CAST(:stars AS smallint[]), CAST(:low AS bigint[]), CAST(:high AS bigint[])) AS level (star, low, high)"
)
# Between the lowest and the highest threshold that ever was in force for a star both are right: nobody earns or
# loses a star because a table changed.
_DESERVED = f"""
    SELECT t.volunteer_id || ' star ' || level.star AS key, 'held' AS value
    FROM tallies AS t JOIN {_LEVELS} ON t.minutes >= level.high
        OR (t.minutes >= level.low AND EXISTS (SELECT FROM stars AS s
            WHERE s.volunteer_id = t.volunteer_id AND s.star = level.star AND s.withdrawn_at IS NULL))
"""  # noqa: S608  (our own text)
_HELD = "SELECT volunteer_id || ' star ' || star AS key, 'held' AS value FROM stars WHERE withdrawn_at IS NULL"


def compare_tallies(db: Database, patience: timedelta) -> list[Result]:
    """Compare tallies with their entries, and stars with what the tallies deserve; both in one snapshot."""
    del patience  # a tally, its entries and its stars change in one transaction
    with snapshot(db) as session:
        today = database_now(session).date()
        rules = [rule.value.minutes for rule in thresholds.versions() if rule.valid_from <= today]
        stars = range(1, max((len(minutes) for minutes in rules), default=0) + 1)
        ever = [[minutes[star - 1] for minutes in rules if len(minutes) >= star] for star in stars]
        return [
            compare_tables(
                session, _SERVICE, "tally_entries_tallies", expected=_COUNTED, found=_TALLIED, explain=_explain
            ),
            compare_tables(
                session,
                _SERVICE,
                "tallies_stars",
                expected=_DESERVED,
                found=_HELD,
                parameters={
                    "stars": list(stars),
                    "low": [min(one) for one in ever],
                    "high": [max(one) for one in ever],
                },
                explain=_explain,
            ),
        ]


def _explain(kind: str) -> tuple[str, str, str]:
    cause = {"missing": "handled", "extra": "unfounded", "different": "changed"}[kind]
    return cause, "", handling.rebuild_of(_SERVICE)

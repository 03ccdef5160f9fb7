"""The acknowledgements against what they acknowledge: one for each entry of the ledger, one for each star earned."""

from xinhuo.chassis.reconcile.books import Book
from xinhuo.chassis.reconcile.compare import Copy
from xinhuo.contracts.awards import StarEarned
from xinhuo.contracts.volunteers import HoursLogged


def _told(name: str, occasion: str, event: str, *, ordered: bool) -> Book:
    # Grouped, so that two messages about one thing show as a value of their own.
    return Book(
        name,
        "SELECT subject_id AS key, string_agg('volunteer ' || volunteer_id || ', occurrence ' || occurrence, '; '"  # noqa: S608
        f" ORDER BY volunteer_id, occurrence) AS value FROM messages WHERE occasion = '{occasion}'"
        " GROUP BY subject_id",
        event,
        ordered,
    )


COPIES = (
    Copy(
        "ledger_acknowledgements",
        "volunteers",
        "entries-told",
        _told("acknowledged-entries", "hours_logged", HoursLogged.topic, ordered=True),
        "notify.acknowledge_hours",
    ),
    Copy(
        "stars_acknowledgements",
        "awards",
        "stars",
        _told("acknowledged-stars", "star_earned", StarEarned.topic, ordered=False),
        "notify.acknowledge_star",
    ),
)

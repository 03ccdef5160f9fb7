"""What other services announced and this one needs at hand: units, and notices with their open categories."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.contracts.codec import Envelope
from xinhuo.contracts.notices import NoticeIssued, UnitChanged, UnitRegistered

_KEEP_UNITS = sa.text(
    """
    INSERT INTO known_units AS known (code, kind, parent_code, revision)
    SELECT * FROM unnest(
        CAST(:codes AS text[]), CAST(:kinds AS text[]), CAST(:parents AS text[]), CAST(:revisions AS integer[]))
    ON CONFLICT (code) DO UPDATE
    SET kind = excluded.kind, parent_code = excluded.parent_code, revision = excluded.revision
    WHERE known.revision < excluded.revision
    """
)
_KEEP_NOTICES = sa.text(
    """
    INSERT INTO known_notices (notice_id, number, issued_on, starts_at, ends_at, categories)
    VALUES (:notice_id, :number, :issued_on, :starts_at, :ends_at, :categories)
    ON CONFLICT (notice_id) DO NOTHING
    """
)


def follow_units(session: Session, envelopes: Sequence[Envelope]) -> None:
    """Keep the newest known state of each unit, in whatever order the events come.

    A registration counts as revision 0: every change of the unit is newer.
    """
    newest: dict[str, tuple[int, UnitRegistered | UnitChanged]] = {}
    for envelope in envelopes:
        data = envelope.data
        if isinstance(data, UnitRegistered | UnitChanged):
            revision = data.revision if isinstance(data, UnitChanged) else 0
            if data.unit_code not in newest or newest[data.unit_code][0] < revision:
                newest[data.unit_code] = revision, data
    # Sorted, so that two workers never wait for each other in a circle.
    units = [newest[code] for code in sorted(newest)]
    session.execute(
        _KEEP_UNITS,
        {
            "codes": [unit.unit_code for _, unit in units],
            "kinds": [unit.kind for _, unit in units],
            "parents": [unit.parent_code for _, unit in units],
            "revisions": [revision for revision, _ in units],
        },
    )


def open_categories(session: Session, envelopes: Sequence[Envelope]) -> None:
    """Note the categories that each issued notice opens."""
    issued = {
        envelope.data.notice_id: envelope.data for envelope in envelopes if isinstance(envelope.data, NoticeIssued)
    }
    if not issued:
        return
    session.execute(
        _KEEP_NOTICES,
        [
            {
                "notice_id": notice.notice_id,
                "number": notice.number,
                "issued_on": notice.issued_on,
                "starts_at": notice.starts_at,
                "ends_at": notice.ends_at,
                "categories": [category.code for category in notice.categories],
            }
            for _, notice in sorted(issued.items())
        ],
    )

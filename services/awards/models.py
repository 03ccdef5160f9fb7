"""The tables of awards as queries name them; their constraints and indexes are made by the migrations."""

import sqlalchemy as sa

metadata = sa.MetaData()
_INSTANT = sa.DateTime(timezone=True)

#: The minutes that count for each volunteer; its row is the lock of all that is known about the volunteer.
tallies = sa.Table(
    "tallies",
    metadata,
    sa.Column("volunteer_id", sa.Uuid, primary_key=True),
    sa.Column("minutes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    # False while all that counts was brought back by a replay: its stars were announced when they were earned.
    sa.Column("live", sa.Boolean, nullable=False, server_default=sa.text("false")),
)

#: The ledger entries in the tallies, so that a reversal finds what it takes back, and finds it once.
tally_entries = sa.Table(
    "tally_entries",
    metadata,
    sa.Column("entry_id", sa.Uuid, primary_key=True),
    sa.Column("volunteer_id", sa.Uuid, sa.ForeignKey("tallies.volunteer_id"), nullable=False),
    sa.Column("minutes", sa.BigInteger, nullable=False),
    sa.Column("reversed_by", sa.Uuid),
)

#: Those who were erased: nobody is shown their stars.
erased_persons = sa.Table(
    "erased_persons",
    metadata,
    sa.Column("volunteer_id", sa.Uuid, primary_key=True),
    sa.Column("erased_at", _INSTANT, nullable=False, server_default=sa.text("clock_timestamp()")),
)

#: Every occurrence of a star: earned once, perhaps withdrawn by a reversal, never deleted.
stars = sa.Table(
    "stars",
    metadata,
    sa.Column("award_id", sa.Uuid, primary_key=True),
    sa.Column("volunteer_id", sa.Uuid, sa.ForeignKey("tallies.volunteer_id"), nullable=False),
    sa.Column("star", sa.SmallInteger, nullable=False),
    sa.Column("occurrence", sa.Integer, nullable=False),
    sa.Column("earned_at", _INSTANT, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("threshold_minutes", sa.Integer, nullable=False),
    sa.Column("minutes_total", sa.BigInteger, nullable=False),
    sa.Column("withdrawn_at", _INSTANT),
    sa.Column("withdrawn_by", sa.Uuid),
)

"""The tables of release 0.1: tallies of service time, the entries behind them, and the stars they earned."""

import sqlalchemy as sa
from alembic import op

from xinhuo.chassis import tables

revision = "0001"
down_revision = None
phase = "expand"

_TABLES = (
    """
    CREATE TABLE tallies (
        volunteer_id uuid PRIMARY KEY,
        minutes bigint NOT NULL DEFAULT 0 CONSTRAINT tally_not_negative CHECK (minutes >= 0)
    )
    """,
    """
    CREATE TABLE tally_entries (
        entry_id uuid PRIMARY KEY,
        volunteer_id uuid NOT NULL REFERENCES tallies,
        minutes bigint NOT NULL CONSTRAINT entry_minutes_positive CHECK (minutes > 0),
        reversed_by uuid
    )
    """,
    """
    CREATE UNIQUE INDEX tally_entries_one_reversal ON tally_entries (reversed_by)
        WHERE reversed_by IS NOT NULL
    """,
    """
    CREATE TABLE stars (
        award_id uuid PRIMARY KEY,
        volunteer_id uuid NOT NULL REFERENCES tallies,
        star smallint NOT NULL CONSTRAINT star_one_to_five CHECK (star BETWEEN 1 AND 5),
        occurrence integer NOT NULL CONSTRAINT occurrence_from_one CHECK (occurrence >= 1),
        earned_at timestamptz NOT NULL,
        rule text NOT NULL,
        threshold_minutes integer NOT NULL,
        minutes_total bigint NOT NULL,
        withdrawn_at timestamptz,
        withdrawn_by uuid,
        CONSTRAINT star_occurrence_once UNIQUE (volunteer_id, star, occurrence),
        CONSTRAINT earned_at_threshold CHECK (minutes_total >= threshold_minutes),
        CONSTRAINT withdrawn_by_a_reversal CHECK ((withdrawn_at IS NULL) = (withdrawn_by IS NULL))
    )
    """,
    # A star is held once at a time, whatever the code believes.
    "CREATE UNIQUE INDEX stars_held_once ON stars (volunteer_id, star) WHERE withdrawn_at IS NULL",
    "CREATE INDEX stars_by_star ON stars (star, award_id)",
)


def upgrade() -> None:
    tables.create_first(op.get_bind())
    for statement in _TABLES:
        op.execute(sa.text(statement))


def downgrade() -> None:
    op.execute(sa.text("DROP TABLE stars, tally_entries, tallies"))
    tables.drop_first(op.get_bind())

"""Awards that keep their ids in a replay: lists go by the time they were earned, tallies know what was brought back."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
phase = "expand"
branch_labels = None
depends_on = None

_UP = (
    "ALTER TABLE tallies ADD COLUMN live boolean NOT NULL DEFAULT false",
    # What was counted before was counted as it happened.
    "UPDATE tallies SET live = true",
    "CREATE INDEX stars_newest ON stars (earned_at, award_id)",
    "CREATE INDEX stars_newest_by_star ON stars (star, earned_at, award_id)",
    "DROP INDEX stars_by_star",
)
_DOWN = (
    "CREATE INDEX stars_by_star ON stars (star, award_id)",
    "DROP INDEX stars_newest, stars_newest_by_star",
    "ALTER TABLE tallies DROP COLUMN live",
)


def upgrade() -> None:
    _run(_UP)


def downgrade() -> None:
    _run(_DOWN)


def _run(statements: tuple[str, ...]) -> None:
    for statement in statements:
        op.execute(sa.text(statement))

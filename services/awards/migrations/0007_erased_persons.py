"""Persons who were erased: their tallies go on counting, and nobody is shown their stars."""

from alembic import op

revision = "0007"
down_revision = "0006"
phase = "expand"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE erased_persons (volunteer_id uuid PRIMARY KEY,"
        " erased_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )


def downgrade() -> None:
    op.execute("DROP TABLE erased_persons")

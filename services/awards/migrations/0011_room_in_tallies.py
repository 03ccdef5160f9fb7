"""Tallies change all the time: their pages leave room for it, so that no index has to follow."""

from alembic import op

revision = "0011"
down_revision = "0010"
phase = "expand"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE tallies SET (fillfactor = 80)")


def downgrade() -> None:
    op.execute("ALTER TABLE tallies RESET (fillfactor)")

"""The desk for dead letters: who sent which again or dropped it, and why."""

from alembic import op

from xinhuo.chassis import tables

revision = "0002"
down_revision = "0001"
phase = "expand"
branch_labels = None
depends_on = None


def upgrade() -> None:
    tables.add_dead_letter_desk(op.get_bind())


def downgrade() -> None:
    tables.drop_dead_letter_desk(op.get_bind())

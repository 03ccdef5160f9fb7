"""Where the newest result of each comparison is kept."""

from alembic import op

from xinhuo.chassis import tables

revision = "0004"
down_revision = "0003"
phase = "expand"
branch_labels = None
depends_on = None


def upgrade() -> None:
    tables.add_reconciliations(op.get_bind())


def downgrade() -> None:
    tables.drop_reconciliations(op.get_bind())

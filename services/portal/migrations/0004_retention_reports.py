"""What was removed when its time had come, and why."""

from alembic import op

from xinhuo.chassis import tables

revision = "0004"
down_revision = "0003"
phase = "expand"
branch_labels = None
depends_on = None


def upgrade() -> None:
    tables.add_retention_reports(op.get_bind())


def downgrade() -> None:
    tables.drop_retention_reports(op.get_bind())

"""The audit log, append-only and chained."""

from alembic import op

from xinhuo.chassis import tables

revision = "0002"
down_revision = "0001"
phase = "expand"
branch_labels = None
depends_on = None


def upgrade() -> None:
    tables.add_audit(op.get_bind())


def downgrade() -> None:
    tables.drop_audit(op.get_bind())

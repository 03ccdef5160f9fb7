"""The outbox in monthly partitions, so that old ones can be dropped."""

from alembic import op

from xinhuo.chassis import tables

revision = "0005"
down_revision = "0004"
phase = "contract"
works_from = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    tables.partition_outbox(op.get_bind())


def downgrade() -> None:
    tables.unite_outbox(op.get_bind())

"""The service works as a role that owns nothing.

No policies: signing in looks at every account before it is known who asks, and an operator's accounts are those of
his own unit, not of a tree."""

from alembic import op

from xinhuo.chassis import tables

revision = "0003"
down_revision = "0002"
phase = "contract"
works_from = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    tables.add_role(connection)


def downgrade() -> None:
    connection = op.get_bind()
    tables.drop_role(connection)

"""The unified social credit code of a unit (GB 32100-2015), where it is known."""

from alembic import op

revision = "0008"
down_revision = "0007"
phase = "expand"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE units ADD COLUMN credit_code text CHECK (credit_code ~ '^[0-9A-Y]{18}$')")


def downgrade() -> None:
    op.execute("ALTER TABLE units DROP COLUMN credit_code")

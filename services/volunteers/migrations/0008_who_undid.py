"""Who asked for an import to be undone: the reversals that a worker makes later are his."""

from alembic import op

revision = "0008"
down_revision = "0007"
phase = "expand"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE imports ADD COLUMN undone_by uuid, ADD COLUMN undone_as text")
    op.execute(
        "ALTER TABLE imports ADD CONSTRAINT imports_undone_by_whom CHECK ((undone_by IS NULL) = (undone_as IS NULL))"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE imports DROP COLUMN undone_by, DROP COLUMN undone_as")

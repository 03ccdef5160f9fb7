"""An import knows whom its file names, so that an erasure finds the file, entered or not."""

from alembic import op

revision = "0020"
down_revision = "0019"
phase = "expand"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE imports ADD COLUMN persons uuid[] NOT NULL DEFAULT '{}'")


def downgrade() -> None:
    op.execute("ALTER TABLE imports DROP COLUMN persons")

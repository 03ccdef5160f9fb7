"""Who recorded an entry of the ledger, who made an import and for which unit; units are found by their parent."""

from alembic import op

revision = "0006"
down_revision = "0005"
phase = "expand"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Null is for what was recorded before anybody had to sign in.
    op.execute("ALTER TABLE ledger_entries ADD COLUMN recorded_by uuid")
    op.execute("ALTER TABLE imports ADD COLUMN made_by uuid, ADD COLUMN made_as text, ADD COLUMN unit_code text")
    op.execute(
        "ALTER TABLE imports ADD CONSTRAINT imports_made_by_whom CHECK"
        " ((made_by IS NULL) = (made_as IS NULL) AND (unit_code IS NULL OR made_by IS NOT NULL))"
    )
    op.execute("CREATE INDEX known_units_by_parent ON known_units (parent_code, code)")


def downgrade() -> None:
    op.execute("DROP INDEX known_units_by_parent")
    op.execute("ALTER TABLE imports DROP COLUMN made_by, DROP COLUMN made_as, DROP COLUMN unit_code")
    op.execute("ALTER TABLE ledger_entries DROP COLUMN recorded_by")

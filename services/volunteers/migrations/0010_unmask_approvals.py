"""Who may see the data of a child in clear, by whose approval, and until when."""

from alembic import op

revision = "0010"
down_revision = "0009"
phase = "expand"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE unmask_approvals ("
        " id uuid PRIMARY KEY,"
        " volunteer_id uuid NOT NULL REFERENCES volunteers (id),"
        " asked_by uuid NOT NULL,"
        " approved_by uuid NOT NULL,"
        " reason text NOT NULL CHECK (char_length(reason) BETWEEN 4 AND 200),"
        " approved_at timestamptz NOT NULL,"
        " expires_at timestamptz NOT NULL,"
        " CONSTRAINT unmask_approvals_by_another CHECK (asked_by <> approved_by),"
        " CONSTRAINT unmask_approvals_end CHECK"
        " (expires_at > approved_at AND expires_at <= approved_at + interval '7 days'))"
    )
    op.execute("CREATE INDEX unmask_approvals_of ON unmask_approvals (volunteer_id, asked_by, expires_at)")


def downgrade() -> None:
    op.execute("DROP TABLE unmask_approvals")

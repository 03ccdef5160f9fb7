"""The chassis tables, and those that show what the small service did."""

from alembic import op

from xinhuo.chassis import tables

revision = "0001"
down_revision = None
phase = "expand"


def upgrade() -> None:
    """Create all."""
    tables.create_first(op.get_bind())
    tables.add_dead_letter_desk(op.get_bind())
    tables.partition_outbox(op.get_bind())
    tables.add_audit(op.get_bind())
    tables.add_audit_address(op.get_bind())
    tables.add_role(op.get_bind())
    op.execute("CREATE TABLE seen (number bigint GENERATED ALWAYS AS IDENTITY, word text NOT NULL, event_id uuid)")
    op.execute("CREATE TABLE batches (number bigint GENERATED ALWAYS AS IDENTITY, word text NOT NULL, size int)")
    op.execute("CREATE TABLE mended (word text PRIMARY KEY)")
    op.execute("CREATE TABLE answers (number bigint GENERATED ALWAYS AS IDENTITY, word text NOT NULL, together int)")
    op.execute("CREATE TABLE ticks (at timestamptz NOT NULL DEFAULT clock_timestamp(), pid int NOT NULL)")


def downgrade() -> None:
    """Remove all."""
    op.execute("DROP TABLE ticks, answers, mended, batches, seen")
    tables.drop_audit(op.get_bind())
    tables.unite_outbox(op.get_bind())
    tables.drop_dead_letter_desk(op.get_bind())
    tables.drop_first(op.get_bind())

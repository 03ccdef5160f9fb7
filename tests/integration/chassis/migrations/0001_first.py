"""The chassis tables, and one that shows what a handler or a request did."""

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
    op.execute("CREATE TABLE notes (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, word text NOT NULL)")
    op.execute("CREATE TABLE slots (id integer PRIMARY KEY, taken integer NOT NULL DEFAULT 0)")
    op.execute("INSERT INTO slots (id) VALUES (1), (2)")
    # Refuses at commit only, as a constraint that looks at the whole transaction does.
    op.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'refused at commit' USING ERRCODE = '23514'; END $$"
    )
    op.execute(
        "CREATE CONSTRAINT TRIGGER refuse_late AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW WHEN (NEW.word = 'late') EXECUTE FUNCTION refuse()"
    )


def downgrade() -> None:
    """Remove all."""
    op.execute("DROP TABLE notes, slots")
    op.execute("DROP FUNCTION refuse")
    tables.drop_audit(op.get_bind())
    tables.unite_outbox(op.get_bind())
    tables.drop_dead_letter_desk(op.get_bind())
    tables.drop_first(op.get_bind())

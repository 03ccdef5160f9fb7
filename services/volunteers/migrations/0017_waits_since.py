"""Since when somebody waits for the consent of a guardian: an adult may begin to, years after he was registered."""

from alembic import op

revision = "0017"
down_revision = "0016"
# The trigger fills the column for programs that do not know it.
phase = "contract"
works_from = "0016"
branch_labels = None
depends_on = None

#: Who leaves without having had a consent waits on; everything else ends the waiting.
_FUNCTION = """
CREATE FUNCTION volunteers_wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = 'pending_guardian' THEN
        IF TG_OP = 'INSERT' THEN
            NEW.waits_since := NEW.registered_at;
        ELSIF OLD.state <> 'pending_guardian' THEN
            NEW.waits_since := now();
        END IF;
    ELSIF NEW.state <> 'left' OR TG_OP = 'INSERT' OR OLD.state NOT IN ('pending_guardian', 'left') THEN
        NEW.waits_since := NULL;
    END IF;
    RETURN NEW;
END
$$
"""


def upgrade() -> None:
    op.execute("ALTER TABLE volunteers ADD COLUMN waits_since timestamptz")
    op.execute("UPDATE volunteers SET waits_since = now() WHERE state = 'pending_guardian'")
    op.execute(_FUNCTION)
    op.execute(
        "CREATE TRIGGER volunteers_wait BEFORE INSERT OR UPDATE OF state ON volunteers"
        " FOR EACH ROW EXECUTE FUNCTION volunteers_wait()"
    )
    op.execute("CREATE INDEX volunteers_waiting ON volunteers (waits_since) WHERE waits_since IS NOT NULL")


def downgrade() -> None:
    op.execute("DROP TRIGGER volunteers_wait ON volunteers")
    op.execute("DROP FUNCTION volunteers_wait")
    op.execute("ALTER TABLE volunteers DROP COLUMN waits_since")

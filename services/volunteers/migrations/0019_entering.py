"""Hours are entered only at places within reach of those for whom it is done, whatever the check before forgets."""

from alembic import op

from xinhuo.chassis.row_security import ALL

revision = "0019"
down_revision = "0018"
phase = "contract"
works_from = "0019"
branch_labels = None
depends_on = None

# Planned with the statement, which a function is not, and nothing is looked up for a place of one's own: this is where
# most is written.
_PLACES = "CAST(NULLIF(current_setting('xinhuo.entering', true), '') AS jsonb)"
_WITHIN = f"""
(SELECT coalesce(current_setting('xinhuo.entering', true), '') = '')
OR jsonb_exists((SELECT {_PLACES} -> 'units'), unit_code)
OR jsonb_exists((SELECT {_PLACES} -> 'teams'), team_code)
OR unit_code IN (
    WITH RECURSIVE tree (code) AS (
        SELECT jsonb_array_elements_text({_PLACES} -> 'units')
        UNION
        SELECT u.code FROM known_units AS u JOIN tree ON u.parent_code = tree.code
    ) SELECT code FROM tree
)
"""  # noqa: S608  (no input)


def upgrade() -> None:
    op.execute(f"CREATE POLICY entering ON ledger_entries AS RESTRICTIVE FOR INSERT WITH CHECK ({_WITHIN})")
    # Which spans overlap is asked with each record, by indexes that PostgreSQL does not use behind a policy that looks
    # at rows, as functions of ranges are not leakproof: spans are read by all. No answer is made of them.
    op.execute("ALTER TABLE service_spans ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY reach ON service_spans FOR SELECT USING (true)")
    op.execute(
        f"CREATE POLICY entered ON service_spans FOR INSERT WITH CHECK ({ALL} OR EXISTS ("
        "SELECT FROM activities AS a WHERE a.id = activity_id AND a.unit_code IN (SELECT reached_units())))"
    )
    op.execute(f"CREATE POLICY freed ON service_spans FOR DELETE USING ({ALL})")


def downgrade() -> None:
    for policy in ("reach", "entered", "freed"):
        op.execute(f"DROP POLICY {policy} ON service_spans")
    op.execute("ALTER TABLE service_spans DISABLE ROW LEVEL SECURITY")
    op.execute("DROP POLICY entering ON ledger_entries")

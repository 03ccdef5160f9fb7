"""The service works as a role that owns nothing, and sees of its tables what a request reaches."""

from alembic import op

from xinhuo.chassis import tables
from xinhuo.chassis.row_security import ALL, add_reached_persons, protect, unprotect

revision = "0008"
down_revision = "0007"
phase = "contract"
works_from = "0008"
branch_labels = None
depends_on = None

_MINE = f"{ALL} OR volunteer_id IN (SELECT reached_persons())"
_POLICIES = {
    "tallies": (_MINE, ALL),
    "tally_entries": (_MINE, ALL),
    "stars": (_MINE, ALL),
}


def upgrade() -> None:
    connection = op.get_bind()
    tables.add_role(connection)
    add_reached_persons(connection)
    for table, (seen, written) in _POLICIES.items():
        protect(connection, table, seen, written)


def downgrade() -> None:
    connection = op.get_bind()
    for table in _POLICIES:
        unprotect(connection, table)
    op.execute("DROP FUNCTION reached_persons")
    tables.drop_role(connection)

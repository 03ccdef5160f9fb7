"""The service works as a role that owns nothing, and sees of its tables what a request reaches."""

from alembic import op

from xinhuo.chassis import tables
from xinhuo.chassis.row_security import ALL, add_reached_units, protect, unprotect

revision = "0005"
down_revision = "0004"
phase = "contract"
works_from = "0005"
branch_labels = None
depends_on = None

#: Units have public names; of notices, drafts are the bureau's alone.
_UNITS = "SELECT reached_units()"
_POLICIES = {
    "units": ("true", ALL),
    "notices": (f"{ALL} OR state = 'issued'", ALL),
    "notice_units": (f"{ALL} OR EXISTS (SELECT FROM notices AS n WHERE n.id = notice_id)", ALL),
    "category_units": (f"{ALL} OR EXISTS (SELECT FROM notices AS n WHERE n.id = notice_id)", ALL),
    "obligations": (f"{ALL} OR unit_code IN ({_UNITS})", ALL),
}


def upgrade() -> None:
    connection = op.get_bind()
    tables.add_role(connection)
    add_reached_units(connection, "units")
    for table, (seen, written) in _POLICIES.items():
        protect(connection, table, seen, written)


def downgrade() -> None:
    connection = op.get_bind()
    for table in _POLICIES:
        unprotect(connection, table)
    op.execute("DROP FUNCTION reached_units")
    tables.drop_role(connection)

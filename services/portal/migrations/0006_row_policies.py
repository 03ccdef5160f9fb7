"""Accounts, clients and what belongs to them are shown to a request only as far as its right reaches."""

from alembic import op

from xinhuo.chassis.row_security import ALL, SELF, protect, unprotect

revision = "0006"
down_revision = "0005"
phase = "contract"
works_from = "0006"
branch_labels = None
depends_on = None

_MINE = f"{ALL} OR id = ANY (CAST({SELF} AS uuid[]))"
#: Those of his own unit, not of units under it, whom an operator manages.
_MANAGED = "unit_code = (SELECT current_setting('xinhuo.unit', true)) AND role IN ('unit_operator', 'team_leader')"
#: Who manages others changes his own account as one of those only, and lifts or moves none.
_CHANGED = f"{ALL} OR ({_MINE}) AND (SELECT current_setting('xinhuo.reach', true)) = 'self' OR {_MANAGED}"
_OF_ACCOUNT = f"{ALL} OR EXISTS (SELECT FROM accounts AS a WHERE a.id = account_id)"
_POLICIES = {
    "accounts": f"{_MINE} OR {_MANAGED}",
    "sessions": _OF_ACCOUNT,
    "links": _OF_ACCOUNT,
    "clients": _MINE,
    "client_keys": f"{ALL} OR EXISTS (SELECT FROM clients AS c WHERE c.id = client_id)",
    # Of nobody: for signing in alone, which begins before it is known who asks, and looks at everything.
    "signing_keys": ALL,
    "login_failures": ALL,
    "oidc_states": ALL,
}


def upgrade() -> None:
    connection = op.get_bind()
    for table, seen in _POLICIES.items():
        protect(connection, table, seen, _CHANGED if table == "accounts" else None)


def downgrade() -> None:
    connection = op.get_bind()
    for table in _POLICIES:
        unprotect(connection, table)

"""The service works as a role that owns nothing, and sees of its tables what a request reaches."""

from alembic import op

from xinhuo.chassis import tables
from xinhuo.chassis.row_security import ALL, ALL_OR_PUBLIC, add_reached_persons, add_reached_units, protect, unprotect

revision = "0016"
down_revision = "0015"
phase = "contract"
works_from = "0016"
branch_labels = None
depends_on = None

_TEAM = "SELECT unit_code FROM teams WHERE code = current_setting('xinhuo.team', true)"
_MINE = f"{ALL} OR unit_code IN (SELECT reached_units())"
_PERSON = "volunteer_id IN (SELECT reached_persons())"
#: Whoever sees the volunteer sees what belongs to him.
_OF_VOLUNTEER = f"{ALL} OR EXISTS (SELECT FROM volunteers AS v WHERE v.id = volunteer_id)"
_IN_TEAM = (
    "EXISTS (SELECT FROM team_members AS m JOIN teams AS t ON t.code = m.team_code"
    " WHERE m.volunteer_id = volunteers.id AND t.unit_code IN (SELECT reached_units()))"
)
#: Teams, activities and cells of the statistics are public, to be written by those of the unit.
_POLICIES = {
    "teams": ("true", _MINE),
    "activities": ("true", _MINE),
    "team_members": (
        f"{ALL} OR {_PERSON} OR EXISTS (SELECT FROM teams AS t WHERE t.code = team_code"
        " AND t.unit_code IN (SELECT reached_units()))",
        None,
    ),
    "volunteers": (f"{_MINE} OR id IN (SELECT reached_persons()) OR {_IN_TEAM}", None),
    # Entered in one statement with the volunteer, who is not to be seen before its end.
    "person_keys": (_OF_VOLUNTEER, "true"),
    "consent_records": (_OF_VOLUNTEER, None),
    "erasure_requests": (_OF_VOLUNTEER, None),
    "unmask_approvals": (_OF_VOLUNTEER, None),
    "corrections": (_OF_VOLUNTEER, None),
    "volunteer_tags": (_OF_VOLUNTEER, None),
    "hour_claims": (f"{_MINE} OR {_PERSON}", None),
    "reversal_requests": (f"{ALL} OR EXISTS (SELECT FROM ledger_entries AS e WHERE e.id = entry_id)", None),
    "ledger_entries": (f"{_MINE} OR {_PERSON}", None),
    # How many persons stand behind a public figure is counted here.
    "volunteer_months": (f"{ALL_OR_PUBLIC} OR {_MINE} OR {_PERSON}", ALL),
    "imports": (_MINE, None),
    "import_progress": (f"{ALL} OR EXISTS (SELECT FROM imports AS i WHERE i.id = import_id)", None),
}


def upgrade() -> None:
    connection = op.get_bind()
    tables.add_role(connection)
    add_reached_persons(connection)
    add_reached_units(connection, "known_units", of_team=_TEAM)
    for table, (seen, written) in _POLICIES.items():
        protect(connection, table, seen, written)


def downgrade() -> None:
    connection = op.get_bind()
    for table in _POLICIES:
        unprotect(connection, table)
    op.execute("DROP FUNCTION reached_units, reached_persons")
    tables.drop_role(connection)

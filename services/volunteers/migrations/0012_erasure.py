"""Persons ask to be erased, another decides; of who was erased nothing personal is left, and the columns are empty."""

import re

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
phase = "contract"
works_from = "0012"
branch_labels = None
depends_on = None

_UP = """
ALTER TABLE volunteers ALTER COLUMN name DROP NOT NULL, ALTER COLUMN id_number DROP NOT NULL,
    ALTER COLUMN phone DROP NOT NULL, ALTER COLUMN name_index DROP NOT NULL,
    ALTER COLUMN id_number_index DROP NOT NULL;
ALTER TABLE volunteers DROP CONSTRAINT volunteers_state_check;
ALTER TABLE volunteers ADD CONSTRAINT volunteers_state_check
    CHECK (state IN ('pending_guardian', 'pending', 'verified', 'suspended', 'left', 'erased'));
ALTER TABLE volunteers ADD CONSTRAINT volunteers_erased CHECK (CASE state
    WHEN 'erased' THEN num_nonnulls(name, id_number, phone, guardian_consent, name_index, id_number_index) = 0
    ELSE num_nonnulls(name, id_number, phone, name_index, id_number_index) = 5 END);

CREATE TABLE erasure_requests (
    id uuid PRIMARY KEY,
    volunteer_id uuid NOT NULL REFERENCES volunteers (id),
    asked_by uuid NOT NULL,
    asked_as text NOT NULL,
    asked_at timestamptz NOT NULL,
    decided_by uuid,
    decided_at timestamptz,
    granted boolean,
    reason text,
    CONSTRAINT erasure_requests_by_another CHECK (asked_by <> decided_by),
    CONSTRAINT erasure_requests_decided CHECK (num_nonnulls(decided_by, decided_at, granted) IN (0, 3)),
    CONSTRAINT erasure_requests_refused CHECK (granted IS DISTINCT FROM false OR reason IS NOT NULL)
);
CREATE UNIQUE INDEX erasure_requests_open ON erasure_requests (volunteer_id) WHERE decided_at IS NULL;
CREATE INDEX erasure_requests_of ON erasure_requests (volunteer_id, id);
"""
_DOWN = """
DROP TABLE erasure_requests;
ALTER TABLE volunteers DROP CONSTRAINT volunteers_erased;
ALTER TABLE volunteers DROP CONSTRAINT volunteers_state_check;
ALTER TABLE volunteers ADD CONSTRAINT volunteers_state_check
    CHECK (state IN ('pending_guardian', 'pending', 'verified', 'suspended', 'left'));
ALTER TABLE volunteers ALTER COLUMN name SET NOT NULL, ALTER COLUMN id_number SET NOT NULL,
    ALTER COLUMN phone SET NOT NULL, ALTER COLUMN name_index SET NOT NULL,
    ALTER COLUMN id_number_index SET NOT NULL;
"""


def upgrade() -> None:
    _run(_UP)


def downgrade() -> None:
    # Refused by the database when somebody was erased.
    _run(_DOWN)


def _run(script: str) -> None:
    for statement in re.split(r";\n", script):
        if statement.strip():
            op.get_bind().execute(sa.text(statement))

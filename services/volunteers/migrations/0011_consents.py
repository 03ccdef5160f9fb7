"""Consents, with when each was withdrawn; children wait for that of a guardian."""

import re

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
phase = "contract"
works_from = "0011"
branch_labels = None
depends_on = None

_UP = """
ALTER TABLE volunteers DROP CONSTRAINT volunteers_state_check;
ALTER TABLE volunteers ADD CONSTRAINT volunteers_state_check
    CHECK (state IN ('pending_guardian', 'pending', 'verified', 'suspended', 'left'));

-- guardian holds nothing but ciphertext, and is emptied when it is no longer needed.
CREATE TABLE consent_records (
    id uuid PRIMARY KEY,
    volunteer_id uuid NOT NULL REFERENCES volunteers (id),
    purpose text NOT NULL CHECK (purpose IN ('registration', 'publication', 'photo')),
    text_version text NOT NULL,
    given_by text NOT NULL CHECK (given_by IN ('self', 'guardian')),
    guardian text CHECK (guardian LIKE 'p_.%'),
    how text NOT NULL CHECK (how IN ('paper', 'online', 'spoken')),
    given_on date NOT NULL,
    recorded_by uuid,
    recorded_at timestamptz NOT NULL,
    withdrawn_at timestamptz,
    withdrawn_by uuid,
    CONSTRAINT consent_records_guardian CHECK (given_by = 'guardian' OR guardian IS NULL),
    CONSTRAINT consent_records_withdrawn CHECK (withdrawn_at IS NOT NULL OR withdrawn_by IS NULL)
);
CREATE INDEX consent_records_of ON consent_records (volunteer_id, id);

CREATE FUNCTION consent_records_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE'
        AND (NEW.id, NEW.volunteer_id, NEW.purpose, NEW.text_version, NEW.given_by, NEW.how, NEW.given_on,
            NEW.recorded_by, NEW.recorded_at)
            IS NOT DISTINCT FROM (OLD.id, OLD.volunteer_id, OLD.purpose, OLD.text_version, OLD.given_by, OLD.how,
            OLD.given_on, OLD.recorded_by, OLD.recorded_at)
        AND (NEW.guardian IS NULL OR NEW.guardian IS NOT DISTINCT FROM OLD.guardian)
        AND (OLD.withdrawn_at IS NULL
            OR (NEW.withdrawn_at, NEW.withdrawn_by) IS NOT DISTINCT FROM (OLD.withdrawn_at, OLD.withdrawn_by)) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'consent_records can only be withdrawn: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER consent_records_rows BEFORE UPDATE OR DELETE ON consent_records
    FOR EACH ROW EXECUTE FUNCTION consent_records_kept();
CREATE TRIGGER consent_records_all BEFORE TRUNCATE ON consent_records
    FOR EACH STATEMENT EXECUTE FUNCTION consent_records_kept();
"""
_DOWN = """
DROP TABLE consent_records;
DROP FUNCTION consent_records_kept();
ALTER TABLE volunteers DROP CONSTRAINT volunteers_state_check;
ALTER TABLE volunteers ADD CONSTRAINT volunteers_state_check
    CHECK (state IN ('pending', 'verified', 'suspended', 'left'));
"""


def upgrade() -> None:
    _run(_UP)


def downgrade() -> None:
    _run(_DOWN)


def _run(script: str) -> None:
    # One at a time, as the driver wants them; inside the function there are others.
    for statement in re.split(r";\n(?=ALTER|CREATE|DROP|\n|--|\Z)", script):
        if statement.strip():
            op.get_bind().execute(sa.text(statement))

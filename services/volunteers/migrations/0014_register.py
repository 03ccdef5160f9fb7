"""Who suspended somebody, or a guardian; what was corrected, as it was before; and the tags of persons."""

import re

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
phase = "contract"
works_from = "0014"
branch_labels = None
depends_on = None

_UP = """
-- Of those who are suspended: why the office did it. Without it, a guardian withdrew the consent.
ALTER TABLE volunteers ADD COLUMN suspended_for text
    CONSTRAINT volunteers_suspended CHECK (state = 'suspended' OR suspended_for IS NULL);

-- before holds nothing but ciphertext of the person's key, and is emptied when the person is erased.
CREATE TABLE corrections (
    id uuid PRIMARY KEY,
    volunteer_id uuid NOT NULL REFERENCES volunteers (id),
    fields text[] NOT NULL CHECK (cardinality(fields) > 0),
    before text CHECK (before LIKE 'p_.%'),
    reason_code text NOT NULL,
    corrected_by uuid,
    corrected_at timestamptz NOT NULL
);
CREATE INDEX corrections_of ON corrections (volunteer_id, id);

CREATE FUNCTION corrections_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.before IS NULL
        AND (NEW.id, NEW.volunteer_id, NEW.fields, NEW.reason_code, NEW.corrected_by, NEW.corrected_at)
            IS NOT DISTINCT FROM (OLD.id, OLD.volunteer_id, OLD.fields, OLD.reason_code, OLD.corrected_by,
            OLD.corrected_at) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'corrections is append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER corrections_rows BEFORE UPDATE OR DELETE ON corrections
    FOR EACH ROW EXECUTE FUNCTION corrections_kept();
CREATE TRIGGER corrections_all BEFORE TRUNCATE ON corrections
    FOR EACH STATEMENT EXECUTE FUNCTION corrections_kept();

CREATE TABLE volunteer_tags (
    volunteer_id uuid NOT NULL REFERENCES volunteers (id),
    tag text NOT NULL,
    PRIMARY KEY (volunteer_id, tag)
);
CREATE INDEX volunteer_tags_by_tag ON volunteer_tags (tag, volunteer_id);
"""
_DOWN = """
DROP TABLE volunteer_tags;
DROP TABLE corrections;
DROP FUNCTION corrections_kept();
ALTER TABLE volunteers DROP COLUMN suspended_for;
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

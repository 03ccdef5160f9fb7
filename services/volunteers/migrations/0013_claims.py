"""Hours that are claimed and approved by another, and reversals that two decide; no way round that in SQL either."""

import re

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
phase = "contract"
works_from = "0013"
branch_labels = None
depends_on = None

_UP = """
-- approved_by is who approved the claim, or decided on the reversal; null is for what one person may do alone.
ALTER TABLE ledger_entries ADD COLUMN approved_by uuid,
    DROP CONSTRAINT ledger_entries_source_check,
    ADD CONSTRAINT ledger_entries_source_check CHECK (source IN ('api', 'import', 'claim')),
    ADD CONSTRAINT ledger_entries_by_another CHECK (
        approved_by IS NULL OR (recorded_by IS NOT NULL AND approved_by <> recorded_by)),
    ADD CONSTRAINT ledger_entries_claim CHECK (
        kind = 'reversal' OR (source = 'claim') = (approved_by IS NOT NULL));

-- Rows begin undecided and are decided once; what was asked for stays as it was. The state of an undecided row and
-- the column that names what the decision made are given with the trigger. Evidence may be emptied.
CREATE FUNCTION decided_once() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    decision text[] := ARRAY['state', 'decided_by', 'decided_as', 'decided_by_person', 'decided_at', 'reason',
        'evidence', TG_ARGV[1]];
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state = TG_ARGV[0] THEN
            RETURN NEW;
        END IF;
    ELSIF TG_OP = 'UPDATE' THEN
        IF to_jsonb(NEW) - decision = to_jsonb(OLD) - decision
            AND (to_jsonb(NEW) ->> 'evidence' IS NULL OR to_jsonb(NEW) -> 'evidence' = to_jsonb(OLD) -> 'evidence')
            AND (OLD.state = TG_ARGV[0] OR to_jsonb(NEW) - 'evidence' = to_jsonb(OLD) - 'evidence') THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION '% is decided once: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END
$$;

-- evidence holds nothing but ciphertext. *_person is the volunteer whose account it was, where the account says so.
CREATE TABLE hour_claims (
    id uuid PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('claimed', 'approved', 'refused', 'withdrawn')),
    volunteer_id uuid NOT NULL REFERENCES volunteers (id),
    activity_id uuid NOT NULL REFERENCES activities (id),
    team_code text NOT NULL,
    unit_code text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    minutes integer NOT NULL,
    evidence text CHECK (evidence LIKE 'p_.%'),
    claimed_by uuid NOT NULL,
    claimed_as text NOT NULL,
    claimed_by_person uuid,
    claimed_at timestamptz NOT NULL,
    decided_by uuid,
    decided_as text,
    decided_by_person uuid,
    decided_at timestamptz,
    reason text,
    entry_id uuid UNIQUE REFERENCES ledger_entries (id),
    CONSTRAINT hour_claims_minutes_in_span CHECK (
        minutes BETWEEN 1 AND 1440 AND minutes * interval '1 minute' <= ended_at - started_at),
    CONSTRAINT hour_claims_decided CHECK (
        num_nonnulls(decided_by, decided_as, decided_at) = CASE state WHEN 'claimed' THEN 0 ELSE 3 END),
    CONSTRAINT hour_claims_by_another CHECK (state NOT IN ('approved', 'refused') OR decided_by <> claimed_by),
    CONSTRAINT hour_claims_by_another_person CHECK (state NOT IN ('approved', 'refused') OR (
        (decided_by_person <> claimed_by_person) IS NOT FALSE AND (decided_by_person <> volunteer_id) IS NOT FALSE)),
    CONSTRAINT hour_claims_refused CHECK ((state = 'refused') = (reason IS NOT NULL)),
    CONSTRAINT hour_claims_entered CHECK ((state = 'approved') = (entry_id IS NOT NULL)),
    CONSTRAINT hour_claims_no_overlap EXCLUDE USING gist (
        volunteer_id WITH =, tstzrange(started_at, ended_at) WITH &&) WHERE (state = 'claimed')
);
CREATE INDEX hour_claims_by_state ON hour_claims (state, id);
CREATE INDEX hour_claims_by_volunteer ON hour_claims (volunteer_id, id);
CREATE INDEX hour_claims_by_unit ON hour_claims (unit_code, id);
CREATE INDEX hour_claims_by_team ON hour_claims (team_code, id);
CREATE TRIGGER hour_claims_rows BEFORE INSERT OR UPDATE OR DELETE ON hour_claims
    FOR EACH ROW EXECUTE FUNCTION decided_once('claimed', 'entry_id');
CREATE TRIGGER hour_claims_all BEFORE TRUNCATE ON hour_claims
    FOR EACH STATEMENT EXECUTE FUNCTION decided_once('claimed', 'entry_id');

CREATE TABLE reversal_requests (
    id uuid PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('asked', 'approved', 'refused')),
    entry_id uuid NOT NULL REFERENCES ledger_entries (id),
    reason_code text NOT NULL,
    asked_by uuid NOT NULL,
    asked_as text NOT NULL,
    asked_by_person uuid,
    asked_at timestamptz NOT NULL,
    decided_by uuid,
    decided_as text,
    decided_by_person uuid,
    decided_at timestamptz,
    reason text,
    reversal_id uuid UNIQUE REFERENCES ledger_entries (id),
    CONSTRAINT reversal_requests_decided CHECK (
        num_nonnulls(decided_by, decided_as, decided_at) = CASE state WHEN 'asked' THEN 0 ELSE 3 END),
    CONSTRAINT reversal_requests_by_another CHECK (decided_by <> asked_by),
    CONSTRAINT reversal_requests_by_another_person CHECK (decided_by_person <> asked_by_person),
    CONSTRAINT reversal_requests_refused CHECK ((state = 'refused') = (reason IS NOT NULL)),
    CONSTRAINT reversal_requests_entered CHECK ((state = 'approved') = (reversal_id IS NOT NULL))
);
CREATE UNIQUE INDEX reversal_requests_open ON reversal_requests (entry_id) WHERE state = 'asked';
CREATE INDEX reversal_requests_by_state ON reversal_requests (state, id);
CREATE TRIGGER reversal_requests_rows BEFORE INSERT OR UPDATE OR DELETE ON reversal_requests
    FOR EACH ROW EXECUTE FUNCTION decided_once('asked', 'reversal_id');
CREATE TRIGGER reversal_requests_all BEFORE TRUNCATE ON reversal_requests
    FOR EACH STATEMENT EXECUTE FUNCTION decided_once('asked', 'reversal_id');
"""
_DOWN = """
DROP TABLE reversal_requests, hour_claims;
DROP FUNCTION decided_once();
ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_claim, DROP CONSTRAINT ledger_entries_by_another,
    DROP CONSTRAINT ledger_entries_source_check, DROP COLUMN approved_by,
    ADD CONSTRAINT ledger_entries_source_check CHECK (source IN ('api', 'import'));
"""


def upgrade() -> None:
    _run(_UP)


def downgrade() -> None:
    # Refused by the database when the ledger holds hours that were claimed.
    _run(_DOWN)


def _run(script: str) -> None:
    # One at a time, as the driver wants them; inside the function there are others.
    for statement in re.split(r";\n(?=ALTER|CREATE|DROP|\n|--|\Z)", script):
        if statement.strip():
            op.get_bind().execute(sa.text(statement))

"""The tables of release 0.1: people, teams, activities, the ledger of hours, and the statistics made of it."""

import re

import sqlalchemy as sa
from alembic import op

from xinhuo.chassis import tables

revision = "0001"
down_revision = None
phase = "expand"
branch_labels = None
depends_on = None

_UP = """
CREATE TABLE known_units (
    code text PRIMARY KEY,
    kind text NOT NULL,
    parent_code text,
    revision integer NOT NULL
);

CREATE TABLE known_notices (
    notice_id uuid PRIMARY KEY,
    number text NOT NULL,
    issued_on date NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz,
    categories text[] NOT NULL
);
CREATE INDEX known_notices_by_number ON known_notices (number, issued_on);

CREATE TABLE teams (
    code text PRIMARY KEY,
    name text NOT NULL,
    unit_code text NOT NULL REFERENCES known_units (code),
    created_at timestamptz NOT NULL
);
CREATE INDEX teams_by_unit ON teams (unit_code, code);

-- The columns name, id_number, phone and guardian_consent hold nothing but ciphertext; *_index are keyed hashes.
CREATE TABLE volunteers (
    id uuid PRIMARY KEY,
    volunteer_no text NOT NULL UNIQUE,
    state text NOT NULL CHECK (state IN ('pending', 'verified', 'suspended', 'left')),
    unit_code text NOT NULL REFERENCES known_units (code),
    id_type text NOT NULL,
    name text NOT NULL CHECK (name LIKE 'a_.%'),
    id_number text NOT NULL CHECK (id_number LIKE 'a_.%'),
    phone text NOT NULL CHECK (phone LIKE 'a_.%'),
    guardian_consent text CHECK (guardian_consent LIKE 'a_.%'),
    name_index bytea NOT NULL,
    id_number_index bytea NOT NULL UNIQUE,
    registered_at timestamptz NOT NULL,
    verified_at timestamptz
);
CREATE INDEX volunteers_by_name ON volunteers (name_index);
CREATE INDEX volunteers_by_unit ON volunteers (unit_code, id);
CREATE INDEX volunteers_by_state ON volunteers (state, id);

CREATE TABLE team_members (
    team_code text NOT NULL REFERENCES teams (code),
    volunteer_id uuid NOT NULL REFERENCES volunteers (id),
    joined_at timestamptz NOT NULL,
    PRIMARY KEY (team_code, volunteer_id)
);
CREATE INDEX team_members_by_volunteer ON team_members (volunteer_id, team_code);

CREATE TABLE activities (
    id uuid PRIMARY KEY,
    number text NOT NULL UNIQUE,
    title text NOT NULL,
    team_code text NOT NULL REFERENCES teams (code),
    unit_code text NOT NULL REFERENCES known_units (code),
    category text NOT NULL,
    notice_id uuid REFERENCES known_notices (notice_id),
    notice_number text,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    place text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT activities_end_after_start CHECK (ends_at > starts_at),
    CONSTRAINT activities_notice_whole CHECK ((notice_id IS NULL) = (notice_number IS NULL))
);
CREATE INDEX activities_by_team ON activities (team_code, id);
CREATE INDEX activities_by_unit ON activities (unit_code, id);
CREATE INDEX activities_by_category ON activities (category, id);

CREATE TABLE activity_counters (
    year integer PRIMARY KEY,
    last integer NOT NULL
);

-- Every entry that ever counted, and every reversal of one. Minutes of a reversal are negative, so that the sum
-- over any set of rows is what counts. A reversal repeats what its entry says about person, place and time.
-- team_code, unit_code and category are those of the activity on the day of entry.
CREATE TABLE ledger_entries (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    reverses uuid REFERENCES ledger_entries (id),
    volunteer_id uuid NOT NULL REFERENCES volunteers (id),
    activity_id uuid NOT NULL REFERENCES activities (id),
    team_code text NOT NULL,
    unit_code text NOT NULL,
    category text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    served_on date NOT NULL,
    served_month date NOT NULL
        GENERATED ALWAYS AS (served_on - (date_part('day', served_on)::int - 1)) STORED,
    minutes integer NOT NULL,
    source text NOT NULL CHECK (source IN ('api', 'import')),
    import_id uuid,
    needs_attention boolean NOT NULL,
    reason_code text,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT ledger_entries_kind CHECK (
        (kind = 'entry' AND reverses IS NULL AND reason_code IS NULL AND minutes BETWEEN 1 AND 1440)
        OR (kind = 'reversal' AND reverses IS NOT NULL AND reason_code IS NOT NULL
            AND minutes BETWEEN -1440 AND -1)),
    CONSTRAINT ledger_entries_minutes_in_span CHECK (
        ended_at > started_at AND abs(minutes) * interval '1 minute' <= ended_at - started_at),
    CONSTRAINT ledger_entries_import CHECK ((source = 'import') = (import_id IS NOT NULL))
);
CREATE UNIQUE INDEX ledger_entries_reversed_once ON ledger_entries (reverses) WHERE reverses IS NOT NULL;
CREATE INDEX ledger_entries_by_volunteer ON ledger_entries (volunteer_id, id);
CREATE INDEX ledger_entries_by_activity ON ledger_entries (activity_id, id);
CREATE INDEX ledger_entries_by_team ON ledger_entries (team_code, id);
CREATE INDEX ledger_entries_by_unit ON ledger_entries (unit_code, id);
CREATE INDEX ledger_entries_by_month ON ledger_entries (served_month, id);
CREATE INDEX ledger_entries_by_import ON ledger_entries (import_id, id) WHERE import_id IS NOT NULL;

CREATE FUNCTION refuse_change_of_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ledger_entries is append-only: % is refused, enter a reversal', TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER ledger_entries_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();

-- One row for each entry in force: a reversal deletes its row, and the time can be entered again. The exclusion
-- keeps (volunteer, activity, start) unique as well, since two spans with one start overlap.
CREATE TABLE service_spans (
    entry_id uuid PRIMARY KEY,
    volunteer_id uuid NOT NULL,
    activity_id uuid NOT NULL,
    span tstzrange NOT NULL CHECK (NOT isempty(span) AND lower_inc(span) AND NOT upper_inc(span)),
    served_on date NOT NULL,
    minutes integer NOT NULL,
    CONSTRAINT service_spans_no_overlap EXCLUDE USING gist (volunteer_id WITH =, span WITH &&)
);

-- Read models of hours_logged and hours_reversed. Deltas commute, so a cell may pass below nought on the way.
CREATE TABLE statistics_cells (
    month date NOT NULL,
    unit_code text NOT NULL,
    team_code text NOT NULL,
    category text NOT NULL,
    minutes bigint NOT NULL,
    entries bigint NOT NULL,
    PRIMARY KEY (month, unit_code, team_code, category)
);
CREATE INDEX statistics_cells_by_unit ON statistics_cells (unit_code, month);
CREATE INDEX statistics_cells_by_team ON statistics_cells (team_code, month);

CREATE TABLE volunteer_months (
    volunteer_id uuid NOT NULL,
    month date NOT NULL,
    unit_code text NOT NULL,
    team_code text NOT NULL,
    category text NOT NULL,
    minutes bigint NOT NULL,
    entries bigint NOT NULL,
    PRIMARY KEY (volunteer_id, month, unit_code, team_code, category)
);
CREATE INDEX volunteer_months_by_unit ON volunteer_months (unit_code, volunteer_id);
CREATE INDEX volunteer_months_by_team ON volunteer_months (team_code, volunteer_id);
"""

_DOWN = """
DROP TABLE volunteer_months, statistics_cells, service_spans, ledger_entries, activity_counters, activities,
    team_members, volunteers, teams, known_notices, known_units;
DROP FUNCTION refuse_change_of_ledger();
"""


def upgrade() -> None:
    tables.create_first(op.get_bind())
    _run(_UP)


def downgrade() -> None:
    _run(_DOWN)
    tables.drop_first(op.get_bind())


def _run(script: str) -> None:
    # One at a time, as the driver wants them; the statement inside the function is followed by END.
    for statement in re.split(r";\n(?!END)", script):
        if statement.strip():
            op.get_bind().execute(sa.text(statement))

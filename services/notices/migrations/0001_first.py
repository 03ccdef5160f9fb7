"""The tables of release 0.1."""

import sqlalchemy as sa
from alembic import op

from xinhuo.chassis import tables

revision = "0001"
down_revision = None
phase = "expand"

_TABLES = """
CREATE TABLE units (
    code text PRIMARY KEY CHECK (code ~ '^[A-Z0-9]+(-[A-Z0-9]+)*$' AND length(code) BETWEEN 2 AND 32),
    name text NOT NULL CHECK (name <> ''),
    aliases text[] NOT NULL DEFAULT '{}',
    kind text NOT NULL CHECK (kind <> ''),
    groups text[] NOT NULL DEFAULT '{}',
    parent_code text REFERENCES units (code) CHECK (parent_code <> code),
    staff_count integer CHECK (staff_count BETWEEN 0 AND 1000000),
    student_count integer CHECK (student_count BETWEEN 0 AND 1000000),
    counted_on date,
    revision integer NOT NULL DEFAULT 1 CHECK (revision > 0),
    registered_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    CHECK (counted_on IS NOT NULL OR (staff_count IS NULL AND student_count IS NULL))
);
CREATE INDEX units_by_kind ON units (kind, code);
CREATE INDEX units_by_parent ON units (parent_code, code);

CREATE TABLE notices (
    id uuid PRIMARY KEY,
    number text NOT NULL,
    issuer_code text NOT NULL,
    year integer NOT NULL CHECK (year BETWEEN 1900 AND 2099),
    serial integer NOT NULL CHECK (serial BETWEEN 1 AND 99999),
    title text NOT NULL CHECK (title <> ''),
    issuer_keys text[] NOT NULL,
    issued_on date NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz CHECK (ends_at > starts_at),
    content jsonb NOT NULL,
    state text NOT NULL DEFAULT 'draft' CHECK (state IN ('draft', 'issued')),
    revision integer NOT NULL DEFAULT 1 CHECK (revision > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    issued_at timestamptz,
    CONSTRAINT notices_number UNIQUE (issuer_code, year, serial),
    CHECK (number = issuer_code || '〔' || year || '〕' || serial || '号'),
    CHECK ((state = 'issued') = (issued_at IS NOT NULL))
);
CREATE INDEX notices_in_order ON notices (issued_on, id);
CREATE INDEX notices_by_year ON notices (year, issued_on, id);
CREATE INDEX notices_by_issuer ON notices USING gin (issuer_keys);

CREATE TABLE notice_units (
    notice_id uuid NOT NULL REFERENCES notices (id),
    unit_code text NOT NULL REFERENCES units (code),
    PRIMARY KEY (notice_id, unit_code)
);
CREATE INDEX notice_units_by_unit ON notice_units (unit_code);

CREATE TABLE category_units (
    notice_id uuid NOT NULL REFERENCES notices (id),
    category_code text NOT NULL,
    role text NOT NULL CHECK (role IN ('responsible', 'host', 'co_host')),
    unit_code text NOT NULL REFERENCES units (code),
    PRIMARY KEY (notice_id, category_code, role, unit_code)
);
CREATE INDEX category_units_by_unit ON category_units (unit_code);

CREATE TABLE obligations (
    id uuid PRIMARY KEY,
    notice_id uuid NOT NULL,
    code text NOT NULL,
    unit_code text NOT NULL,
    kind text NOT NULL,
    title text NOT NULL,
    receiver text NOT NULL,
    lateness text NOT NULL CHECK (lateness IN ('late_flag', 'forfeit', 'reminder', 'none')),
    due_on date,
    due_at timestamptz,
    due_phrase text,
    due_rule text,
    due_clause text,
    system_default boolean NOT NULL,
    state text NOT NULL DEFAULT 'open'
        CHECK (state IN ('open', 'submitted', 'returned', 'accepted', 'overdue', 'forfeited')),
    revision integer NOT NULL DEFAULT 1 CHECK (revision > 0),
    UNIQUE (notice_id, code, unit_code),
    FOREIGN KEY (notice_id, unit_code) REFERENCES notice_units (notice_id, unit_code),
    CHECK ((due_on IS NULL) = (due_at IS NULL)),
    CHECK (lateness <> 'forfeit' OR due_at IS NOT NULL)
);
CREATE INDEX obligations_by_unit ON obligations (unit_code, notice_id, code);
CREATE INDEX obligations_by_due ON obligations (notice_id, due_on) WHERE due_on IS NOT NULL;

CREATE FUNCTION refuse_change_of_issued_notice() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    RAISE EXCEPTION 'an issued notice cannot be changed' USING ERRCODE = 'restrict_violation';
END
$body$;
CREATE TRIGGER issued_notices_stay BEFORE UPDATE OR DELETE ON notices
    FOR EACH ROW WHEN (OLD.state = 'issued') EXECUTE FUNCTION refuse_change_of_issued_notice();
"""

_NAMES = "obligations, category_units, notice_units, notices, units"


def upgrade() -> None:
    """Create the chassis tables and the service's own."""
    connection = op.get_bind()
    tables.create_first(connection)
    connection.exec_driver_sql(_TABLES)


def downgrade() -> None:
    """Remove everything again."""
    connection = op.get_bind()
    connection.execute(sa.text(f"DROP TABLE {_NAMES}"))
    connection.execute(sa.text("DROP FUNCTION refuse_change_of_issued_notice"))
    tables.drop_first(connection)

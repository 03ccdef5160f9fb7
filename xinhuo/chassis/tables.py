"""The tables that every service has beside its own: outbox, inbox, parked events, dead letters, keys, jobs.

``create_first`` is called by each service's first migration; later changes get functions of their own,
called by later migrations, so that a released migration never changes its meaning.
"""

from datetime import UTC, datetime

import sqlalchemy as sa

from . import partitions

#: The outbox of release 0.1, of one piece.
_OUTBOX = """
CREATE TABLE outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    aggregatetype text NOT NULL,
    aggregateid text NOT NULL,
    type text NOT NULL,
    payload bytea NOT NULL,
    public boolean NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz,
    position bigint UNIQUE,
    public_published_at timestamptz
);
"""
#: By which a relay finds what has not gone out.
_OUTBOX_UNPUBLISHED = """
CREATE INDEX outbox_unpublished ON outbox (seq) WHERE published_at IS NULL;
CREATE INDEX outbox_public_unpublished ON outbox (seq) WHERE public AND public_published_at IS NULL;
"""
_OUTBOX_BY_TYPE = "CREATE INDEX outbox_by_type ON outbox (type, seq);\n"

_FIRST = """
CREATE TABLE inbox (
    event_id uuid NOT NULL,
    handler text NOT NULL,
    body_hash bytea NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, handler)
) PARTITION BY RANGE (event_id);
CREATE TABLE inbox_rest PARTITION OF inbox DEFAULT;

CREATE TABLE parked_events (
    event_id uuid NOT NULL,
    handler text NOT NULL,
    body bytea NOT NULL,
    attempts integer NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    reason text NOT NULL,
    error text NOT NULL,
    first_failed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, handler)
);
CREATE INDEX parked_events_due ON parked_events (next_attempt_at);

CREATE TABLE dead_letters (
    id uuid PRIMARY KEY,
    handler text NOT NULL,
    event_id uuid,
    type text,
    reason text NOT NULL,
    error text NOT NULL,
    stack text,
    body_hash bytea NOT NULL,
    body bytea NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'retried', 'dropped')),
    attempts integer NOT NULL DEFAULT 0,
    died_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX dead_letters_once ON dead_letters (handler, body_hash, reason) WHERE state = 'waiting';
CREATE INDEX dead_letters_waiting ON dead_letters (reason, handler) WHERE state = 'waiting';
CREATE INDEX dead_letters_by_event ON dead_letters (event_id);

CREATE TABLE idempotency_keys (
    key text NOT NULL,
    route text NOT NULL,
    request_hash bytea NOT NULL,
    status integer NOT NULL,
    answer text NOT NULL,
    headers jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (key, route)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE jobs (
    name text NOT NULL,
    period_start timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (name, period_start)
);
"""

_DESK = """
-- What was done about a dead letter, by whom and why; kept as long as the letter, which is never removed.
CREATE TABLE dead_letter_actions (
    id uuid PRIMARY KEY,
    dead_letter_id uuid NOT NULL REFERENCES dead_letters (id),
    action text NOT NULL CHECK (action IN ('retry', 'drop')),
    outcome text NOT NULL CHECK (outcome <> ''),
    by text NOT NULL CHECK (length(by) BETWEEN 1 AND 64),
    why text NOT NULL CHECK (length(why) BETWEEN 1 AND 500),
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX dead_letter_actions_by_letter ON dead_letter_actions (dead_letter_id, at);

-- The letter that a parked event was retried from; when it dies again, the new letter names it too.
ALTER TABLE dead_letters ADD COLUMN retry_of uuid REFERENCES dead_letters (id);
ALTER TABLE parked_events ADD COLUMN retry_of uuid REFERENCES dead_letters (id);
-- How often work on a parked event was begun and never ended: it may take its process down with it.
ALTER TABLE parked_events ADD COLUMN starts integer NOT NULL DEFAULT 0;
CREATE INDEX parked_events_retried ON parked_events (next_attempt_at) WHERE retry_of IS NOT NULL;

-- Retried ones are taken after the others, which must be found without passing by all of them.
DROP INDEX parked_events_due;
CREATE INDEX parked_events_due ON parked_events (next_attempt_at) WHERE retry_of IS NULL;

CREATE INDEX dead_letters_in_order ON dead_letters (died_at, id);
CREATE INDEX dead_letters_of_group ON dead_letters (handler, reason, died_at, id) WHERE state = 'waiting';
CREATE INDEX dead_letters_by_body ON dead_letters (body_hash);
DROP INDEX dead_letters_waiting;
"""

_NO_DESK = """
CREATE INDEX dead_letters_waiting ON dead_letters (reason, handler) WHERE state = 'waiting';
DROP INDEX dead_letters_in_order, dead_letters_of_group, dead_letters_by_body, parked_events_due;
CREATE INDEX parked_events_due ON parked_events (next_attempt_at);
ALTER TABLE parked_events DROP COLUMN starts, DROP COLUMN retry_of;
ALTER TABLE dead_letters DROP COLUMN retry_of;
DROP TABLE dead_letter_actions;
"""

_RECONCILIATIONS = """
-- The newest result of each comparison, whichever process made it.
CREATE TABLE reconciliations (
    comparison text PRIMARY KEY,
    differences bigint NOT NULL,
    waiting bigint NOT NULL,
    checked_at timestamptz NOT NULL
)
"""

_RETENTION_REPORTS = """
-- How many rows of each table and rule were removed on each day of the office, and by which clause.
CREATE TABLE retention_reports (
    day date NOT NULL,
    table_name text NOT NULL,
    rule text NOT NULL,
    clause text NOT NULL,
    removed bigint NOT NULL CHECK (removed > 0),
    removed_at timestamptz NOT NULL,
    PRIMARY KEY (day, table_name, rule)
)
"""

#: ``position`` is unique although no index says so: only the relay that holds its lane's lock gives positions.
_DIVIDED_OUTBOX = """
ALTER TABLE outbox RENAME TO outbox_whole;
CREATE SEQUENCE outbox_numbers;
CREATE TABLE outbox (
    seq bigint NOT NULL DEFAULT nextval('outbox_numbers'),
    id uuid PRIMARY KEY,
    aggregatetype text NOT NULL,
    aggregateid text NOT NULL,
    type text NOT NULL,
    payload bytea NOT NULL,
    public boolean NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz,
    position bigint,
    public_published_at timestamptz
) PARTITION BY RANGE (id);
CREATE TABLE outbox_rest PARTITION OF outbox DEFAULT;
INSERT INTO outbox SELECT * FROM outbox_whole;
SELECT setval('outbox_numbers', coalesce((SELECT max(seq) FROM outbox_whole), 1), EXISTS (SELECT FROM outbox_whole));
DROP TABLE outbox_whole;
ALTER SEQUENCE outbox_numbers OWNED BY outbox.seq;
CREATE INDEX outbox_by_position ON outbox (position) WHERE position IS NOT NULL;
"""

_INTO_ONE_PIECE = """
INSERT INTO outbox OVERRIDING SYSTEM VALUE SELECT * FROM outbox_divided;
SELECT setval(pg_get_serial_sequence('outbox', 'seq'), coalesce((SELECT max(seq) FROM outbox_divided), 1));
DROP TABLE outbox_divided;
"""

_AUDIT = """
CREATE TABLE audit_log (
    seq bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    subject uuid,
    role text NOT NULL,
    unit text,
    action text NOT NULL CHECK (action LIKE '%.%'),
    object_kind text NOT NULL,
    object_id text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('done', 'refused')),
    before_hash bytea CHECK (length(before_hash) = 32),
    after_hash bytea CHECK (length(after_hash) = 32),
    reason text CHECK (length(reason) BETWEEN 1 AND 500),
    trace_id text,
    hash bytea NOT NULL
);

CREATE INDEX audit_log_by_object ON audit_log (object_id, seq);

CREATE INDEX audit_log_by_subject ON audit_log (subject, seq);

CREATE INDEX audit_log_by_action ON audit_log (action, seq);

CREATE INDEX audit_log_by_time ON audit_log (at);

CREATE TABLE audit_head (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    seq bigint NOT NULL,
    hash bytea NOT NULL
);

INSERT INTO audit_head (seq, hash) VALUES (0, decode(repeat('00', 32), 'hex'));
"""
#: What ``audit.row_hash`` computes, by the database itself, so that nobody who may insert can choose a hash.
_AUDIT_CHAIN = """
CREATE OR REPLACE FUNCTION audit_chain() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    last audit_head;
    spelled text;
BEGIN
    -- Held until the commit: the numbers have no gaps, and the order is that of the commits.
    SELECT * INTO STRICT last FROM audit_head FOR UPDATE;
    NEW.seq := last.seq + 1;
    NEW.at := clock_timestamp();
    SELECT string_agg(coalesce(octet_length(convert_to(part, 'UTF8')) || ':' || part, '-') || ';', '' ORDER BY n)
    INTO spelled
    FROM unnest(ARRAY[
        NEW.seq::text, to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24\\:MI\\:SS.US'), NEW.subject::text,
        NEW.role, NEW.unit, NEW.action, NEW.object_kind, NEW.object_id, NEW.outcome, encode(NEW.before_hash, 'hex'),
        encode(NEW.after_hash, 'hex'), NEW.reason, NEW.trace_id]{address}) WITH ORDINALITY AS parts (part, n);
    NEW.hash := sha256(last.hash || convert_to(spelled, 'UTF8'));
    UPDATE audit_head SET seq = NEW.seq, hash = NEW.hash;
    RETURN NEW;
END
$$
"""
#: The network address of who asked, where there is one: rows without are spelled as they were before.
_WITH_ADDRESS = " || CASE WHEN NEW.address IS NOT NULL THEN ARRAY[NEW.address] END"
_AUDIT_TRIGGERS = """
CREATE TRIGGER audit_log_chained BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_chain();

CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
"""


def create_first(connection: sa.Connection) -> None:
    """Create the chassis tables of release 0.1 in the service's schema, with inbox partitions for a year."""
    _run(connection, _OUTBOX + _OUTBOX_UNPUBLISHED + _OUTBOX_BY_TYPE + _FIRST)
    partitions.add_functions(connection)
    partitions.ensure(connection, partitions.INBOX, datetime.now(UTC).date())


def drop_first(connection: sa.Connection) -> None:
    """Remove what ``create_first`` made."""
    names = "jobs, idempotency_keys, dead_letters, parked_events, inbox, outbox"
    connection.execute(sa.text(f"DROP TABLE {names}"))


def add_dead_letter_desk(connection: sa.Connection) -> None:
    """Add what the desk for dead letters needs: its record of who did what and why, and where a retry came from."""
    _run(connection, _DESK)


def drop_dead_letter_desk(connection: sa.Connection) -> None:
    """Remove what ``add_dead_letter_desk`` made."""
    _run(connection, _NO_DESK)


def add_reconciliations(connection: sa.Connection) -> None:
    """Add the table of the newest results of reconciliation, for services that compare something."""
    _run(connection, _RECONCILIATIONS)


def drop_reconciliations(connection: sa.Connection) -> None:
    """Remove what ``add_reconciliations`` made."""
    _run(connection, "DROP TABLE reconciliations")


def partition_outbox(connection: sa.Connection) -> None:
    """Make the outbox a table of monthly partitions, with those of the events that it holds."""
    _run(connection, _DIVIDED_OUTBOX + _OUTBOX_UNPUBLISHED)
    first = connection.scalar(sa.text("SELECT min(recorded_at) FROM outbox"))
    today = datetime.now(UTC).date()
    begin = min(first.astimezone(UTC).date(), today) if first else today
    months = (today.year - begin.year) * 12 + today.month - begin.month
    partitions.ensure(connection, partitions.OUTBOX, begin, months_ahead=months + partitions.MONTHS_AHEAD)


def unite_outbox(connection: sa.Connection) -> None:
    """Take back what ``partition_outbox`` did."""
    _run(connection, "ALTER TABLE outbox RENAME TO outbox_divided")
    _run(connection, _OUTBOX + _INTO_ONE_PIECE + _OUTBOX_UNPUBLISHED + _OUTBOX_BY_TYPE)


def add_audit(connection: sa.Connection) -> None:
    """Add the audit log with its chain."""
    chain = _AUDIT_CHAIN.format(address="")
    for statement in (*_AUDIT.split("\n\n"), chain, *_AUDIT_TRIGGERS.split("\n\n")):  # there are semicolons within
        connection.execute(sa.text(statement))


def drop_audit(connection: sa.Connection) -> None:
    """Remove what ``add_audit`` made."""
    _run(connection, "DROP TABLE audit_log, audit_head;\nDROP FUNCTION audit_chain, audit_refuse_change;\n")


def add_role(connection: sa.Connection) -> None:
    """Let the service's role make partitions, and append to an audit log whose head it cannot move."""
    partitions.add_functions(connection)
    schema = connection.scalar(sa.text("SELECT current_schema()"))
    _run(connection, f'ALTER FUNCTION audit_chain SECURITY DEFINER SET search_path = "{schema}", public, pg_temp')


def drop_role(connection: sa.Connection) -> None:
    """Take back what ``add_role`` did; the functions stay, as a first migration makes them too."""
    _run(connection, "ALTER FUNCTION audit_chain SECURITY INVOKER")


def add_audit_address(connection: sa.Connection) -> None:
    """Let a row of the audit log say from which network address was asked."""
    long = "ALTER TABLE audit_log ADD COLUMN address text CHECK (length(address) BETWEEN 1 AND 64)"
    connection.execute(sa.text(long))
    connection.execute(sa.text(_AUDIT_CHAIN.format(address=_WITH_ADDRESS)))
    add_role(connection)


def drop_audit_address(connection: sa.Connection) -> None:
    """Take back what ``add_audit_address`` did: of rows with an address the hash no longer fits."""
    connection.execute(sa.text("ALTER TABLE audit_log DROP COLUMN address"))
    connection.execute(sa.text(_AUDIT_CHAIN.format(address="")))
    add_role(connection)


def add_retention_reports(connection: sa.Connection) -> None:
    """Add the table that says what was removed when its time had come, and why."""
    _run(connection, _RETENTION_REPORTS)


def drop_retention_reports(connection: sa.Connection) -> None:
    """Remove what ``add_retention_reports`` made."""
    _run(connection, "DROP TABLE retention_reports")


def _run(connection: sa.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            connection.execute(sa.text(statement))

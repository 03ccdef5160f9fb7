"""The tables of the first release with accounts."""

import sqlalchemy as sa
from alembic import op

from xinhuo.chassis import tables

revision = "0001"
down_revision = None
phase = "expand"

_TABLES = """
CREATE TABLE accounts (
    id uuid PRIMARY KEY,
    login text NOT NULL UNIQUE CHECK (login ~ '^[a-z0-9._@-]{3,64}$'),
    display_name text CHECK (starts_with(display_name, 'a1.')),
    role text NOT NULL CHECK (role IN ('bureau_admin', 'clerk', 'unit_operator', 'team_leader', 'volunteer',
        'guardian', 'auditor', 'privacy_officer', 'ops')),
    unit_code text CHECK (unit_code <> ''),
    team_code text CHECK (team_code <> ''),
    volunteer_id uuid,
    wards uuid[] NOT NULL DEFAULT '{}',
    state text NOT NULL DEFAULT 'invited' CHECK (state IN ('invited', 'active', 'disabled')),
    password_hash text CHECK (starts_with(password_hash, '$argon2id$')),
    totp_secret text CHECK (starts_with(totp_secret, 'a1.')),
    totp_pending text CHECK (starts_with(totp_pending, 'a1.')),
    totp_last_step bigint,
    oidc_issuer text,
    oidc_subject text,
    revision integer NOT NULL DEFAULT 1 CHECK (revision > 0),
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT accounts_of_directory UNIQUE (oidc_issuer, oidc_subject),
    CHECK ((oidc_issuer IS NULL) = (oidc_subject IS NULL)),
    CHECK (role <> 'unit_operator' OR unit_code IS NOT NULL),
    CHECK (role <> 'team_leader' OR team_code IS NOT NULL),
    CHECK (role <> 'volunteer' OR volunteer_id IS NOT NULL),
    CHECK (role <> 'guardian' OR cardinality(wards) > 0),
    CHECK (state <> 'active' OR password_hash IS NOT NULL OR oidc_subject IS NOT NULL)
);
CREATE INDEX accounts_by_role ON accounts (role, state, login);
CREATE INDEX accounts_by_unit ON accounts (unit_code, login);
CREATE INDEX accounts_by_state ON accounts (state, login);

CREATE TABLE links (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts (id),
    purpose text NOT NULL CHECK (purpose IN ('activate', 'reset')),
    secret_hash bytea NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    made_by uuid,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX links_by_account ON links (account_id);
CREATE INDEX links_by_age ON links (expires_at);

CREATE TABLE login_failures (
    login_index bytea PRIMARY KEY,
    failures integer NOT NULL CHECK (failures >= 0),
    locked_until timestamptz,
    failed_at timestamptz NOT NULL
);
CREATE INDEX login_failures_by_age ON login_failures (failed_at);

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts (id),
    nonce bytea NOT NULL CHECK (length(nonce) = 32),
    generation integer NOT NULL DEFAULT 0 CHECK (generation >= 0),
    created_at timestamptz NOT NULL,
    used_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    reason text CHECK (reason IN ('signed_out', 'ended', 'reused', 'expired', 'password', 'factor', 'account')),
    CHECK ((ended_at IS NULL) = (reason IS NULL))
);
CREATE INDEX sessions_live ON sessions (account_id, id) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_age ON sessions (used_at);

CREATE TABLE clients (
    id uuid PRIMARY KEY,
    name text NOT NULL CHECK (name <> ''),
    role text NOT NULL CHECK (role IN ('department', 'service', 'unit_operator', 'team_leader', 'clerk', 'auditor',
        'ops')),
    department_code text CHECK (department_code <> ''),
    unit_code text CHECK (unit_code <> ''),
    team_code text CHECK (team_code <> ''),
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled')),
    revision integer NOT NULL DEFAULT 1 CHECK (revision > 0),
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (role <> 'department' OR department_code IS NOT NULL),
    CHECK (role <> 'unit_operator' OR unit_code IS NOT NULL),
    CHECK (role <> 'team_leader' OR team_code IS NOT NULL)
);

CREATE TABLE client_keys (
    id uuid PRIMARY KEY,
    client_id uuid NOT NULL REFERENCES clients (id),
    prefix text NOT NULL UNIQUE CHECK (prefix ~ '^[a-z0-9]{8}$'),
    secret_hash bytea NOT NULL CHECK (length(secret_hash) = 32),
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    last_used_at timestamptz
);
CREATE INDEX client_keys_by_client ON client_keys (client_id, id);

CREATE TABLE signing_keys (
    kid text PRIMARY KEY,
    public jsonb NOT NULL CHECK (NOT public ? 'd'),
    private text NOT NULL CHECK (starts_with(private, 'a1.')),
    made_at timestamptz NOT NULL,
    signs_from timestamptz NOT NULL,
    signs_until timestamptz NOT NULL CHECK (signs_until > signs_from),
    shown_until timestamptz NOT NULL CHECK (shown_until > signs_until)
);
CREATE INDEX signing_keys_by_time ON signing_keys (signs_until);

CREATE TABLE oidc_states (
    state_hash bytea PRIMARY KEY,
    browser_hash bytea NOT NULL,
    nonce_hash bytea NOT NULL,
    verifier text NOT NULL CHECK (starts_with(verifier, 'a1.')),
    expires_at timestamptz NOT NULL
);
CREATE INDEX oidc_states_by_age ON oidc_states (expires_at);
"""

_NAMES = "oidc_states, signing_keys, client_keys, clients, sessions, login_failures, links, accounts"


def upgrade() -> None:
    connection = op.get_bind()
    tables.create_first(connection)
    tables.add_dead_letter_desk(connection)
    tables.partition_outbox(connection)
    connection.exec_driver_sql(_TABLES)


def downgrade() -> None:
    connection = op.get_bind()
    connection.execute(sa.text(f"DROP TABLE {_NAMES}"))
    tables.unite_outbox(connection)
    tables.drop_dead_letter_desk(connection)
    tables.drop_first(connection)

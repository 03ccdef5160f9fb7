"""Imports of workbooks: the user's file, what was found in it, and how far its entry has come."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
phase = "expand"
branch_labels = None
depends_on = None

_UP = """
-- file_name, workbook, preview and outcomes hold nothing but ciphertext and are emptied when the file expires:
-- findings may say which digit of an identity number is expected, so they are kept like the file itself.
CREATE TABLE imports (
    id uuid PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('checked', 'confirmed', 'done', 'failed', 'undoing', 'undone')),
    mode text CHECK (mode IN ('all', 'valid_rows')),
    file_hash bytea NOT NULL CHECK (octet_length(file_hash) = 32),
    file_size integer NOT NULL,
    file_name text CHECK (file_name LIKE 'a_.%'),
    workbook bytea,
    preview bytea,
    outcomes bytea,
    rows integer NOT NULL,
    valid integer NOT NULL,
    invalid integer NOT NULL,
    entered integer,
    existing integer NOT NULL,
    refused integer,
    problems integer NOT NULL,
    counts jsonb NOT NULL,
    failure text,
    checked_at timestamptz NOT NULL,
    confirmed_at timestamptz,
    finished_at timestamptz,
    undo_requested_at timestamptz,
    undone_at timestamptz,
    expires_at timestamptz NOT NULL,
    CONSTRAINT imports_rows_add_up CHECK (valid + invalid = rows AND entered + existing + refused = rows),
    CONSTRAINT imports_confirmed CHECK (state = 'checked' OR (mode IS NOT NULL AND confirmed_at IS NOT NULL)),
    CONSTRAINT imports_waiting_have_file CHECK (state <> 'confirmed' OR workbook IS NOT NULL)
);
-- Ciphertext does not compress.
ALTER TABLE imports ALTER COLUMN workbook SET STORAGE EXTERNAL, ALTER COLUMN outcomes SET STORAGE EXTERNAL;
-- One file counts once, until its import is undone.
CREATE UNIQUE INDEX imports_one_of_a_file ON imports (file_hash) WHERE state IN ('confirmed', 'done', 'undoing');
CREATE INDEX imports_by_state ON imports (state, id);
CREATE INDEX imports_waiting ON imports (state, confirmed_at) WHERE state IN ('confirmed', 'undoing');
CREATE INDEX imports_expiring ON imports (expires_at) WHERE workbook IS NOT NULL;

-- Apart from imports, whose row is locked while the work is done: here those who wait can look on.
CREATE TABLE import_progress (
    import_id uuid PRIMARY KEY REFERENCES imports (id),
    done integer NOT NULL,
    total integer NOT NULL,
    attempts integer NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


def upgrade() -> None:
    for statement in _UP.split(";\n"):
        op.get_bind().execute(sa.text(statement))


def downgrade() -> None:
    op.execute("DROP TABLE import_progress, imports")

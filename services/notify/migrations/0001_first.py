"""The tables of release 0.1: the messages written to volunteers, which are also their in-app inbox."""

import sqlalchemy as sa
from alembic import op

from xinhuo.chassis import tables

revision = "0001"
down_revision = None
phase = "expand"

_TABLES = (
    """
    CREATE TABLE messages (
        id uuid PRIMARY KEY,
        volunteer_id uuid NOT NULL,
        occasion text NOT NULL,
        subject_id uuid NOT NULL,
        occurrence integer NOT NULL CONSTRAINT occurrence_from_one CHECK (occurrence >= 1),
        template text NOT NULL,
        title text NOT NULL,
        text text NOT NULL,
        state text NOT NULL DEFAULT 'written'
            CONSTRAINT known_state CHECK (state IN ('written', 'sent', 'failed')),
        written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        read_at timestamptz,
        CONSTRAINT acknowledged_once UNIQUE (volunteer_id, occasion, subject_id, occurrence)
    )
    """,
    "CREATE INDEX messages_inbox ON messages (volunteer_id, id)",
    "CREATE INDEX messages_unread ON messages (volunteer_id) WHERE read_at IS NULL",
)


def upgrade() -> None:
    tables.create_first(op.get_bind())
    for statement in _TABLES:
        op.execute(sa.text(statement))


def downgrade() -> None:
    op.execute(sa.text("DROP TABLE messages"))
    tables.drop_first(op.get_bind())

"""Persons who were erased: what they were told is emptied, and stays counted."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
phase = "contract"
works_from = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        sa.text(
            "CREATE TABLE forgotten_persons (volunteer_id uuid PRIMARY KEY,"
            " forgotten_at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
    )
    _let_state_be("'written', 'sent', 'failed', 'restored', 'forgotten'")


def downgrade() -> None:
    op.execute(sa.text("UPDATE messages SET state = 'restored' WHERE state = 'forgotten'"))
    _let_state_be("'written', 'sent', 'failed', 'restored'")
    op.execute(sa.text("DROP TABLE forgotten_persons"))


def _let_state_be(states: str) -> None:
    op.execute(
        sa.text(
            f"ALTER TABLE messages DROP CONSTRAINT known_state, ADD CONSTRAINT known_state CHECK (state IN ({states}))"
        )
    )

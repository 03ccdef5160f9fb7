"""Messages that a replay wrote again: they stand in the inbox, and no channel sends them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
phase = "contract"
works_from = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _let_state_be("'written', 'sent', 'failed', 'restored'")


def downgrade() -> None:
    op.execute(sa.text("UPDATE messages SET state = 'sent' WHERE state = 'restored'"))
    _let_state_be("'written', 'sent', 'failed'")


def _let_state_be(states: str) -> None:
    op.execute(
        sa.text(
            f"ALTER TABLE messages DROP CONSTRAINT known_state, ADD CONSTRAINT known_state CHECK (state IN ({states}))"
        )
    )

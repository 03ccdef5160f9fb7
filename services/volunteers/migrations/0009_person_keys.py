"""A key for each person, wrapped by a master key; personal columns hold what it, or the installation's, encrypted."""

from alembic import op

revision = "0009"
down_revision = "0008"
phase = "contract"
works_from = "0009"
branch_labels = None
depends_on = None

_PERSONAL = ("name", "id_number", "phone", "guardian_consent")


def upgrade() -> None:
    op.execute(
        "CREATE TABLE person_keys ("
        " volunteer_id uuid PRIMARY KEY REFERENCES volunteers (id),"
        " wrapped text NOT NULL CHECK (wrapped LIKE 'w_.%'),"
        " kek text NOT NULL,"
        " made_at timestamptz NOT NULL)"
    )
    # The one that all have but those whom a new master key is still to wrap.
    op.execute("CREATE INDEX person_keys_by_kek ON person_keys (kek, volunteer_id)")
    _allow("LIKE 'a_.%' OR {0} LIKE 'p_.%'")
    # Empty when all have keys: looking for somebody without one costs nothing.
    op.execute("CREATE INDEX volunteers_without_key ON volunteers (id) WHERE name LIKE 'a_.%'")


def downgrade() -> None:
    # Refused by the database when somebody has a key: without it, his data would be gone.
    _allow("LIKE 'a_.%'")
    op.execute("DROP INDEX volunteers_without_key")
    op.execute("DROP TABLE person_keys")


def _allow(what: str) -> None:
    for column in _PERSONAL:
        op.execute(f"ALTER TABLE volunteers DROP CONSTRAINT volunteers_{column}_check")
        op.execute(
            f"ALTER TABLE volunteers ADD CONSTRAINT volunteers_{column}_check CHECK ({column} {what.format(column)})"
        )

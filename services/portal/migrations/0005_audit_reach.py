"""The audit log shows a request only what concerns who asks, and says from which network address was asked."""

from alembic import op

from xinhuo.chassis import row_security, tables

revision = "0005"
down_revision = "0004"
phase = "contract"
works_from = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    tables.add_audit_address(connection)
    row_security.protect_audit(connection)


def downgrade() -> None:
    connection = op.get_bind()
    row_security.unprotect(connection, "audit_log")
    tables.drop_audit_address(connection)

"""What is forgotten when its time has come."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

#: Sessions and used links are kept so long after their end, failures and sign-ins that never came back for a day.
_OLD = (
    """
    DELETE FROM sessions WHERE ended_at < clock_timestamp() - interval '30 days'
    OR used_at < clock_timestamp() - interval '30 days 12 hours'
    OR expires_at < clock_timestamp() - interval '30 days'
    """,
    "DELETE FROM links WHERE coalesce(used_at, expires_at) < clock_timestamp() - interval '30 days'",
    "DELETE FROM login_failures WHERE failed_at < clock_timestamp() - interval '1 day'",
    "DELETE FROM oidc_states WHERE expires_at < clock_timestamp()",
)


def forget_old(session: Session) -> None:
    """Remove sessions and links that ended 30 days ago, failures of yesterday, and sign-ins that nobody finished."""
    for statement in _OLD:
        session.execute(sa.text(statement))

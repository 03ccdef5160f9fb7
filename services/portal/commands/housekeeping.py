"""What is removed of the portal when its time has come."""

from xinhuo.chassis.retention.work import Removal

REMOVALS = (
    Removal("links", "coalesce(used_at, expires_at) < :limit"),
    # One that is idle for half a day has ended.
    Removal(
        "sessions",
        "ended_at < :limit OR expires_at < :limit OR used_at < CAST(:limit AS timestamptz) - interval '12 hours'",
    ),
    Removal("login_failures", "failed_at < :limit"),
    Removal("oidc_states", "expires_at < :limit"),
)

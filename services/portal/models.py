"""The tables of the portal; the constraints stand in the migrations. Of secrets there are only digests."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = sa.MetaData()

_Instant = sa.DateTime(timezone=True)

#: ``display_name``, ``totp_secret`` and ``totp_pending`` are encrypted for the place of their name.
accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("login", sa.Text, nullable=False),
    sa.Column("display_name", sa.Text),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("unit_code", sa.Text),
    sa.Column("team_code", sa.Text),
    sa.Column("volunteer_id", sa.Uuid),
    sa.Column("wards", ARRAY(sa.Uuid), nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("password_hash", sa.Text),
    sa.Column("totp_secret", sa.Text),
    sa.Column("totp_pending", sa.Text),
    sa.Column("totp_last_step", sa.BigInteger),
    sa.Column("oidc_issuer", sa.Text),
    sa.Column("oidc_subject", sa.Text),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("created_by", sa.Uuid),
    sa.Column("created_at", _Instant, nullable=False),
    sa.Column("changed_at", _Instant, nullable=False),
)

# One-time links: for the first password, or for another one.
links = sa.Table(
    "links",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("account_id", sa.Uuid, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("secret_hash", sa.LargeBinary, nullable=False),
    sa.Column("expires_at", _Instant, nullable=False),
    sa.Column("used_at", _Instant),
    sa.Column("made_by", sa.Uuid),
    sa.Column("made_at", _Instant, nullable=False),
)

# Failures in a row by the blind index of a login, whether an account has it or not.
login_failures = sa.Table(
    "login_failures",
    metadata,
    sa.Column("login_index", sa.LargeBinary, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("locked_until", _Instant),
    sa.Column("failed_at", _Instant, nullable=False),
)

# ``generation`` counts the refresh tokens that were given; ``used_at`` is when the last one was.
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("account_id", sa.Uuid, nullable=False),
    sa.Column("nonce", sa.LargeBinary, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("created_at", _Instant, nullable=False),
    sa.Column("used_at", _Instant, nullable=False),
    sa.Column("expires_at", _Instant, nullable=False),
    sa.Column("ended_at", _Instant),
    sa.Column("reason", sa.Text),
)

clients = sa.Table(
    "clients",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("department_code", sa.Text),
    sa.Column("unit_code", sa.Text),
    sa.Column("team_code", sa.Text),
    sa.Column("scopes", ARRAY(sa.Text), nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("created_by", sa.Uuid),
    sa.Column("created_at", _Instant, nullable=False),
    sa.Column("changed_at", _Instant, nullable=False),
)

client_keys = sa.Table(
    "client_keys",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("client_id", sa.Uuid, nullable=False),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("secret_hash", sa.LargeBinary, nullable=False),
    sa.Column("created_by", sa.Uuid),
    sa.Column("created_at", _Instant, nullable=False),
    sa.Column("expires_at", _Instant, nullable=False),
    sa.Column("revoked_at", _Instant),
    sa.Column("last_used_at", _Instant),
)

#: ``private`` is encrypted for the place of its name.
signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("kid", sa.Text, primary_key=True),
    sa.Column("public", JSONB, nullable=False),
    sa.Column("private", sa.Text, nullable=False),
    sa.Column("made_at", _Instant, nullable=False),
    sa.Column("signs_from", _Instant, nullable=False),
    sa.Column("signs_until", _Instant, nullable=False),
    sa.Column("shown_until", _Instant, nullable=False),
)

# Sign-ins that were sent to the office's directory and are not back yet; ``verifier`` is encrypted.
oidc_states = sa.Table(
    "oidc_states",
    metadata,
    sa.Column("state_hash", sa.LargeBinary, primary_key=True),
    sa.Column("browser_hash", sa.LargeBinary, nullable=False),
    sa.Column("nonce_hash", sa.LargeBinary, nullable=False),
    sa.Column("verifier", sa.Text, nullable=False),
    sa.Column("expires_at", _Instant, nullable=False),
)

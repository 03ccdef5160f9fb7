"""Secrets that are given out once: made at random, kept as digests, compared in constant time."""

import base64
import hmac
import secrets
from hashlib import sha256
from uuid import UUID

from xinhuo.chassis.security import Keys

from .domain.clients import KEY_START, PREFIX_LENGTH, PREFIX_LETTERS

LINK_START = "xhl_"
REFRESH_START = "xhr_"
NONCE_BYTES = 32
_REFRESH_BYTES = 16 + 4 + 32


def digest(secret: str) -> bytes:
    """Return the SHA-256 of a random secret, which is long enough to need no salt."""
    return sha256(secret.encode("utf-8", "surrogateescape")).digest()


def same(secret: str, kept: bytes) -> bool:
    """Tell in constant time whether a digest is that of a secret."""
    return hmac.compare_digest(digest(secret), kept)


def random_text() -> str:
    """Return 32 random bytes as 43 characters of base64url."""
    return secrets.token_urlsafe(32)


def new_link_secret() -> str:
    """Return the secret of a new one-time link."""
    return LINK_START + random_text()


def new_client_key() -> tuple[str, str]:
    """Return a new API key, and the prefix in it by which it is found."""
    prefix = "".join(secrets.choice(PREFIX_LETTERS) for _ in range(PREFIX_LENGTH))
    return f"{KEY_START}{prefix}_{random_text()}", prefix


def new_nonce() -> bytes:
    """Return what makes the refresh tokens of one session unlike those of any other."""
    return secrets.token_bytes(NONCE_BYTES)


def refresh_token(keys: Keys, session_id: UUID, nonce: bytes, generation: int) -> str:
    """Return the refresh token of one generation of a session.

    It is the same whenever it is asked for, so that a lost answer can be given again.
    """
    named = session_id.bytes + generation.to_bytes(4, "big")
    return REFRESH_START + _text(named + _mac(keys, named, nonce))


def read_refresh_token(token: str) -> tuple[UUID, int] | None:
    """Return the session and generation that a refresh token names, unchecked; None for what is none."""
    if (raw := _raw(token)) is None:
        return None
    return UUID(bytes=raw[:16]), int.from_bytes(raw[16:20], "big")


def is_genuine(keys: Keys, token: str, nonce: bytes) -> bool:
    """Tell in constant time whether a refresh token was given by us, for the session with this nonce."""
    raw = _raw(token)
    return raw is not None and hmac.compare_digest(_mac(keys, raw[:20], nonce), raw[20:])


def _mac(keys: Keys, named: bytes, nonce: bytes) -> bytes:
    return keys.blind_index((named + nonce).hex(), "sessions.refresh_token")


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _raw(token: str) -> bytes | None:
    text = token.removeprefix(REFRESH_START)
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    # Written in one way only.
    return raw if len(raw) == _REFRESH_BYTES and REFRESH_START + _text(raw) == token else None

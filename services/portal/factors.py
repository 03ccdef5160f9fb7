"""The codes of the second factor (TOTP, RFC 6238: SHA-1, 30 seconds, 6 digits)."""

import hmac
import unicodedata
from datetime import datetime

import pyotp

from .domain.factors import DIGITS, STEP_SECONDS, steps_at

SECRET_PLACE, PENDING_PLACE = "accounts.totp_secret", "accounts.totp_pending"
_ISSUER = "Xinhuo"


def new_secret() -> str:
    """Return a new random secret of 160 bits in base32."""
    return pyotp.random_base32()


def uri_of(secret: str, login: str) -> str:
    """Return what an authenticator reads from a QR code."""
    return _codes(secret).provisioning_uri(name=login, issuer_name=_ISSUER)


def step_of(secret: str, code: str, now: datetime, last: int | None) -> int | None:
    """Return the step whose code was given, one of those near ``now`` and after ``last``; None when none fits."""
    given = unicodedata.normalize("NFKC", code).strip()
    codes = _codes(secret)
    found = None
    for step in steps_at(now.timestamp()):
        right = hmac.compare_digest(codes.generate_otp(step).encode(), given.encode())
        if right and (last is None or step > last):
            found = step
    return found


def _codes(secret: str) -> pyotp.TOTP:
    return pyotp.TOTP(secret, digits=DIGITS, interval=STEP_SECONDS)

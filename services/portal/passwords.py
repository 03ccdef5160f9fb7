"""Passwords: Argon2id with the parameters of RFC 9106 for little memory (64 MiB, 3 passes, 4 lanes)."""

import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from .domain.passwords import normal_password

#: Each takes 64 MiB for a while: more at once would take the memory of the machine, and no less time.
AT_ONCE = 4
_turns = threading.BoundedSemaphore(AT_ONCE)
hasher = PasswordHasher()


def hashed(password: str) -> str:
    """Return the hash of a password, with its salt and parameters."""
    with _turns:
        return hasher.hash(normal_password(password))


def fits(password: str, kept: str | None) -> bool:
    """Tell whether a hash is that of a password; without one it takes as long to say no."""
    with _turns:
        try:
            hasher.verify(kept or _nobodys(hasher), normal_password(password))
        except (VerificationError, InvalidHashError):
            return False
    return kept is not None


def is_old(kept: str) -> bool:
    """Tell whether a hash was made with other parameters than are used now."""
    return hasher.check_needs_rehash(kept)


@cache
def _nobodys(by: PasswordHasher) -> str:
    """Return the hash of a password that nobody has, made once with the present parameters."""
    return by.hash("nobody")

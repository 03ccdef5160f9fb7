"""Keys: encryption of personal columns and stored answers, and keyed blind indexes for exact match.

What is encrypted with what says ``ciphers``; a key for each person is in ``person_keys``; the file is in ``key_file``.
"""

import hmac
import time
from collections.abc import Callable, Sequence
from hashlib import sha256

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from . import ciphers
from .ciphers import CannotDecrypt

__all__ = ["BadKeyFile", "CannotDecrypt", "Keys"]

#: An unknown master key makes a process look into the key file again, no oftener than this.
_LOOK_AGAIN_SECONDS = 5.0


class BadKeyFile(Exception):
    """The master key file is missing, unreadable or not 32 bytes in base64; the text says what to do."""


class Keys:
    """The keys of one installation, derived from its master keys: the current one first, the oldest last.

    The current one wraps the keys of persons, every one unwraps them. What must never change is derived from the
    oldest. ``again`` reads the master keys anew: another process may have put a newer one before them.
    """

    def __init__(self, *masters: bytes, again: Callable[[], Sequence[bytes]] | None = None) -> None:
        if not masters or any(len(master) != 32 for master in masters):
            raise BadKeyFile("主密钥应为 32 字节 / the master key must be 32 bytes")
        self._key = _derive(masters[-1], b"xinhuo encryption 1")
        self._index_key = _derive(masters[-1], b"xinhuo blind index 1")
        self._again = again
        self._looked_at: float | None = None
        self._take(masters)

    def _take(self, masters: Sequence[bytes]) -> None:
        self._wrapping = {name_of_master(master): _derive(master, b"xinhuo wrapping 1") for master in masters}
        self.current = name_of_master(masters[0])
        """The name of the master key that wraps."""

    def has(self, master: str) -> bool:
        """Tell whether the master key of a name is among them."""
        return master in self._wrapping

    def encrypt(self, text: str, place: str) -> str:
        """Encrypt a text for one place (``table.column``); elsewhere it cannot be decrypted."""
        return self.encrypt_bytes(text.encode(), place).decode()

    def decrypt(self, value: str, place: str) -> str:
        """Return the text; raises CannotDecrypt."""
        return self.decrypt_bytes(value.encode(), place).decode()

    def encrypt_bytes(self, data: bytes, place: str) -> bytes:
        """Encrypt bytes for one place; the result is ASCII."""
        return ciphers.seal("a", self._key, data, place.encode())

    def decrypt_bytes(self, value: bytes, place: str) -> bytes:
        """Return the bytes; raises CannotDecrypt."""
        return ciphers.unseal("a", self._key, value, place.encode())

    def blind_index(self, text: str, place: str) -> bytes:
        """Return the keyed hash under which equal texts of one place are found without being readable."""
        return self.keyed_hash(text.encode(), place)

    def keyed_hash(self, data: bytes, place: str) -> bytes:
        """Return the hash of bytes of one place, which nobody can try values against who lacks the key."""
        return hmac.digest(self._index_key, f"{place}\0".encode() + data, sha256)

    def wrap(self, key: bytes, bound: bytes) -> tuple[str, str]:
        """Encrypt another key with the current master key; return the result and the name of that master key."""
        name = self.current
        return ciphers.seal("w", self._wrapping[name], key, bound).decode(), name

    def unwrap(self, wrapped: str, master: str, bound: bytes) -> bytes:
        """Return a key that the named master key wrapped; raises CannotDecrypt."""
        if master not in self._wrapping:
            self._look_again()
        if master not in self._wrapping:
            raise CannotDecrypt("wrapped by a master key that is not in the key file")
        return ciphers.unseal("w", self._wrapping[master], wrapped.encode(), bound)

    def _look_again(self) -> None:
        now = time.monotonic()
        if self._again is None or (self._looked_at is not None and now - self._looked_at < _LOOK_AGAIN_SECONDS):
            return
        self._looked_at = now
        try:
            masters = self._again()
        except BadKeyFile:
            return
        if _derive(masters[-1], b"xinhuo encryption 1") == self._key:
            self._take(masters)


def name_of_master(master: bytes) -> str:
    """Return the name by which a wrapped key says which master key wrapped it; nothing can be derived from it."""
    return _derive(master, b"xinhuo name 1")[:8].hex()


def _derive(master: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(master)

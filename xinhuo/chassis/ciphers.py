"""What values are encrypted with: every stored value names its algorithm before a dot, so that others fit in beside.

The letter says whose key it is: ``a`` the installation's, ``p`` a person's, ``w`` a wrapping key; the figure says by
which algorithm. A provider of another one (SM4-GCM, say) enters it as ``p2`` and ``w2`` in ``CIPHERS``, and in
``PREFERRED`` when new values are to be written with it; the old ones go on being read.
"""

import base64
import os
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


class CannotDecrypt(Exception):
    """A stored value does not belong to this key or this place, or was changed."""


class Cipher(Protocol):
    """Authenticated encryption with a key of 32 bytes; a cipher of shorter keys derives its own from it."""

    def encrypt(self, key: bytes, data: bytes, bound: bytes) -> bytes:
        """Return the encrypted bytes, which are good only together with what they are bound to."""
        ...

    def decrypt(self, key: bytes, data: bytes, bound: bytes) -> bytes:
        """Return the bytes; raises CannotDecrypt."""
        ...


class Aes256Gcm:
    """AES-256-GCM with a random nonce before the encrypted bytes."""

    def encrypt(self, key: bytes, data: bytes, bound: bytes) -> bytes:
        """See ``Cipher``."""
        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(key).encrypt(nonce, data, bound)

    def decrypt(self, key: bytes, data: bytes, bound: bytes) -> bytes:
        """See ``Cipher``."""
        try:
            return AESGCM(key).decrypt(data[:_NONCE], data[_NONCE:], bound)
        except (InvalidTag, ValueError):  # ValueError: too short
            raise CannotDecrypt("wrong key, wrong place, or changed") from None


_AES = Aes256Gcm()
CIPHERS: dict[str, Cipher] = {"a1": _AES, "p1": _AES, "w1": _AES}
#: What new values are written with, by the letter of the key.
PREFERRED: dict[str, str] = {"a": "a1", "p": "p1", "w": "w1"}


def seal(letter: str, key: bytes, data: bytes, bound: bytes) -> bytes:
    """Return the data encrypted with a key of the letter, as ASCII that names the algorithm."""
    name = PREFERRED[letter]
    return name.encode() + b"." + base64.b64encode(CIPHERS[name].encrypt(key, data, bound))


def unseal(letter: str, key: bytes, value: bytes, bound: bytes) -> bytes:
    """Return what was sealed with a key of this letter; raises CannotDecrypt."""
    name, _, rest = value.partition(b".")
    cipher = CIPHERS.get(name.decode("ascii", "replace"))
    if cipher is None or not name.startswith(letter.encode()):
        raise CannotDecrypt("unknown algorithm, or another kind of key")
    try:
        raw = base64.b64decode(rest, validate=True)
    except ValueError:
        raise CannotDecrypt("no base64") from None
    return cipher.decrypt(key, raw, bound)

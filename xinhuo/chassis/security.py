"""Keys: encryption of personal columns and stored answers, and keyed blind indexes for exact match.

Every encrypted value names its algorithm (``a1`` is AES-256-GCM), so that others can be added beside it.
"""

import base64
import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE = 12


class BadKeyFile(Exception):
    """The master key file is missing, unreadable or not 32 bytes in base64; the text says what to do."""


class CannotDecrypt(Exception):
    """A stored value does not belong to this key or this place, or was changed."""


class Keys:
    """The keys of one installation, all derived from the master key."""

    def __init__(self, master: bytes) -> None:
        if len(master) != 32:
            raise BadKeyFile("主密钥应为 32 字节 / the master key must be 32 bytes")
        self._cipher = AESGCM(_derive(master, b"xinhuo encryption 1"))
        self._index_key = _derive(master, b"xinhuo blind index 1")

    def encrypt(self, text: str, place: str) -> str:
        """Encrypt a text for one place (``table.column``); elsewhere it cannot be decrypted."""
        return self.encrypt_bytes(text.encode(), place).decode()

    def decrypt(self, value: str, place: str) -> str:
        """Return the text; raises CannotDecrypt."""
        return self.decrypt_bytes(value.encode(), place).decode()

    def encrypt_bytes(self, data: bytes, place: str) -> bytes:
        """Encrypt bytes for one place; the result is ASCII."""
        nonce = os.urandom(_NONCE)
        return b"a1." + base64.b64encode(nonce + self._cipher.encrypt(nonce, data, place.encode()))

    def decrypt_bytes(self, value: bytes, place: str) -> bytes:
        """Return the bytes; raises CannotDecrypt."""
        algorithm, _, rest = value.partition(b".")
        if algorithm != b"a1":
            raise CannotDecrypt("unknown algorithm")
        try:
            raw = base64.b64decode(rest, validate=True)
            return self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], place.encode())
        except (InvalidTag, ValueError):  # ValueError: no base64 any more, or too short
            raise CannotDecrypt("wrong key, wrong place, or changed") from None

    def blind_index(self, text: str, place: str) -> bytes:
        """Return the keyed hash under which equal texts of one place are found without being readable."""
        return hmac.digest(self._index_key, f"{place}\0{text}".encode(), sha256)


def load_keys(path: Path) -> Keys:
    """Read the master key; raises BadKeyFile with what to do."""
    try:
        return Keys(base64.b64decode(path.read_text(encoding="ascii").strip(), validate=True))
    except FileNotFoundError:
        raise BadKeyFile(
            f"找不到主密钥 {path}：请从备份恢复，或用 xinhuo key create 新建（仅限全新安装） / "
            f"no master key at {path}: restore it, or make one with 'xinhuo key create' for a new installation"
        ) from None
    except (OSError, ValueError) as error:
        raise BadKeyFile(f"主密钥 {path} 无法使用（{type(error).__name__}） / the master key cannot be used") from None


def create_key_file(path: Path) -> None:
    """Write a new random master key, readable by its owner only; an existing file is kept.

    The file appears whole or not at all, so that a kill in between leaves no half key.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(base64.b64encode(os.urandom(32)).decode() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    finally:
        temporary.unlink()


def _derive(master: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(master)

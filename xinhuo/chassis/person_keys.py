"""A key for each person: without it, what it encrypted is gone for good, wherever copies of it lie."""

import os
from dataclasses import dataclass
from uuid import UUID

from . import ciphers
from .security import CannotDecrypt, Keys

_SIZE = 32


@dataclass(frozen=True)
class WrappedKey:
    """A person's key as it is stored: encrypted with a master key, which is named."""

    wrapped: str
    master: str


class PersonKey:
    """What opens and seals the values of one person; bound to the person and the place, so none can be exchanged.

    Values that the key of the installation encrypted, from before persons had keys, are read too.
    """

    def __init__(self, keys: Keys, person: UUID, stored: WrappedKey | None) -> None:
        self._keys = keys
        self._person = person
        self._stored = stored
        self._key: bytes | None = None

    def encrypt(self, text: str, place: str) -> str:
        """Encrypt a text of the person for one place (``table.column``); raises CannotDecrypt without a key."""
        return ciphers.seal("p", self._opened(), text.encode(), self._bound(place)).decode()

    def decrypt(self, value: str, place: str) -> str:
        """Return the text; raises CannotDecrypt."""
        if value.startswith("a"):
            return self._keys.decrypt(value, place)
        return ciphers.unseal("p", self._opened(), value.encode(), self._bound(place)).decode()

    def _opened(self) -> bytes:
        if self._key is None:
            if self._stored is None:
                raise CannotDecrypt("the person has no key")
            self._key = self._keys.unwrap(self._stored.wrapped, self._stored.master, _bound_of(self._person))
        return self._key

    def _bound(self, place: str) -> bytes:
        return f"{place}\0{self._person}".encode()


def make_key(keys: Keys, person: UUID) -> tuple[PersonKey, WrappedKey]:
    """Return a new random key of a person, and how it is stored."""
    stored = WrappedKey(*keys.wrap(os.urandom(_SIZE), _bound_of(person)))
    return PersonKey(keys, person, stored), stored


def rewrap(keys: Keys, person: UUID, stored: WrappedKey) -> WrappedKey:
    """Return the same key of a person wrapped by the current master key; raises CannotDecrypt."""
    bound = _bound_of(person)
    return WrappedKey(*keys.wrap(keys.unwrap(stored.wrapped, stored.master, bound), bound))


def _bound_of(person: UUID) -> bytes:
    return f"person_keys.wrapped\0{person}".encode()

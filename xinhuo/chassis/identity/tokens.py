"""Tokens: short-lived JWTs signed with Ed25519 (RFC 8037; the name of the algorithm is that of RFC 9864).

The portal signs them; every service checks them by itself with the portal's public keys.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import OKPKey

from .actor import Actor
from .errors import IdentityUnavailable, TokenExpired, TokenInvalid
from .rights import RIGHTS, ROLES

ALGORITHM = "Ed25519"
ISSUER = AUDIENCE = "xinhuo"
TYPE = "at+jwt"
LIFETIME_SECONDS = 600
LEEWAY_SECONDS = 60
_LONGEST = 4096
_REMEMBERED = 4096
#: Gives the public keys by their id; asked with the id that a token names, so that new keys can be fetched.
KeySource = Callable[[str], Mapping[str, OKPKey]]


def no_keys(_kid: str) -> Mapping[str, OKPKey]:
    """Have no keys at all: nobody can be checked where no requests are answered."""
    raise IdentityUnavailable()


@dataclass(frozen=True)
class SigningKey:
    """A key that signs tokens."""

    key: OKPKey

    @property
    def kid(self) -> str:
        """Return the id by which tokens name the key: the thumbprint of its public half (RFC 7638)."""
        return self.key.thumbprint()

    def public(self) -> dict[str, Any]:
        """Return the public half as it stands in the key set."""
        return {**self.key.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": ALGORITHM}

    def private(self) -> dict[str, Any]:
        """Return both halves, to be stored encrypted."""
        return dict(self.key.as_dict(private=True))


def new_key() -> SigningKey:
    """Return a new random key."""
    return SigningKey(OKPKey.generate_key("Ed25519", auto_kid=False))


def read_key(jwk: Mapping[str, Any]) -> OKPKey:
    """Return a key of a key set or of the store; raises ValueError for one of another kind."""
    if (jwk.get("kty"), jwk.get("crv")) != ("OKP", "Ed25519"):
        raise ValueError("not an Ed25519 key")
    try:
        return OKPKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "d") if name in jwk})
    except (JoseError, ValueError) as error:
        raise ValueError("not a usable key") from error


def sign(actor: Actor, key: SigningKey, *, now: int, seconds: int = LIFETIME_SECONDS) -> str:
    """Return a token of the actor that is good for so many seconds from ``now`` (Unix time)."""
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(actor.subject),
        "iat": now,
        "exp": now + seconds,
        "role": actor.role,
        "unit": actor.unit,
        "team": actor.team,
        "volunteer": str(actor.volunteer) if actor.volunteer else None,
        "wards": [str(ward) for ward in actor.wards] or None,
        "scopes": sorted(actor.scopes) if actor.scopes is not None else None,
    }
    header = {"alg": ALGORITHM, "kid": key.kid, "typ": TYPE}
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(header, kept, key.key, algorithms=[ALGORITHM])


class Verifier:
    """Checks tokens; may be shared by threads. What was found good is remembered as long as it and its key are."""

    def __init__(self, keys: KeySource, *, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._now = now
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(now()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
        )
        self._known: dict[bytes, tuple[Actor, str, OKPKey, float]] = {}
        self._lock = threading.Lock()

    def actor_of(self, token: str) -> Actor:
        """Return who bears a token; raises TokenInvalid, TokenExpired or IdentityUnavailable."""
        if len(token) > _LONGEST:
            raise TokenInvalid()
        digest = sha256(token.encode("utf-8", "surrogateescape")).digest()
        if known := self._known.get(digest):
            actor, kid, key, until = known
            if self._now() < until and self._keys(kid).get(kid) is key:
                return actor
            with self._lock:
                self._known.pop(digest, None)
        actor, kid, key, until = self._check(token)
        with self._lock:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[digest] = actor, kid, key, until
        return actor

    def _check(self, token: str) -> tuple[Actor, str, OKPKey, float]:
        def key_of(message: Any) -> OKPKey:
            header = message.headers()
            kid = header.get("kid")
            if header.get("typ") != TYPE or not isinstance(kid, str) or kid not in (known := self._keys(kid)):
                raise TokenInvalid()
            return known[kid]

        try:
            read = jwt.decode(token, key_of, algorithms=[ALGORITHM])
            self._claims.validate(read.claims)
            kid = read.header["kid"]
            return _actor(read.claims), kid, self._keys(kid)[kid], float(read.claims["exp"]) + LEEWAY_SECONDS
        except ExpiredTokenError:
            raise TokenExpired() from None
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise TokenInvalid() from None


def _actor(claims: Mapping[str, Any]) -> Actor:
    """Read a token's claims; raises ValueError, TypeError or KeyError for such as we never wrote."""
    role, volunteer, scopes = claims["role"], claims.get("volunteer"), claims.get("scopes")
    if role not in ROLES or not (scopes is None or set(scopes) <= set(RIGHTS)):
        raise ValueError("unknown role or right")
    return Actor(
        subject=UUID(claims["sub"]),
        role=role,
        unit=claims.get("unit"),
        team=claims.get("team"),
        volunteer=UUID(volunteer) if volunteer is not None else None,
        wards=tuple(UUID(ward) for ward in claims.get("wards") or ()),
        scopes=frozenset(scopes) if scopes is not None else None,
    )

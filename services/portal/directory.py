"""The office's directory as OpenID Connect knows it: where people are sent, and who came back.

Authorization code flow with PKCE (S256), state and nonce; the ID token is checked here with the directory's keys.
"""

import hmac
import json
import threading
import time
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, import_key

from xinhuo.chassis import clock, logs
from xinhuo.chassis.config import Settings

from .credentials import digest
from .domain.oidc import DirectoryUnavailable, NotConfigured, SignInRefused

#: None of these is a shared secret, or nothing at all.
ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"]
LEEWAY_SECONDS = 60
_KEEP_SECONDS = 300.0
#: One that is away is asked again after so long; who comes in between is told at once, and waits for nobody.
_PAUSE_SECONDS = 5.0
_TIMEOUT_SECONDS = 5.0
_LARGEST = 256 * 1024
_LONGEST_SUBJECT = 255
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
log = logs.get("directory")


class Directory:
    """One directory by its settings; may be shared by threads, opens nothing before its first use."""

    def __init__(self, issuer: str, client_id: str, client_secret: str, redirect_url: str) -> None:
        self.issuer = issuer
        self._client_id, self._client_secret, self._redirect_url = client_id, client_secret, redirect_url
        self._lock = threading.Lock()
        self._metadata: dict[str, str] = {}
        self._read_at = self._failed_at = float("-inf")

    def address(self, state: str, nonce: str, verifier: str) -> str:
        """Return where to send somebody who wants to sign in; raises DirectoryUnavailable."""
        endpoint = self._endpoints()["authorization_endpoint"]
        with self._session() as session:
            address, _ = session.create_authorization_url(endpoint, state=state, nonce=nonce, code_verifier=verifier)
        return str(address)

    def subject_of(self, code: str, verifier: str, nonce_hash: bytes) -> str:
        """Return whom the directory names for a code; raises SignInRefused or DirectoryUnavailable."""
        endpoints = self._endpoints()
        token = self._id_token(endpoints["token_endpoint"], code, verifier)
        keys = _keys(_read(endpoints["jwks_uri"]))
        try:
            read = jwt.decode(token, keys, algorithms=ALGORITHMS)
            self._registry().validate(read.claims)
            return self._checked(read.claims, nonce_hash)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.info("sign_in_refused", why=type(error).__name__)
            raise SignInRefused() from None

    def _checked(self, claims: Mapping[str, Any], nonce_hash: bytes) -> str:
        audience, party = claims["aud"], claims.get("azp")
        if (isinstance(audience, list) and len(audience) > 1 and party is None) or party not in (None, self._client_id):
            raise ValueError("for another party")
        if not hmac.compare_digest(digest(str(claims["nonce"])), nonce_hash):
            raise ValueError("another nonce")
        subject = claims["sub"]
        if not (isinstance(subject, str) and 0 < len(subject) <= _LONGEST_SUBJECT):
            raise ValueError("no subject")
        return subject

    def _registry(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=lambda: int(clock.now().timestamp()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self._client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
            nonce={"essential": True},
        )

    def _id_token(self, endpoint: str, code: str, verifier: str) -> str:
        try:
            with self._session() as session:
                answer = session.fetch_token(
                    endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=verifier,
                    timeout=_TIMEOUT_SECONDS,
                    allow_redirects=False,
                )
        except AuthlibBaseError as error:
            log.info("sign_in_refused", why=type(error).__name__)
            raise SignInRefused() from None
        except (requests.RequestException, ValueError, TypeError) as error:
            raise _away(error) from None
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise SignInRefused()
        return token

    def _session(self) -> Any:
        session = OAuth2Session(
            self._client_id,
            self._client_secret,
            scope="openid",
            redirect_uri=self._redirect_url,
            code_challenge_method="S256",
        )
        session.trust_env = False
        return session

    def _endpoints(self) -> Mapping[str, str]:
        """Return the addresses that the directory gives for itself, read anew every five minutes."""
        with self._lock:
            if time.monotonic() - self._read_at > _KEEP_SECONDS:
                if time.monotonic() - self._failed_at < _PAUSE_SECONDS:
                    raise DirectoryUnavailable()
                try:
                    self._metadata = self._discovered()
                except DirectoryUnavailable:
                    self._failed_at = time.monotonic()
                    raise
                self._read_at = time.monotonic()
            return self._metadata

    def _discovered(self) -> dict[str, str]:
        found = _read(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        try:
            endpoints = {name: str(found[name]) for name in _ENDPOINTS}
            # It speaks for itself only, and does not send us from TLS to what is none.
            schemes = {urlsplit(address).scheme for address in endpoints.values()}
            if found["issuer"] != self.issuer or not schemes <= {urlsplit(self.issuer).scheme, "https"}:
                raise ValueError("metadata of another issuer")
        except (KeyError, ValueError, TypeError) as error:
            raise _away(error) from None
        return endpoints


def directory_of(settings: Settings) -> Directory:
    """Return the directory of the settings; raises NotConfigured."""
    given = (
        settings.oidc_issuer,
        settings.oidc_client_id,
        settings.oidc_client_secret,
        settings.oidc_redirect_url,
    )
    if not all(given):
        raise NotConfigured()
    return _directory(*(str(word) for word in given))


@cache
def _directory(issuer: str, client_id: str, client_secret: str, redirect_url: str) -> Directory:
    return Directory(issuer, client_id, client_secret, redirect_url)


def _read(address: str) -> Any:
    """Read JSON of bounded size; raises DirectoryUnavailable."""
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(address, timeout=_TIMEOUT_SECONDS, allow_redirects=False, stream=True)
            if answer.status_code != 200:
                raise ValueError("no answer of use")
            data = answer.raw.read(_LARGEST + 1, decode_content=True)
            if len(data) > _LARGEST:
                raise ValueError("too much of an answer")
            return json.loads(data)
    except (requests.RequestException, OSError, ValueError) as error:
        raise _away(error) from None


def _keys(found: Any) -> KeySet:
    """Return the keys that can be used; one of a kind not known here does not spoil the others."""
    keys: list[Any] = []
    try:
        for jwk in found["keys"]:
            try:
                keys.append(import_key(jwk))
            except (JoseError, ValueError, KeyError, TypeError):
                continue
    except (KeyError, TypeError) as error:
        raise _away(error) from None
    return KeySet(keys)


def _away(error: Exception) -> DirectoryUnavailable:
    log.warning("directory_away", **logs.describe(error))
    return DirectoryUnavailable()

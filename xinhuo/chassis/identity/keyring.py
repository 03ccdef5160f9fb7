"""The portal's public keys as another service has them: fetched, kept, and fetched again when a new one is named."""

import http.client
import json
import threading
import time
import urllib.error
from collections.abc import Callable, Mapping
from typing import Any

from joserfc.jwk import OKPKey

from .. import logs, peers
from .errors import IdentityUnavailable
from .tokens import read_key

PATH = "/v1/keys"
#: Keys are asked for again after so long, so that one that was withdrawn ends everywhere.
FRESH_SECONDS = 60.0
#: Whoever names keys that there are not makes us ask no oftener than this.
PAUSE_SECONDS, FIRST_PAUSE_SECONDS = 5.0, 0.5
_TIMEOUT_SECONDS = 3.0
_LARGEST = 64 * 1024
log = logs.get("keyring")


def fetch_from(url: str) -> Callable[[], Any]:
    """Return what reads the portal's key set at its address."""
    opener = peers.opener()

    def fetch() -> Any:
        with opener.open(url.rstrip("/") + PATH, timeout=_TIMEOUT_SECONDS) as answer:
            return json.loads(answer.read(_LARGEST))

    return fetch


class KeyRing:
    """The keys by their id (a ``tokens.KeySource``); keeps what it has while the portal is away."""

    def __init__(self, fetch: Callable[[], Any], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, OKPKey] = {}
        self._asked_at = self._got_at = float("-inf")

    def __call__(self, kid: str) -> Mapping[str, OKPKey]:
        """Return the known keys, fetched anew when they are old or ``kid`` is not among them.

        Raises IdentityUnavailable while there is not one key to check with.
        """
        # While somebody fetches, the others go on with what there is; they wait when there is nothing yet.
        if self._is_due(kid) and self._lock.acquire(blocking=not self._keys):
            try:
                if self._is_due(kid):
                    self._refresh()
            finally:
                self._lock.release()
        if not self._keys:
            raise IdentityUnavailable()
        return self._keys

    def _is_due(self, kid: str) -> bool:
        now = self._clock()
        old = now - self._got_at > FRESH_SECONDS or kid not in self._keys
        return old and now - self._asked_at > (PAUSE_SECONDS if self._keys else FIRST_PAUSE_SECONDS)

    def _refresh(self) -> None:
        try:
            found = self._fetch()
            read = {str(jwk["kid"]): read_key(jwk) for jwk in found["keys"]}
        except (OSError, http.client.HTTPException, urllib.error.URLError, ValueError, KeyError, TypeError) as error:
            log.warning("keys_not_fetched", **logs.describe(error))
            return
        finally:
            self._asked_at = self._clock()
        # The same key stays the same object: tokens that were checked with it need no second look.
        same = {kid: old for kid, old in self._keys.items() if kid in read and old.as_dict() == read[kid].as_dict()}
        self._keys = read | same
        self._got_at = self._asked_at

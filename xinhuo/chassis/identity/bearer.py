"""Asking other services as somebody: an API key is exchanged at the portal for short-lived tokens."""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Protocol

from .. import peers
from ..errors import Unavailable

PATH = "/v1/client-tokens"
#: A token is renewed when so much of its time is over; after a failure, asked for again so many seconds later.
_WORN, _PAUSE_SECONDS = 0.8, 5.0
_TIMEOUT_SECONDS = 10.0
_LARGEST = 64 * 1024


class PortalAway(Unavailable):
    """The portal gives no token"""

    code = "portal.unavailable"
    title = "门户服务不给令牌"

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(
            f"无法从门户取得令牌（{zh}），请检查 XINHUO_PORTAL_URL 与密钥。",
            f"The portal gives no token ({en}); look at XINHUO_PORTAL_URL and the key.",
        )


class Bearer(Protocol):
    """Whoever can show a token."""

    def token(self) -> str:
        """Return a token that is good for a while."""

    def renew(self) -> None:
        """Do not show the present token again: it was refused."""


class NoBearer:
    """Has nothing to show."""

    def token(self) -> str:
        """Raise PortalAway."""
        raise PortalAway("没有设置 XINHUO_SERVICE_KEY", "XINHUO_SERVICE_KEY is not set")

    def renew(self) -> None:
        """There is nothing to renew."""


class KeyBearer:
    """Shows tokens for an API key; may be shared by threads.

    While the portal gives no new one, the one at hand is shown until it ends.
    """

    def __init__(self, portal_url: str, key: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._key, self._clock = portal_url.rstrip("/") + PATH, key, clock
        self._lock = threading.Lock()
        self._token, self._due_at, self._ends_at = "", float("-inf"), float("-inf")
        self._opener = peers.opener()

    def token(self) -> str:
        """Return a token that is good for a while; raises PortalAway."""
        with self._lock:
            asked_at = self._clock()
            if asked_at >= self._due_at:
                try:
                    self._token, seconds = self._exchange()
                except PortalAway:
                    if (now := self._clock()) >= self._ends_at:
                        raise
                    self._due_at = now + _PAUSE_SECONDS
                else:
                    self._due_at, self._ends_at = asked_at + _WORN * seconds, asked_at + seconds
            return self._token

    def renew(self) -> None:
        """Do not show the present token again: it was refused."""
        with self._lock:
            self._due_at = self._ends_at = float("-inf")

    def _exchange(self) -> tuple[str, float]:
        body = json.dumps({"key": self._key}).encode()
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})  # noqa: S310
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
                given = json.loads(answer.read(_LARGEST))
                return str(given["access_token"]), float(given["expires_in"])
        except urllib.error.HTTPError as error:
            with error:
                raise PortalAway(f"HTTP {error.code}", f"HTTP {error.code}") from None
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            raise PortalAway(type(error).__name__, type(error).__name__) from None

"""How often one caller may ask: a bucket of tokens for each, filled at a steady rate, in the memory of one process.

So many processes, so many times the limit; a limit for the whole office belongs into the proxy in front.
"""

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

from ..errors import RuleError

#: A caller may ask for so many seconds' worth at once.
BURST_SECONDS = 10
#: Of so many callers it is known how often they asked; the one who was silent longest is forgotten.
_REMEMBERED = 10_000


class TooManyRequests(RuleError):
    """The caller asks too often"""

    status = 429
    code = "rate.exceeded"
    title = "请求过于频繁"

    def __init__(self, seconds: int) -> None:
        """Name the seconds after which it may ask again."""
        super().__init__(
            f"请求过于频繁，请在 {seconds} 秒后重试；大量登记时数请用批量接口。",
            f"Too many requests: try again in {seconds} s; to log many hours, send them in batches.",
            extra={"seconds": seconds},
        )


class Limit:
    """At most ``rate`` requests a second of each caller, and ten seconds' worth at once; 0 is no limit."""

    def __init__(self, rate: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, rate * BURST_SECONDS, clock
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, caller: Hashable) -> None:
        """Count one request of a caller; raises TooManyRequests."""
        if not self._rate:
            return
        now = self._clock()
        with self._lock:
            left, since = self._left.pop(caller, (float(self._burst), now))
            left = min(self._burst, left + (now - since) * self._rate)
            allowed = left >= 1
            self._left[caller] = (left - 1 if allowed else left), now
            if len(self._left) > _REMEMBERED:
                self._left.popitem(last=False)
        if not allowed:
            raise TooManyRequests(max(1, round((1 - left) / self._rate)))


def address_of(environ: dict[str, Any], proxies: int) -> str:
    """Return the network address that asks, an IPv6 one without its last 64 bits.

    Behind ``proxies`` of our own, each of which appends to X-Forwarded-For whom it was asked by, it is the one that
    the outermost of them saw; what a client wrote there itself is not looked at.
    """
    address = str(environ.get("REMOTE_ADDR", ""))
    if proxies:
        seen = [part.strip() for part in str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",") if part.strip()]
        address = seen[-proxies] if len(seen) >= proxies else address
    return _network_of(address)


@lru_cache(maxsize=4096)
def _network_of(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if found.version == 4:
        return address
    if found.ipv4_mapped is not None:  # as a server that listens for both is told of one
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))

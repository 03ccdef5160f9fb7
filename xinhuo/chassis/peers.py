"""Asking the other services of the office over HTTP."""

import urllib.request

from . import trace


def opener() -> urllib.request.OpenerDirector:
    """Return what opens addresses of other services: they are in one office, so no proxy stands between them.

    What is asked for belongs to the trace of the work that asks.
    """
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), _Traced())


class _Traced(urllib.request.BaseHandler):
    """Names the current trace to whoever is asked."""

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Add the header, as ``urllib`` has each handler do before it sends a request."""
        if here := trace.current():
            request.add_header("traceparent", here)
        return request

    https_request = http_request

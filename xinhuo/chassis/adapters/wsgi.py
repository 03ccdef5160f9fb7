"""How eventlet's server reads requests: in bounded time, nothing ambiguous, and nothing of them in the log."""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import eventlet
import eventlet.wsgi

from .. import logs

log = logs.get("http_server")


#: How fast, in bytes a second, a body must come in that takes longer than the time a request may take.
_SLOWEST = 64 * 1024


def _until(deadline: float, read: Callable[..., Any]) -> Callable[..., Any]:
    """Bound reading in all, since the socket's own time-out begins anew with each byte."""

    def bounded(*arguments: Any) -> Any:
        with eventlet.Timeout(max(0.0, deadline - time.monotonic()), TimeoutError()):
            return read(*arguments)

    return bounded


class RequestReader(eventlet.wsgi.HttpProtocol):  # type: ignore[misc]  # eventlet carries no types
    """Reads the requests of one connection.

    Refused, with the connection closed: two lengths, a transfer coding that is not ``chunked``, headers that are
    none. A proxy in front might read these otherwise, and take what follows for another person's request.
    """

    seconds = 30.0
    # What eventlet refuses by itself is answered plainly, without the page that would repeat the request.
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(explain)s\n"

    def parse_request(self) -> bool:
        """Read the head of a request; False when it was refused."""
        with eventlet.Timeout(self.seconds, TimeoutError()):
            if not super().parse_request():
                return False
        coding = self.headers.get_all("Transfer-Encoding", ["chunked"])
        if len(self.headers.get_all("Content-Length", [])) > 1 or self.headers.defects:
            return self._refuse(HTTPStatus.BAD_REQUEST)
        if [word.strip().lower() for word in coding] != ["chunked"]:
            return self._refuse(HTTPStatus.NOT_IMPLEMENTED)
        return True

    def get_environ(self) -> dict[str, Any]:
        """Describe the request to the application."""
        environ: dict[str, Any] = super().get_environ()
        body = environ["eventlet.input"]
        deadline = time.monotonic() + self.seconds + (body.content_length or 0) / _SLOWEST
        body.read, body.discard = _until(deadline, body.read), _until(deadline, body.discard)
        return environ

    def log_message(self, format: str, *arguments: Any) -> None:
        """Leave out what quotes the request; the answer says what was wrong with it."""

    def _refuse(self, status: HTTPStatus) -> bool:
        self.send_error(status)
        self.close_connection = True
        return False


class ServerLog:
    """Takes eventlet's own messages: that something failed is logged, its text, which quotes requests, is not."""

    def info(self, message: str, *arguments: object) -> None:
        """Leave out accesses and time-outs."""

    debug = info

    def error(self, message: str, *arguments: object) -> None:
        """Note that a connection broke, or that reading the rest of a refused body failed."""
        log.warning("connection_failed")


def serve(socket: Any, app: Callable[..., Any], *, seconds: float, connections: int) -> None:
    """Answer requests until the greenlet is killed; reading each part of one takes at most ``seconds``."""
    eventlet.wsgi.server(
        socket,
        app,
        log=ServerLog(),
        custom_pool=eventlet.GreenPool(connections),
        protocol=type("RequestReader", (RequestReader,), {"seconds": seconds}),
        log_output=False,
        debug=False,
        socket_timeout=seconds,
        keepalive=True,
        url_length_limit=8192,
    )

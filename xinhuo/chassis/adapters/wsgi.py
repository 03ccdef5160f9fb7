"""How eventlet's server reads requests: in bounded time, nothing ambiguous, and nothing of them in the log."""

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any

import eventlet
import eventlet.wsgi

from .. import logs
from .heads import FIELD, MOST_FIELDS, SLOWEST

log = logs.get("http_server")


#: The first line of what clients of today send; the rest is left to the standard library.
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[!-.0-~][!-~]*|/) HTTP/1\.1\r\n")


def _in_time(deadline: float, *, waiting: bool = True) -> AbstractContextManager[Any]:
    """Bound what waits for the client, as the socket's own time-out begins anew with each byte; raises TimeoutError.

    What has arrived is not waited for, and spared the timer.
    """
    return eventlet.Timeout(max(0.0, deadline - time.monotonic()), TimeoutError()) if waiting else nullcontext()


class BoundedInput(eventlet.wsgi.Input):  # type: ignore[misc]  # eventlet carries no types
    """The body of a request, read in bounded time."""

    deadline: float

    def read(self, length: int | None = None) -> bytes:
        """Read so much, or all that is left; raises TimeoutError when it does not arrive in time."""
        waiting = not self._has_arrived()
        with _in_time(self.deadline, waiting=waiting):
            data: bytes = super().read(length)
            return data

    def discard(self, buffer_size: int = 16 << 10) -> None:
        """Read what the application left; raises TimeoutError when all of it does not arrive in time."""
        with _in_time(self.deadline):
            super().discard(buffer_size)

    def _has_arrived(self) -> bool:
        """Tell whether nothing is to be waited for."""
        if self.chunked_input or self.should_send_hundred_continue:
            return False
        left: int = (self.content_length or 0) - self.position
        return left <= 0 or left <= len(self.rfile.peek())


class Fields:
    """The header fields of a request, as far as eventlet asks for them; the e-mail parser takes ten times as long."""

    #: The parser finds what is wrong; here nothing wrong gets in.
    defects = ()

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._headers = pairs  # the name by which eventlet asks for all
        self._first: dict[str, str] = {}
        for name, value in pairs:
            self._first.setdefault(name.lower(), value)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the first value of a field."""
        return self._first.get(name.lower(), default)

    def get_all(self, name: str, default: Any = None) -> Any:
        """Return all values of a field."""
        return [value for key, value in self._headers if key.lower() == name.lower()] or default

    def get_content_type(self) -> str:
        """Return what a body is that does not say it."""
        return "text/plain"


class RequestReader(eventlet.wsgi.HttpProtocol):  # type: ignore[misc]  # eventlet carries no types
    """Reads the requests of one connection.

    Refused, with the connection closed: two lengths or one that is no number, a transfer coding that is not
    ``chunked``, headers that are none. A proxy in front might read these otherwise, and take what follows for another
    person's request.
    """

    seconds = 30.0
    #: Whether clients are to go elsewhere: each answer then closes its connection.
    leaving: Callable[[], bool]
    # What eventlet refuses by itself is answered plainly, without the page that would repeat the request.
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(explain)s\n"

    def _read_request_line(self) -> Any:
        try:
            # Between two requests nothing is in the buffer, and a line may idle for the socket's time-out.
            waiting = b"\n" not in self.rfile.peek()
        except OSError:  # nobody there any more
            return b""
        with _in_time(time.monotonic() + self.seconds, waiting=waiting):
            return super()._read_request_line()

    def parse_request(self) -> bool:
        """Read the head of a request; False when it was refused."""
        deadline = time.monotonic() + self.seconds
        # What is looked at has usually arrived with the first line; waiting for it has the socket's time-out. A first
        # line that is none is answered at once.
        waiting = not (_REQUEST_LINE.fullmatch(self.raw_requestline) and b"\r\n\r\n" in self.rfile.fp.peek())
        with _in_time(deadline, waiting=waiting):
            if not self._parse_head():
                return False
        coding = self.headers.get_all("Transfer-Encoding", ["chunked"])
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) > 1 or not all(_LENGTH.fullmatch(length) for length in lengths) or self.headers.defects:
            return self._refuse(HTTPStatus.BAD_REQUEST)
        if [word.strip().lower() for word in coding] != ["chunked"]:
            return self._refuse(HTTPStatus.NOT_IMPLEMENTED)
        return True

    def _parse_head(self) -> bool:
        line = _REQUEST_LINE.fullmatch(self.raw_requestline)
        if line is None:
            parsed: bool = super().parse_request()
            return parsed
        self.command, self.path, self.request_version = line[1].decode(), line[2].decode(), "HTTP/1.1"
        self.requestline = f"{self.command} {self.path} HTTP/1.1"
        pairs: list[tuple[str, str]] = []
        while (read := self.rfile.readline()) not in {b"\r\n", b"\n"}:
            field = FIELD.fullmatch(read)
            if field is None:
                return self._refuse(HTTPStatus.BAD_REQUEST)
            pairs.append((field[1].decode(), field[2].decode("latin-1")))
            if len(pairs) > MOST_FIELDS:
                return self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self.headers = Fields(pairs)
        self.close_connection = self.headers.get("Connection", "").lower() == "close"
        return True

    def get_environ(self) -> dict[str, Any]:
        """Describe the request to the application."""
        if self.leaving():
            self.close_connection = True
        environ: dict[str, Any] = super().get_environ()
        body = environ["eventlet.input"]
        # Not a function put in the place of its own: the two would hold each other until the collector comes.
        body.__class__ = BoundedInput
        body.deadline = time.monotonic() + self.seconds + (body.content_length or 0) / SLOWEST
        return environ

    def finish(self) -> None:
        """Close the connection, and let go of the last request: it and this reader hold each other."""
        super().finish()
        self.environ: dict[str, Any] = {}

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


def serve(
    socket: Any, app: Callable[..., Any], *, seconds: float, connections: int, leaving: Callable[[], bool]
) -> None:
    """Answer requests until the greenlet is killed; reading each part of one takes at most ``seconds``.

    While it is ``leaving``, each answer closes its connection.
    """
    # Connections get it from here. Without it the second part of a long answer waits 40 ms for the client's word.
    socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    eventlet.wsgi.server(
        socket,
        app,
        log=ServerLog(),
        custom_pool=eventlet.GreenPool(connections),
        protocol=type("RequestReader", (RequestReader,), {"seconds": seconds, "leaving": staticmethod(leaving)}),
        log_output=False,
        debug=False,
        socket_timeout=seconds,
        keepalive=True,
        capitalize_response_headers=False,
        url_length_limit=8192,
    )

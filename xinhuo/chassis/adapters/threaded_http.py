"""A threaded HTTP server: cheroot, with bounded time for every request and nothing ambiguous let through.

cheroot by itself gives a client that drips bytes as long as it likes, has a fixed number of threads, any of which a
silent client holds, takes two lengths for one, and reads what is left of a refused body into memory. Here:

- reading a head, or a body, takes a bounded time in all, and so does sending an answer;
- a connection holds a thread only while something of a request is there, and threads are made as they are needed;
- header fields are read strictly; a request whose length two readers could understand differently is refused;
- what is left of a body that nobody wanted is thrown away in pieces, and the connection with it.
"""

import contextlib
import io
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from cheroot import server, wsgi
from cheroot.workers import threadpool

from .. import logs
from .heads import FIELD, MOST_FIELDS, SLOWEST

log = logs.get("http_server")
_HEAD_LIMIT = 64 * 1024
#: As many connections are read from at once; more wait until one of these is through.
_READERS = 500
_IDLE_CONNECTIONS = 2000
#: So much of a body that was refused is still read, so that its sender gets to see the answer.
_POLITE = 16 * 1024 * 1024
_PIECE = 64 * 1024
_CHUNK_LINE = 1024
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\r\n]*)?\r\n")


class _TooManyFields(Exception):
    """The head has more fields than any client needs."""


class _Line(socket.SocketIO):
    """The receiving side of a connection: all reads together end at ``deadline``."""

    deadline = float("inf")
    asleep = False

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there, waiting until the deadline at most."""
        if self.asleep:
            return None
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")  # the words by which cheroot knows a time-out
        self._sock.settimeout(left)  # type: ignore[attr-defined]  # the standard library's, not in its types
        return super().readinto(buffer)


class _Reader(io.BufferedReader):
    """What cheroot reads from; its own is written in Python, byte by byte."""

    bytes_read = 0

    def __init__(self, connected: socket.socket) -> None:
        self.line = _Line(connected, "r")
        super().__init__(self.line)

    def has_data(self) -> bool:
        """Tell whether something was received that nobody has read yet."""
        self.line.asleep = True
        try:
            return bool(self.peek())
        finally:
            self.line.asleep = False


class _Writer:
    """What cheroot writes to; each piece must be taken in a bounded time."""

    bytes_written = 0

    def __init__(self, connected: socket.socket, seconds: float) -> None:
        self._socket, self._seconds = connected, seconds

    def write(self, data: bytes) -> int:
        """Send all of it."""
        self._socket.settimeout(self._seconds + len(data) / SLOWEST)
        self._socket.sendall(data)
        return len(data)


class _Fields:
    """Reads header fields into cheroot's dictionary; raises ValueError for what is none."""

    def __call__(self, source: Any, fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """Read until the empty line."""
        count = 0
        while (line := source.readline()) not in {b"\r\n", b"\n"}:
            field = FIELD.fullmatch(line)
            if field is None:
                raise ValueError("Illegal header line.")
            count += 1
            if count > MOST_FIELDS:
                raise _TooManyFields
            name, value = field[1].title(), field[2]
            if b"_" in name:  # in the environment it would pass for the same name with a dash
                continue
            if name == b"Content-Length" and (name in fields or not value.isdigit()):
                raise ValueError("Malformed Content-Length Header.")
            if name in {b"Connection", b"Expect"}:
                value = {b"keep-alive": b"Keep-Alive"}.get(value.lower(), value.lower())
            fields[name] = fields[name] + b", " + value if name in fields else value
        return fields


class _Chunks:
    """A body in chunks; ``closed`` when all of it was read. Raises ValueError for what is no chunk."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._left = 0
        self.closed = False

    def read(self, size: int | None = None) -> bytes:
        """Return so many bytes, or fewer when the body ends before; never asks for what a chunk only announces."""
        pieces: list[bytes] = []
        wanted = float("inf") if size is None or size < 0 else size
        while wanted > 0 and not self.closed:
            if self._left == 0:
                self._begin()
                continue
            piece = self._source.read(int(min(wanted, self._left, _PIECE)))
            if not piece:
                raise ValueError("the body ends within a chunk")
            pieces.append(piece)
            wanted -= len(piece)
            self._left -= len(piece)
            if self._left == 0 and self._line() != b"\r\n":
                raise ValueError("a chunk is longer than it said")
        return b"".join(pieces)

    def _begin(self) -> None:
        size = _CHUNK_SIZE.match(self._line())
        if size is None:
            raise ValueError("a chunk begins with its size")
        self._left = int(size[1], 16)
        if self._left == 0:
            for _ in range(MOST_FIELDS):  # trailers, which nobody here wants to know
                if self._line() == b"\r\n":
                    self.closed = True
                    return
            raise ValueError("more trailers than any client needs")

    def _line(self) -> bytes:
        line: bytes = self._source.readline(_CHUNK_LINE)
        return line


class _Request(server.HTTPRequest):
    """One request and its answer."""

    header_reader = _Fields()

    def parse_request(self) -> None:
        """Read the head, in a bounded time."""
        self.conn.rfile.line.deadline = time.monotonic() + self.server.timeout
        super().parse_request()

    def read_request_headers(self) -> bool:
        """Read the header fields; False when they were refused."""
        try:
            if not super().read_request_headers():  # type: ignore[no-untyped-call]  # cheroot is half typed
                return False
        except _TooManyFields:
            self.simple_response("431 Request Header Fields Too Large")
            return False
        if self.chunked_read and b"Content-Length" in self.inheaders:
            self.close_connection = True  # whatever comes of it: nobody knows where the next request begins
        return True

    def respond(self) -> None:
        """Have the application answer; its reading of the body is bounded in time."""
        length = int(self.inheaders.get(b"Content-Length", 0))
        self.conn.rfile.line.deadline = time.monotonic() + self.server.timeout + length / SLOWEST
        source = self.conn.rfile
        self.rfile = _Chunks(source) if self.chunked_read else server.KnownLengthRFile(source, length)
        self.server.gateway(self).respond()
        self.ensure_headers_sent()
        if self.chunked_write:
            self.conn.wfile.write(b"0\r\n\r\n")
        if not self._has_whole_body():
            self._throw_rest_away()

    def send_headers(self) -> None:
        """Send the head of the answer; the connection ends with it when some of the body was not read."""
        if not self._has_whole_body():
            self.close_connection = True
        super().send_headers()

    def _has_whole_body(self) -> bool:
        return bool(self.rfile.closed) if self.chunked_read else self.rfile.remaining == 0

    def _throw_rest_away(self) -> None:
        """Read on for a while: closing a line on which something waits unread takes the answer from the client."""
        left = _POLITE
        with contextlib.suppress(OSError, ValueError):
            self.conn.socket.shutdown(socket.SHUT_WR)  # so that the client sees the end of the answer
            self.conn.rfile.line.deadline = time.monotonic() + self.server.timeout
            while left > 0 and (piece := self.rfile.read(_PIECE)):
                left -= len(piece)


class _Connection(server.HTTPConnection):
    """One connection; it waits among the idle ones until its first byte is there."""

    RequestHandlerClass = _Request
    greeted = False

    def __init__(self, serving: "HttpServer", connected: socket.socket, _make_file: Any = None) -> None:
        def make_file(connected: socket.socket, mode: str, _size: int) -> Any:
            return _Reader(connected) if mode == "rb" else _Writer(connected, serving.timeout)

        super().__init__(serving, connected, make_file)


class _Pool(threadpool.ThreadPool):
    """Threads that are made when all others are busy, and that hold up nobody's end."""

    _threads: list[Any]

    def put(self, connection: Any) -> None:
        """Hand a connection to a thread."""
        super().put(connection)
        if self.qsize >= self.idle and len(self._threads) < self.max:
            self._threads.append(self._spawn_worker())

    def _spawn_worker(self) -> Any:
        worker = threadpool.WorkerThread(self.server)  # type: ignore[no-untyped-call]
        worker.name, worker.daemon = f"http {worker.name}", True
        worker.start()
        return worker


class HttpServer(wsgi.Server):
    """Serves one WSGI application on one address.

    ``prepare()`` listens, ``serve()`` answers until ``stop()``, which waits for requests in flight.
    """

    ConnectionClass = _Connection
    keep_alive_conn_limit = _IDLE_CONNECTIONS

    def __init__(
        self, address: tuple[str, int], app: Any, *, seconds: float, drain: float, leaving: Callable[[], bool]
    ) -> None:
        """Prepare to listen; ``seconds`` bounds reading a request, ``drain`` the wait for those in flight.

        While it is ``leaving``, each answer closes its connection.
        """
        super().__init__(address, app, server_name="xinhuo", request_queue_size=512)
        self.timeout, self.shutdown_timeout = seconds, drain
        self.max_request_header_size = _HEAD_LIMIT
        self.requests = _Pool(self, min=4, max=_READERS)
        self._leaving = leaving
        self._why_not: OSError | None = None

    def prepare(self) -> None:
        """Listen; raises OSError, with the reason's number, when the address cannot be had."""
        try:
            super().prepare()
        except OSError as error:
            raise self._why_not or error from None

    @property
    def can_add_keepalive_connection(self) -> bool:
        """Whether a connection may be kept after its answer."""
        return not self._leaving() and bool(super().can_add_keepalive_connection)

    @property
    def port(self) -> int:
        """The port, also when any free one was asked for."""
        return int(self.bind_addr[1])

    def bind(self, family: Any, kind: Any, proto: int = 0) -> Any:
        """Make the socket; cheroot keeps the text of an error only."""
        try:
            return super().bind(family, kind, proto)
        except OSError as error:
            self._why_not = error
            raise

    @staticmethod
    def bind_socket(made: Any, address: Any) -> Any:
        """Bind a socket, which else nobody would close."""
        try:
            made.bind(address)
        except OSError:
            made.close()
            raise
        return made

    def process_conn(self, connection: Any) -> None:
        """Give a connection to a thread; a new one only when its first byte is there."""
        if not connection.greeted:
            connection.greeted = True
            self.put_conn(connection)
            return
        super().process_conn(connection)

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        """Log what the server reports about itself, without its text, which may quote a request."""
        if level >= 40:
            log.error("http_server_error", **({} if (error := sys.exception()) is None else logs.describe(error)))


def stop_all(servers: list[HttpServer], timeout: float) -> None:
    """Stop servers at the same time, each when its requests in flight are answered, or when the time is over."""
    stopping = [threading.Thread(target=server.stop, name="http stop", daemon=True) for server in servers]
    for thread in stopping:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in stopping:
        thread.join(max(0.0, deadline - time.monotonic()))


class Slots:
    """Lets so many pieces of work run at once; the others wait, while their requests are read and checked."""

    def __init__(self, number: int) -> None:
        self._free = threading.BoundedSemaphore(number)

    def __call__(self, _name: str, work: Callable[[], Any]) -> Any:
        """Do a piece of work when there is room for it; to be given to ``HttpApp`` as its ``invoke``."""
        with self._free:
            return work()

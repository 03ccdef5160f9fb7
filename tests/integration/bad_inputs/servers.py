"""The two HTTP servers that a service runs on, and requests that no client would send, by raw sockets."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from services.volunteers.service import Volunteers
from tests.support.hours import OFFICE
from tests.support.identity import token_of, verifier
from tests.support.processes import LOOPBACK, end, free_port, listens
from tests.support.services import make_service, write_keys
from tests.support.waiting import wait_for
from xinhuo.chassis.adapters.inprocess import InProcess
from xinhuo.chassis.identity.actor import Actor
from xinhuo.chassis.topology import Topology
from xinhuo.cli import build

ROOT = Path(__file__).resolve().parents[3]
#: How long a server waits for the rest of a request.
PATIENCE = 1


@dataclass(frozen=True)
class Received:
    """One answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_problem(self) -> bool:
        """Tell whether our application answered; a server's own answer is plain text."""
        return self.headers.get("content-type") == "application/problem+json"


@dataclass(frozen=True)
class Server:
    """A server that listens."""

    name: str
    port: int

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection((LOOPBACK, self.port), timeout=PATIENCE * 5)

    def exchange(self, parts: bytes | Iterable[bytes]) -> list[Received]:
        """Send bytes and return every answer until the server closes the connection."""
        with self.connect() as connection:
            # A server that has refused may close before everything was sent.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for part in [parts] if isinstance(parts, bytes) else parts:
                    connection.sendall(part)
            return answers_in(everything(connection))

    def ask(self, raw: bytes) -> Received:
        """Send one request and return its one answer."""
        (received,) = self.exchange(raw)
        return received


def everything(connection: socket.socket) -> bytes:
    """Return all that the server sends until it closes."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            data += part
    return data


def answers_in(data: bytes) -> list[Received]:
    """Take answers apart, each by its Content-Length."""
    found = []
    while data:
        if not data.startswith(b"HTTP/"):  # an answer in the style of HTTP/0.9, for whoever did not speak HTTP
            return [*found, Received(int(data[:3]), {}, data)]
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", len(rest)))
        status = int(first.split(" ")[1])
        if status != 100:
            found.append(Received(status, headers, rest[:length]))
        data = rest[length:] if status != 100 else rest
    return found


def request(
    method: str = "POST",
    target: str = "/v1/hours",
    body: bytes = b"",
    *,
    content_type: str = "application/json",
    length: int | None = None,
    headers: Iterable[str] = (),
    close: bool = True,
) -> bytes:
    """Write a request by hand; ``length`` announces another length than the body's."""
    token = token_for(method, target)
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}"]
    if length != -1:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    lines += headers
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def token_for(method: str, target: str) -> str:
    """Return a token of somebody who may ask for this."""
    return _TOKENS[method == "POST" and target.startswith("/v1/hours")]


#: Of whoever may log hours, and of whoever may do the rest.
_TOKENS = {
    True: token_of(Actor(UUID(int=1), "unit_operator", unit=OFFICE), seconds=7200),
    False: token_of(Actor(UUID(int=2), "bureau_admin"), seconds=7200),
}


def json_request(body: Any, **options: Any) -> bytes:
    """Write a request with a JSON body."""
    return request(body=json.dumps(body, ensure_ascii=False).encode(), **options)


@contextlib.contextmanager
def threaded(database_url: str) -> Iterator[Server]:
    """Serve volunteers as ``xinhuo up`` does without a broker: threads in this process."""
    service = make_service(Volunteers, database_url)
    service.runtime.verifier = verifier()
    adapter = InProcess([], Topology((), ()))
    try:
        port = adapter.serve(build.make_app(service), LOOPBACK, 0, seconds=PATIENCE)
        yield Server("threads", port)
    finally:
        adapter.stop()
        service.runtime.db.close()


@contextlib.contextmanager
def on_nameko(
    database_url: str, amqp_uri: str, folder: Path, portal_url: str
) -> Iterator[tuple[Server, Callable[[], str]]]:
    """Serve volunteers as ``xinhuo serve`` does: nameko and eventlet in a process of its own.

    The second value returns what the process has logged so far.
    """
    port = free_port()
    environment = {
        **os.environ,
        "XINHUO_PORTAL_URL": portal_url,
        "AMQP_URI": amqp_uri,
        "DATABASE_URL": database_url,
        "XINHUO_DATA": str(folder),
        "XINHUO_REQUEST_SECONDS": str(PATIENCE),
        "XINHUO_LOG_LEVEL": "debug",
    }
    write_keys(folder / "master.key")
    log = folder / "api.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "xinhuo.cli.process", "volunteers", "--role", "api", "--port", str(port)],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: listens(port) or process.poll() is not None, 30, "the api to listen")
        assert process.poll() is None, log.read_text()
        yield Server("nameko", port), lambda: log.read_text(errors="replace")
    finally:
        end(process, signal.SIGTERM, 15)

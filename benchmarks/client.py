"""A load generator of a process of its own: ``python -m benchmarks.client PORT PATH CONNECTIONS [RATE] < bodies``.

Reads one JSON body a line. Without a rate each connection sends its next request when the last is answered; with
one, a request is due every 1/RATE seconds whether or not the earlier ones are answered, as from people who do not
know of each other. Prints one JSON object: how many answers of each status, the moment of the first request and the
seconds to the last answer, and with a rate, for each record made, its id and the moment its request was due.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import cast

#: The variable with the token that each request shows, if any.
TOKEN = "BENCH_TOKEN"  # noqa: S105  (a name)


class _Load:
    """The requests to send, and what became of them."""

    def __init__(self, path: str, bodies: list[bytes], rate: float) -> None:
        self.statuses: Counter[int] = Counter()
        self.due: dict[str, float] = {}
        self.waiting: Iterator[tuple[int, bytes]] = iter(enumerate(bodies))
        self.rate = rate
        self.started = time.time()
        token = os.environ.get(TOKEN)
        who = f"Authorization: Bearer {token}\r\n" if token else ""
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{who}Content-Type: application/json\r\nContent-Length: "
        self.head = head.encode()

    def note(self, status: int, content: bytes, due: float) -> None:
        """Keep what became of a request."""
        if status >= 300 and not self.statuses[status]:
            print(content.decode(errors="replace")[:500], file=sys.stderr)
        self.statuses[status] += 1
        if self.rate:
            self.due[str(json.loads(content)["id"])] = due


class _Line(asyncio.Protocol):
    """One keep-alive connection, driven by what arrives: a task for each would take from whoever is measured."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._loop = asyncio.get_running_loop()
        self.ended = self._loop.create_future()
        self._arrived = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def next(self) -> None:
        """Send the next request when it is due."""
        number, body = next(self._load.waiting, (-1, b""))
        if number < 0:
            self._transport.close()
            self.ended.set_result(None)
            return
        self._due = self._load.started + number / self._load.rate if self._load.rate else 0.0
        if (early := self._due - time.time()) > 0:
            self._loop.call_later(early, self._send, body)
        else:
            self._send(body)

    def _send(self, body: bytes) -> None:
        self._transport.write(b"%b%d\r\n\r\n%b" % (self._load.head, len(body), body))

    def data_received(self, data: bytes) -> None:
        self._arrived += data
        head, end, content = self._arrived.partition(b"\r\n\r\n")
        if not end or len(content) < _length_of(head):
            return
        self._arrived = b""
        self._load.note(int(head.split(b" ", 2)[1]), content, self._due)
        self.next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(error or ConnectionError("closed in the middle"))


def _length_of(head: bytes) -> int:
    return int(head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])


async def _run(port: int, path: str, connections: int, rate: float, bodies: list[bytes]) -> dict[str, object]:
    load = _Load(path, bodies, rate)
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: _Line(load), "127.0.0.1", port) for _ in range(connections)]
    load.started = time.time()
    for _, line in made:
        line.next()
    await asyncio.gather(*(line.ended for _, line in made))
    seconds = time.time() - load.started
    return {"statuses": dict(load.statuses), "started": load.started, "seconds": seconds, "due": load.due}


if __name__ == "__main__":
    sent = [line.rstrip(b"\n") for line in sys.stdin.buffer]
    port, path, connections, *rest = sys.argv[1:]
    print(json.dumps(asyncio.run(_run(int(port), path, int(connections), float(rest[0]) if rest else 0.0, sent))))

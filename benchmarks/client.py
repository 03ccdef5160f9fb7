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
from collections.abc import Awaitable, Callable, Iterator

#: The variable with the token that each request shows, if any.
TOKEN = "BENCH_TOKEN"  # noqa: S105  (a name)


class _Line:
    """One keep-alive connection."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        token = os.environ.get(TOKEN)
        who = f"Authorization: Bearer {token}\r\n" if token else ""
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{who}Content-Type: application/json\r\nContent-Length: "
        self._head = head.encode()

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def post(self, body: bytes) -> tuple[int, bytes]:
        self._writer.write(self._head + str(len(body)).encode() + b"\r\n\r\n" + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        return int(answer.split(b" ", 2)[1]), await self._reader.readexactly(length)

    def close(self) -> None:
        self._writer.close()


class _Load:
    """The requests to send, and what became of them."""

    def __init__(self, bodies: list[bytes], rate: float) -> None:
        self.statuses: Counter[int] = Counter()
        self.due: dict[str, float] = {}
        self._waiting: Iterator[tuple[int, bytes]] = iter(enumerate(bodies))
        self._rate = rate
        self.started = time.time()

    async def work(self, line: _Line) -> None:
        for number, body in self._waiting:
            due = self.started + number / self._rate if self._rate else 0.0
            if (early := due - time.time()) > 0:
                await asyncio.sleep(early)
            status, content = await line.post(body)
            if status >= 300 and not self.statuses[status]:
                print(content.decode(errors="replace")[:500], file=sys.stderr)
            self.statuses[status] += 1
            if self._rate:
                self.due[str(json.loads(content)["id"])] = due
        line.close()


async def _run(port: int, path: str, connections: int, rate: float, bodies: list[bytes]) -> dict[str, object]:
    lines = [_Line(port, path) for _ in range(connections)]
    await asyncio.gather(*(line.open() for line in lines))
    load = _Load(bodies, rate)
    work: Callable[[_Line], Awaitable[None]] = load.work
    await asyncio.gather(*(work(line) for line in lines))
    seconds = time.time() - load.started
    return {"statuses": dict(load.statuses), "started": load.started, "seconds": seconds, "due": load.due}


if __name__ == "__main__":
    sent = [line.rstrip(b"\n") for line in sys.stdin.buffer]
    port, path, connections, *rest = sys.argv[1:]
    print(json.dumps(asyncio.run(_run(int(port), path, int(connections), float(rest[0]) if rest else 0.0, sent))))

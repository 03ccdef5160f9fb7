"""A load generator: many keep-alive connections, each sending the next request when the last is answered.

``python -m benchmarks.client PORT PATH CONNECTIONS < bodies`` reads one JSON body a line and prints one JSON
object: how many answers of each status, and the seconds from the first request to the last answer.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator


async def _one_connection(port: int, path: str, bodies: Iterator[bytes], statuses: Counter[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    for body in bodies:
        writer.write(head.encode() + str(len(body)).encode() + b"\r\n\r\n" + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        status = int(answer.split(b" ", 2)[1])
        length = next(
            int(line.split(b":")[1]) for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        content = await reader.readexactly(length)
        if status >= 300 and not statuses[status]:
            print(content.decode(errors="replace")[:500], file=sys.stderr)
        statuses[status] += 1
    writer.close()


async def _run(port: int, path: str, connections: int, bodies: list[bytes]) -> dict[str, object]:
    statuses: Counter[int] = Counter()
    shared = iter(bodies)
    started = time.time()
    await asyncio.gather(*(_one_connection(port, path, shared, statuses) for _ in range(connections)))
    return {"statuses": dict(statuses), "started": started, "seconds": time.time() - started}


if __name__ == "__main__":
    lines = [line.rstrip(b"\n") for line in sys.stdin.buffer]
    result = asyncio.run(_run(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), lines))
    print(json.dumps(result))

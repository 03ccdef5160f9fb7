"""One HTTP request a connection, with the one distinction that matters here: certainly not sent, or perhaps done."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 12.0


class NotSent(Exception):
    """Nobody took the connection: the request was certainly not done."""


class NoAnswer(Exception):
    """The request left and no whole answer came back: it may or may not have been done."""


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    content_type: str
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON; raises ValueError."""
        return json.loads(self.body)


async def request(
    port: int,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    seconds: float = ANSWER_SECONDS,
) -> Reply:
    """Send one request to a port of this machine. Raises NotSent or NoAnswer."""
    try:
        opened = asyncio.open_connection("127.0.0.1", port)
        reader, writer = await asyncio.wait_for(opened, CONNECT_SECONDS)
    except (OSError, TimeoutError) as error:
        raise NotSent(type(error).__name__) from error
    try:
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return await asyncio.wait_for(_reply(reader), seconds)
    except (OSError, TimeoutError, EOFError, ValueError) as error:
        raise NoAnswer(type(error).__name__) from error
    finally:
        writer.close()


async def _reply(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if "content-length" in fields:
        body = await reader.readexactly(int(fields["content-length"]))
    else:
        body = await reader.read()
    return Reply(status, fields.get("content-type", ""), body)

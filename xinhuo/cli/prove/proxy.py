"""A TCP proxy between the services and a server, which can delay, swallow and cut what passes.

Works without root and without the server's help. What is swallowed is held back, as a cut cable would: when it
is whole again, everything arrives, unless one side has given up by then.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial

_PIECE = 65536
_LINGER_NOT = struct.pack("ii", 1, 0)


class Proxy:
    """One listening port in front of one server; its methods may be called from any thread."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name=f"proxy {port}", daemon=True)
        self._listening: Future[int] = Future()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._delay = 0.0
        self._gates: dict[str, asyncio.Event] = {}
        self.port = 0

    def start(self) -> int:
        """Listen and return the port."""
        self._thread.start()
        self.port = self._listening.result(10)
        return self.port

    def stop(self) -> None:
        """Cut everything and listen no longer."""
        self._call(lambda: _each(task.cancel for task in self._tasks))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def redirect(self, host: str, port: int) -> None:
        """Lead new connections to another server, as a balancer does when one is gone."""
        self._upstream = (host, port)

    def delay(self, seconds: float) -> None:
        """Let everything that passes take so much longer, in each direction."""
        self._delay = seconds

    def swallow(self, directions: tuple[str, ...] = ("to_server", "to_client")) -> None:
        """Let nothing pass in the given directions; connections stay open."""
        self._call(lambda: _each(self._gates[direction].clear for direction in directions))

    def reset(self) -> None:
        """Cut every open connection with a TCP reset; new ones are welcome."""
        self._call(lambda: _each(partial(_cut, writer) for writer in list(self._open)))

    def clear(self) -> None:
        """Let everything pass at once again."""
        self._delay = 0.0
        self._call(lambda: _each(gate.set for gate in self._gates.values()))

    def _call(self, work: Callable[[], object]) -> None:
        done: Future[None] = Future()

        def call() -> None:
            work()
            done.set_result(None)

        self._loop.call_soon_threadsafe(call)
        done.result(10)

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._gates = {direction: asyncio.Event() for direction in ("to_server", "to_client")}
        for gate in self._gates.values():
            gate.set()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._listening.set_result(self._server.sockets[0].getsockname()[1])
        self._loop.run_forever()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (for the type checker)
        self._tasks.add(task)
        self._open.add(writer)
        try:
            await self._gates["to_server"].wait()
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._upstream)
        except (OSError, asyncio.CancelledError):
            _cut(writer)
            self._forget(writer, task)
            return
        self._open.add(upstream_writer)
        try:
            await asyncio.gather(
                self._pump(reader, upstream_writer, "to_server"), self._pump(upstream_reader, writer, "to_client")
            )
        except (OSError, EOFError):
            _cut(writer)
            _cut(upstream_writer)
        except asyncio.CancelledError:
            _cut(writer)
            _cut(upstream_writer)
        finally:
            self._open.discard(upstream_writer)
            upstream_writer.close()
            self._forget(writer, task)

    def _forget(self, writer: asyncio.StreamWriter, task: "asyncio.Task[None]") -> None:
        self._open.discard(writer)
        self._tasks.discard(task)
        writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        while data := await reader.read(_PIECE):
            if self._delay:
                await asyncio.sleep(self._delay)
            await self._gates[direction].wait()
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()


def _each(works: Iterable[Callable[[], object]]) -> None:
    for work in works:
        work()


def _cut(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        connection = writer.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    writer.transport.abort()

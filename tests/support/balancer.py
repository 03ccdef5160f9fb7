"""What a Service of Kubernetes does: one address for each service, and behind it whatever processes are ready."""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Iterable

from tests.support.processes import LOOPBACK
from tests.support.waiting import wait_for

_PIECE = 64 * 1024


class Balancer:
    """Listens at one port for each service and passes each connection on to one of its processes in turn."""

    def __init__(self, ports: Iterable[int]) -> None:
        self._behind: dict[int, list[int]] = {port: [] for port in ports}
        self._open: Counter[int] = Counter()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        for port in self._behind:
            asyncio.run_coroutine_threadsafe(self._listen(port), self._loop).result(10)

    def add(self, port: int, process_port: int) -> None:
        """Let a process that is ready have new connections."""
        self._loop.call_soon_threadsafe(self._behind[port].append, process_port)

    def remove(self, port: int, process_port: int) -> None:
        """Give a process no new connections, and return when those it has are done."""

        async def remove() -> None:
            self._behind[port].remove(process_port)

        asyncio.run_coroutine_threadsafe(remove(), self._loop).result(10)
        wait_for(lambda: not self._open[process_port], 60, f"the connections to {process_port} to end")

    def close(self) -> None:
        """End all connections."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()

        async def end() -> None:
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)  # in which transports that were closed go

        self._loop.run_until_complete(end())
        self._loop.close()

    async def _listen(self, port: int) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._pass_on(port, reader, writer)

        self._servers.append(await asyncio.start_server(serve, LOOPBACK, port))

    async def _pass_on(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        processes = self._behind[port]
        writers = [writer]
        try:
            if processes:
                processes.append(processes.pop(0))
                await self._through(processes[-1], reader, writers)
        except OSError:
            return  # the client sees its connection closed, as it would without us
        finally:
            for each in writers:
                each.close()

    async def _through(self, port: int, reader: asyncio.StreamReader, writers: list[asyncio.StreamWriter]) -> None:
        self._open[port] += 1
        try:
            behind, to_behind = await asyncio.open_connection(LOOPBACK, port)
            writers.append(to_behind)
            await asyncio.gather(_pump(reader, to_behind), _pump(behind, writers[0]))
        finally:
            self._open[port] -= 1


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()

"""What a Service of Kubernetes does: one address for each service, and behind it whatever processes are ready."""

import contextlib
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable

from tests.support.processes import LOOPBACK
from tests.support.waiting import wait_for

_PIECE = 64 * 1024


class Balancer:
    """Listens at one port for each service and passes each connection on to one of its processes in turn."""

    def __init__(self, ports: Iterable[int]) -> None:
        self._lock = threading.Lock()
        self._behind: dict[int, list[int]] = {port: [] for port in ports}
        #: Of each process, the connections on which it was asked and has not answered yet.
        self._asked: defaultdict[int, set[socket.socket]] = defaultdict(set)
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False
        for port in self._behind:
            self._start(self._listen, port, self._keep(socket.create_server((LOOPBACK, port), backlog=64)))

    def add(self, port: int, process_port: int) -> None:
        """Let a process that is ready have new connections."""
        with self._lock:
            self._behind[port].append(process_port)

    def remove(self, port: int, process_port: int) -> None:
        """Give a process no new connections, and return when it has answered on those it has.

        Idle ones stay: whoever holds them finds them closed before he sends anything.
        """
        with self._lock:
            self._behind[port].remove(process_port)
        wait_for(lambda: not self._asked[process_port], 60, f"the answers of {process_port}")

    def close(self) -> None:
        """End all connections."""
        with self._lock:
            self._closed = True
            sockets = list(self._sockets)
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _listen(self, port: int, listening: socket.socket) -> None:
        with listening, contextlib.suppress(OSError):  # raised when it is shut down
            while True:
                client, _ = listening.accept()
                self._start(self._serve, port, self._keep(client))

    def _serve(self, port: int, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:  # the client sees its connection closed, as it would without us
            with self._lock:
                processes = self._behind[port]
                if not processes:
                    return
                processes.append(processes.pop(0))
                process = processes[-1]
                self._asked[process].add(client)
            try:
                with self._keep(socket.create_connection((LOOPBACK, process), 10)) as behind:
                    behind.settimeout(None)
                    back = self._start(_pump, behind, client, lambda: self._asked[process].discard(client))
                    _pump(client, behind, lambda: self._asked[process].add(client))
                    back.join()
            finally:
                self._asked[process].discard(client)

    def _start(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        with self._lock:
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()
        return thread

    def _keep(self, made: socket.socket) -> socket.socket:
        with self._lock:
            self._sockets = {each for each in self._sockets if each.fileno() >= 0} | {made}
            if self._closed:
                made.close()
        return made


def _pump(source: socket.socket, sink: socket.socket, passing: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            passing()
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)

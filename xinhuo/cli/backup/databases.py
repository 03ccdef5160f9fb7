"""The databases that services live in, and how PostgreSQL's programs are told of them."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from xinhuo.chassis import roles
from xinhuo.chassis.config import SERVICES, Settings
from xinhuo.chassis.markers import Subscription, marked
from xinhuo.cli import build
from xinhuo.cli.exits import Exit

from .refused import BackupRefused

_MINOR = 10_000
#: Variables of libpq that say how to trust and be trusted, not where the database is.
_KEPT = ("PGSSL", "PGPASSFILE", "PGCHANNELBINDING")
_SERVICE = "xinhuo-backup"
#: Before a query would leave out rows that the account may not see, it is refused: nothing is missed without a word.
_OPTIONS = "-ctimezone=UTC -cidle_in_transaction_session_timeout=0 -cstatement_timeout=0 -crow_security=off"


@dataclass(frozen=True)
class Place:
    """A database, and the services whose schemas are in it."""

    url: str
    services: tuple[str, ...]

    @property
    def parameters(self) -> dict[str, Any]:
        """What libpq calls them."""
        return conninfo_to_dict(self.url.replace("postgresql+psycopg", "postgresql", 1))

    @property
    def shown(self) -> str:
        """Where it is, for people: without user and password."""
        given = self.parameters
        return f"{given.get('host', 'localhost')}:{given.get('port', 5432)}/{given['dbname']}"

    def arguments(self) -> list[str]:
        """Return what names the database on the command line of a program: no password is in it."""
        given = {name: value for name, value in self.parameters.items() if name not in ("password", "sslpassword")}
        if self.parameters.get("sslpassword"):
            given["service"] = _SERVICE
        return [f"--dbname={make_conninfo('', **given)}"]

    @contextmanager
    def environment(self) -> Iterator[dict[str, str]]:
        """Give the environment of a program: settings of libpq by chance are left out, passwords are in it.

        How the server is known and the client is let in stays. That of the client's key has no variable: it is in a
        file for as long as the block takes.
        """
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith("PG") or name.startswith(_KEPT)
        }
        clean["PGAPPNAME"] = "xinhuo-backup"
        if password := self.parameters.get("password"):
            clean["PGPASSWORD"] = str(password)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:  # mode 0600
            if of_key := self.parameters.get("sslpassword"):
                file.write(f"[{_SERVICE}]\nsslpassword={of_key}\n")
                file.flush()
                clean["PGSERVICEFILE"] = file.name
            yield clean


def places(settings: Settings, services: tuple[str, ...] = SERVICES) -> list[Place]:
    """Return the databases of services in the order in which they are copied; raises BadSettings.

    Who listens is copied before who publishes: then the copy of every outbox holds at least what the copies of its
    listeners have taken in, and a replay closes the gap. The other way round nothing could.
    """
    of: dict[tuple[Any, ...], list[str]] = {}
    urls: dict[tuple[Any, ...], str] = {}
    for service in services:
        url = settings.database_url_of(service)
        given = Place(url, ()).parameters
        key = tuple(given.get(name) for name in ("host", "hostaddr", "port", "dbname"))
        of.setdefault(key, []).append(service)
        urls.setdefault(key, url)
    order = listeners_first()
    found = [Place(urls[key], tuple(sorted(names, key=order.index))) for key, names in of.items()]
    return sorted(found, key=lambda place: max(map(order.index, place.services)))


def listeners_first() -> list[str]:
    """Return the services, each before those whose events it takes."""
    publishers = {name: publishers_of(name) - {name} for name in SERVICES}
    try:
        return list(TopologicalSorter(publishers).static_order())[::-1]
    except CycleError as error:  # nobody may notice, or a copy could hold effects without their causes
        raise AssertionError(f"services listen to each other in a circle: {error.args[1]}") from None


def publishers_of(service: str) -> set[str]:
    """Return the services whose events a service takes."""
    marks: dict[str, Subscription] = marked(build.service_class(service), Subscription)
    return {event.publisher for mark in marks.values() for event in mark.events}


@contextmanager
def connected(place: Place) -> Iterator["psycopg.Connection[Any]"]:
    """Connect as whoever the URL names, not as the role of a service; raises BackupRefused."""
    given = place.parameters
    ours = {
        "connect_timeout": 5,
        "application_name": "xinhuo-backup",
        "options": f"{given.get('options', '')} {_OPTIONS}".strip(),
    }
    try:
        connection = psycopg.connect(**{**given, **ours})
    except psycopg.OperationalError as error:
        if f'database "{place.parameters["dbname"]}" does not exist' in str(error):
            raise BackupRefused(
                f"没有数据库 {place.shown}：请先建立", f"there is no database {place.shown}: create it first"
            ) from None
        raise BackupRefused(
            f"PostgreSQL 连接不上（{place.shown}），请检查 DATABASE_URL 与服务状态",
            f"the database {place.shown} is away",
            Exit.UNAVAILABLE,
        ) from None
    with connection:
        yield connection


def is_half_restored(connection: "psycopg.Connection[Any]", service: str) -> bool:
    """Tell whether a restore of the service was begun and has not ended: what is there is of an earlier time."""
    return connection.execute("SELECT to_regnamespace(%s)", (roles.mark(service),)).fetchone() != (None,)


def server_major(connection: "psycopg.Connection[Any]") -> int:
    """Return the major version of the server."""
    return connection.info.server_version // _MINOR

"""The databases that services live in, and how PostgreSQL's programs are told of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from xinhuo.chassis.config import SERVICES, Settings
from xinhuo.chassis.markers import Subscription, marked
from xinhuo.cli import build
from xinhuo.cli.exits import Exit

from .refused import BackupRefused

_MINOR = 10_000
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
        """Return what names the database on the command line of a program: a password is not in it."""
        given = {name: value for name, value in self.parameters.items() if name != "password"}
        return [f"--dbname={make_conninfo('', **given)}"]

    def environment(self) -> dict[str, str]:
        """Return the environment of a program: settings of libpq by chance are left out, the password is in it."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        password = self.parameters.get("password")
        return {**clean, "PGAPPNAME": "xinhuo-backup", **({"PGPASSWORD": str(password)} if password else {})}


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
    try:
        connection = psycopg.connect(
            **{**place.parameters, "connect_timeout": 5, "application_name": "xinhuo-backup", "options": _OPTIONS},
        )
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


def server_major(connection: "psycopg.Connection[Any]") -> int:
    """Return the major version of the server."""
    return connection.info.server_version // _MINOR

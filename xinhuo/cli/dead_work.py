"""Where ``xinhuo dead`` finds the letters that its options mean, and how it works through many."""

import getpass
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from .exits import Exit
from .output import fail, instant_of, refuse_empty

if TYPE_CHECKING:
    from xinhuo.chassis.db import Database
    from xinhuo.chassis.desk.choice import Chosen
    from xinhuo.chassis.desk.decisions import Decision, Item

Desks = list[tuple[str, "Database"]]
#: A service with its database, the letters there that are meant, and how many they are.
Home = tuple[str, "Database", "Chosen", int]


def portions(chosen: "Chosen", most: int, work: Callable[["Chosen", int], "list[Item]"]) -> "Iterator[list[Item]]":
    """Do the work in transactions of bounded size, passing by those that a portion before left waiting."""
    from xinhuo.chassis.desk.decisions import MOST_AT_ONCE

    for start in range(0, len(chosen.ids), MOST_AT_ONCE):
        yield work(replace(chosen, ids=chosen.ids[start : start + MOST_AT_ONCE]), MOST_AT_ONCE)
    while not chosen.ids and most > 0:
        items = work(chosen, min(most, MOST_AT_ONCE))
        if not items:
            return
        yield items
        most -= len(items)
        chosen = replace(chosen, after=(items[-1].died_at, items[-1].id))


def homes_of(desks: "Desks", ids: Sequence[UUID], *, waiting: bool) -> "list[Home]":
    """Find the services that have the letters named. Raises DeadLetterNotFound.

    With ``waiting`` it raises DeadLetterSettled when one of them does not wait, before anything is done about any.
    """
    import sqlalchemy as sa

    from xinhuo.chassis.desk.choice import Chosen, DeadLetterNotFound, DeadLetterSettled

    homes: list[Home] = []
    states: dict[UUID, str] = {}
    for name, db in desks:
        with db.transaction() as session:
            statement = sa.text("SELECT id, state FROM dead_letters WHERE id = ANY(:ids)")
            found = {row.id: row.state for row in session.execute(statement, {"ids": list(ids)})}
        if found:
            homes.append((name, db, Chosen(ids=tuple(one for one in dict.fromkeys(ids) if one in found)), len(found)))
        states |= found
    if missing := set(ids) - states.keys():
        raise DeadLetterNotFound(sorted(missing))
    settled = {one: state for one, state in states.items() if state != "waiting"}
    if waiting and settled:
        raise DeadLetterSettled(settled)
    return homes


def check_handler(handler: str) -> None:
    """Fail when no service has such a handler: a slip of the pen must not look like an empty desk."""
    from . import build

    known = sorted(queue.name for queue in build.full_topology().queues if not queue.name.endswith(".dead"))
    if handler not in known:
        fail(Exit.USAGE, f"没有处理者 {handler!r}，可选 / no such handler; one of: {', '.join(known)}")


def counted(desks: "Desks", chosen: "Chosen") -> "list[Home]":
    """Return the services with letters that a filter finds now; what dies from now on is not meant."""
    from xinhuo.chassis.db import database_now
    from xinhuo.chassis.desk.choice import count

    homes = []
    for name, db in desks:
        with db.transaction() as session:
            mine = replace(chosen, until=database_now(session))
            if found := count(session, mine):
                homes.append((name, db, mine, found))
    return homes


def chosen_by(
    *,
    ids: list[UUID] | None = None,
    handler: str | None = None,
    reason: str | None = None,
    type: str | None = None,
    since: str | None = None,
) -> "Chosen":
    """Return which letters the options mean; ids and conditions together end the command."""
    from xinhuo.chassis.desk.choice import Chosen
    from xinhuo.chassis.web.schema import OFFICE_ZONE

    refuse_empty({"--handler": handler, "--reason": reason, "--type": type, "--since": since})
    if ids and (handler or reason or type or since):
        fail(Exit.USAGE, "编号与条件不能同用 / ids and conditions do not go together")
    died_since = instant_of(since, "--since", OFFICE_ZONE) if since else None
    return Chosen(tuple(ids or ()), handler, reason, type, died_since)


def decision_of(by: str | None, why: str) -> "Decision":
    """Check who and why as the HTTP interface does."""
    import marshmallow as ma

    from xinhuo.chassis.desk.decisions import Decision
    from xinhuo.chassis.web import schema

    who = by or _user()
    for option, field, value in (("--by", schema.Code(max=64), who), ("--why", schema.Text(max=500), why)):
        try:
            field.deserialize(value)
        except ma.ValidationError as error:
            _, zh, en = str(error.messages[0]).split("|")
            fail(Exit.USAGE, f"{option}：{zh} / {en} ({value!r})")
    return Decision(who, why.strip())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user by number only, as in some containers
        fail(
            Exit.USAGE,
            "请用 --by 写明是谁决定的，此系统用户没有名字 / say who decides with --by: this user has no name",
        )


@contextmanager
def desks_of(service: str | None) -> Iterator[Desks]:
    """Give the services' databases; what a person can do something about becomes one message and an exit code."""
    from xinhuo.chassis import config
    from xinhuo.chassis.desk.choice import DeadLetterNotFound, DeadLetterSettled

    from . import build
    from .main import explained

    if service is not None and service not in config.SERVICES:
        names = "、".join(config.SERVICES)
        fail(
            Exit.USAGE,
            f"没有服务 {service!r}，可选 {names} / unknown service; one of {', '.join(config.SERVICES)}",
        )
    with explained(), ExitStack() as stack:
        settings = config.load(os.environ)
        made = [(name, build.database(name, settings)) for name in ([service] if service else config.SERVICES)]
        for _, db in made:
            stack.callback(db.close)
        try:
            yield made
        except (DeadLetterNotFound, DeadLetterSettled) as error:
            fail(Exit.REFUSED, f"{error.zh} / {error.en}")

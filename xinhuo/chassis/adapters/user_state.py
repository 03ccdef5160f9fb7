"""The users of RabbitMQ beside what they should be: shown as a difference, made where missing, else mended.

Users are made for one virtual host and named after it; what one of them may do in another is taken away. A password is
changed when another one is given for the user, and else never.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..broker_rights import LIMITS, Limits, Policy, Rights, of_department, policies
from .broker_state import DIFFERS, MISSING, SAME, UNKNOWN, Item, Unequal
from .management import Management, hash_of, is_password

KEYS = "routing keys at "
VHOST = "virtual host "


@dataclass(frozen=True)
class User:
    """A user as it should be; without a password it keeps the one that it has."""

    name: str
    rights: Rights
    password: str | None = None
    rotated: bool = False
    """The password is a new one, or would be if this were no dry run."""


def name_of(vhost: str, *what: str) -> str:
    """Return the name of our user in a virtual host: ``xinhuo.awards``, ``xinhuo.dept.traffic``."""
    return ".".join((vhost.strip("/") or "default", *what))


def department_user(vhost: str, code: str) -> str:
    """Return the name of a department's user."""
    return name_of(vhost, "dept", code)


def department_of(vhost: str, user: str) -> str | None:
    """Return the code of the department whose user this is, if it is one."""
    begins = department_user(vhost, "")
    return user.removeprefix(begins) if user.startswith(begins) else None


def inspect(api: Management, services: Sequence[User], limits: Limits = LIMITS) -> list[Item]:
    """Return the users of services and departments, whoever else may do something here, and the policies.

    Changes nothing. Raises ManagementRefused and BrokerUnavailable.
    """
    return [item for item, _ in _Found(api, limits).everything(services)]


def apply(api: Management, services: Sequence[User], limits: Limits = LIMITS) -> list[Item]:
    """Make the users that are missing, mend those that differ, and bound the queues of departments; return all."""
    found = _Found(api, limits)
    items = []
    for item, wanted in found.everything(services):
        if item.state in (SAME, UNKNOWN) or wanted is None:
            items.append(item)
            continue
        if isinstance(wanted, Policy):
            api.put_policy(wanted)
        else:
            found.put(wanted)
        items.append(replace(item, done="made" if item.state == MISSING else "mended"))
    return items


def apply_department(api: Management, user: User, limits: Limits = LIMITS) -> list[Item]:
    """Make or mend the user of one department, and bound the queues of all; return both."""
    found = _Found(api, limits)
    bounds = policies(limits)[0]
    items = [found.user(user), found.policy(bounds)]
    if items[1].state != SAME:  # first: no queue is there before it has its bounds
        api.put_policy(bounds)
    if items[0].state != SAME:
        found.put(user)
    done = {MISSING: "made", DIFFERS: "mended"}
    return [replace(item, done=done.get(item.state)) for item in items]


class _Found:
    """What is at the broker."""

    def __init__(self, api: Management, limits: Limits) -> None:
        self._api, self._limits = api, limits
        self._users = api.users()
        self._permissions = api.permissions()
        self._topics = api.topic_permissions()

    def everything(self, services: Sequence[User]) -> Iterator[tuple[Item, User | Policy | None]]:
        """Yield every item with what it should be."""
        known = [*services, *self._departments()]
        for user in known:
            yield self.user(user), user
        for policy in policies(self._limits):
            yield self.policy(policy), policy
        ours = self._api.asking.union(user.name for user in known)
        for row in self._permissions:
            if row["vhost"] == self._api.vhost and row["user"] not in ours:
                yield Item("user", row["user"], UNKNOWN, tuple(_patterns(row))), None

    def user(self, user: User) -> Item:
        """Return a user beside what it should be."""
        there = self._users.get(user.name)
        if there is None:
            return Item("user", user.name, MISSING)
        unequal = tuple(self._unequal(user, there))
        return Item("user", user.name, DIFFERS if unequal else SAME, unequal)

    def policy(self, wanted: Policy) -> Item:
        """Return a policy beside what it should be."""
        kind, there = "operator policy" if wanted.operator else "policy", self._api.policy(wanted)
        if there is None:
            return Item(kind, wanted.name, MISSING)
        described = {"pattern": wanted.pattern, "apply-to": "queues", **wanted.definition}
        unequal = tuple(_differences(described, {**there, **there["definition"]}))
        return Item(kind, wanted.name, DIFFERS if unequal else SAME, unequal)

    def put(self, user: User) -> None:
        """Make the user what it should be; a right is taken away before another is given."""
        api, there = self._api, self._users.get(user.name)
        for row in self._of(user.name, self._permissions):
            if row["vhost"] != api.vhost:
                api.delete_permissions(user.name, row["vhost"])
        if there is None and user.password is None:
            raise ValueError(f"no password for the new user {user.name}")
        if there is None or (user.password is not None and not is_password(user.password, there)):
            api.put_user(user.name, hash_of(user.password or ""))
        elif there.get("tags"):
            api.put_user(user.name, there["password_hash"], there["hashing_algorithm"])
        api.put_limits(user.name, user.rights.limits)
        api.replace_topic_permissions(user.name, user.rights.keys)
        api.put_permissions(user.name, user.rights.patterns())

    def _departments(self) -> Iterator[User]:
        for name in self._users:
            if (code := department_of(self._api.vhost, name)) is not None:
                yield User(name, of_department(code, self._limits))

    def _unequal(self, user: User, there: Mapping[str, Any]) -> Iterator[Unequal]:
        if user.rotated:
            yield Unequal("password", "new", "old")
        elif user.password is not None and not is_password(user.password, there):
            yield Unequal("password", "as in the file", "another")
        if tags := there.get("tags"):
            yield Unequal("tags", None, ",".join(tags) if isinstance(tags, list) else tags)
        rows = self._of(user.name, self._permissions)
        here = next((row for row in rows if row["vhost"] == self._api.vhost), {})
        yield from _differences(user.rights.patterns(), here)
        for row in rows:
            if row["vhost"] != self._api.vhost:
                yield Unequal(VHOST + row["vhost"], None, ", ".join(f"{one.there}" for one in _patterns(row)))
        keys = {
            row["exchange"]: row["write"]
            for row in self._of(user.name, self._topics)
            if row["vhost"] == self._api.vhost
        }
        both = dict.fromkeys([*user.rights.keys, *keys])
        yield from _differences(
            {KEYS + exchange: user.rights.keys.get(exchange) for exchange in both},
            {KEYS + exchange: pattern for exchange, pattern in keys.items()},
        )
        yield from _differences(user.rights.limits, there.get("limits") or {})

    @staticmethod
    def _of(name: str, rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
        return [row for row in rows if row["user"] == name]


def _differences(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[Unequal]:
    for name, value in wanted.items():
        if there.get(name) != value:
            yield Unequal(name, value, there.get(name))


def _patterns(row: Mapping[str, str]) -> Iterator[Unequal]:
    for what in ("configure", "write", "read"):
        yield Unequal(what, None, row[what])

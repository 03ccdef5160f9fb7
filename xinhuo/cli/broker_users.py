"""The users of RabbitMQ that ``xinhuo topology apply`` makes for our services and ``xinhuo subs create`` for others.

A service's password is in a file of its own, readable by its owner only, as the ``AMQP_URI`` that the service is to
have. It is written before the broker is told, so that one that was killed in between is finished by the next.
"""

import os
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from xinhuo.chassis import broker_rights
from xinhuo.chassis.config import SERVICES, BadSettings, Settings
from xinhuo.chassis.private_file import written
from xinhuo.chassis.topology import Topology

if TYPE_CHECKING:
    from xinhuo.chassis.adapters.broker_state import Item
    from xinhuo.chassis.adapters.management import Management

_PASSWORD_BYTES = 32


@dataclass(frozen=True)
class Users:
    """The users beside what is wanted, the files that were written, and the services whose password nobody knows."""

    items: "list[Item]"
    files: list[Path]
    unknown: list[str]


@dataclass(frozen=True)
class Department:
    """The user of a department; its address when it has a new password, which is shown this once."""

    name: str
    items: "list[Item]"
    uri: str | None


def folder_of(settings: Settings) -> Path:
    """Return where the services' addresses are kept."""
    return settings.data / "broker-users"


def management(settings: Settings) -> "Management | None":
    """Return the management API, if the settings name one."""
    from xinhuo.chassis.adapters.management import Management

    if settings.rabbitmq_api is None or settings.amqp_uri is None:
        return None
    return Management(settings.rabbitmq_api, settings.amqp_uri)


def users_of_services(
    settings: Settings, wanted: Topology, *, dry_run: bool = True, rotate: Collection[str] = ()
) -> Users:
    """Make and mend the users of all services, unless it is a dry run; return them beside what is wanted.

    ``rotate`` names services that get a new password. Raises BadSettings, ManagementRefused, BrokerUnavailable.
    """
    from xinhuo.chassis.adapters import user_state

    api = management(settings)
    assert api is not None  # noqa: S101  (asked before; for the type checker)
    there = api.users()
    users, files, unknown = [], [], []
    for service in SERVICES:
        name = user_state.name_of(api.vhost, service)
        file = folder_of(settings) / f"{service}.env"
        password = _kept(file, name)
        new = service in rotate or (password is None and name not in there)
        if not dry_run:
            password = secrets.token_urlsafe(_PASSWORD_BYTES) if new else password
            if password is not None and _keep(file, address_of(settings, name, password)):
                files.append(file)
        if password is None and not new:
            unknown.append(service)
        rights = broker_rights.of_service(service, wanted)
        users.append(user_state.User(name, rights, password, rotated=service in rotate))
    items = user_state.inspect(api, users) if dry_run else user_state.apply(api, users)
    return Users(items, files, unknown)


def department(settings: Settings, code: str, *, dry_run: bool, rotate: bool) -> Department | None:
    """Make or mend the user of a department, and return it; None where there is no management API."""
    from xinhuo.chassis.adapters import user_state

    api = management(settings)
    if api is None:
        return None
    name = user_state.department_user(api.vhost, code)
    if dry_run:
        return Department(name, [], None)
    new = rotate or name not in api.users()
    password = secrets.token_urlsafe(_PASSWORD_BYTES) if new else None
    user = user_state.User(name, broker_rights.of_department(code), password, rotated=rotate)
    items = user_state.apply_department(api, user)
    return Department(name, items, address_of(settings, name, password) if password else None)


def address_of(settings: Settings, user: str, password: str) -> str:
    """Return AMQP_URI with another user."""
    assert settings.amqp_uri is not None  # noqa: S101  (asked before; for the type checker)
    parts = urlsplit(settings.amqp_uri)
    account = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{account}@{parts.netloc.rpartition('@')[2]}"))


def _kept(file: Path, user: str) -> str | None:
    """Return the password in a file, of `AMQP_URI=` or an address alone; None without file or with another user's."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unusable(file, error) from None
    parts = urlsplit(text.removeprefix("AMQP_URI="))
    return unquote(parts.password) if parts.password and unquote(parts.username or "") == user else None


def _keep(file: Path, uri: str) -> bool:
    """Write an address for whoever starts the service; tell whether it is another than before.

    A file that holds this address alone, as a Secret gives it, stays as it is.
    """
    text = f"AMQP_URI={uri}\n"
    try:
        if file.exists() and file.read_text(encoding="ascii").strip() in (uri, text.strip()):
            return False
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with written(file, text) as temporary:
            os.replace(temporary, file)
    except (OSError, ValueError) as error:
        raise _unusable(file, error) from None
    return True


def _unusable(file: Path, error: Exception) -> BadSettings:
    return BadSettings(
        [f"{file}（{type(error).__name__}）不能读写，见 XINHUO_DATA / it cannot be read or written; see XINHUO_DATA"]
    )

"""The unprivileged account under which a server started by root runs, and what must belong to it."""

import os
import pwd
from pathlib import Path
from typing import NamedTuple

from xinhuo.cli.embedded import errors


class Account(NamedTuple):
    """The uid and gid that the server runs under."""

    uid: int
    gid: int


def account_for(data: Path) -> Account | None:
    """Return the account that serves this data folder, None for our own; takes over data that root copied."""
    owner = data.stat() if data.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner.st_uid != os.geteuid():
            raise errors.foreign_owner(data, owner.st_uid)
        return None
    if owner is not None and owner.st_uid != 0:
        # Not the account preferred today: that changes once the system's own PostgreSQL gets installed.
        return Account(owner.st_uid, owner.st_gid)
    account = _service_account()
    if owner is not None:
        give(data, account)
        data.chmod(0o700)
    return account


def give(folder: Path, account: Account) -> None:
    """Make all in the folder the account's, the folder itself last, so that half done shows as not done."""
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            os.chown(os.path.join(parent, name), *account, follow_symlinks=False)
        os.chown(parent, *account)


def _service_account() -> Account:
    """Return an account that the system knows, because initdb insists on that."""
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise errors.no_account()

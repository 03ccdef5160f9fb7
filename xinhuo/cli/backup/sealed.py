"""Sealing in the form of age: whoever has the recipient's name seals, only who has the identity opens.

The files are opened by the tool ``age`` as well: ``age --decrypt -i IDENTITY FILE``.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyrage

from xinhuo.chassis.private_file import written
from xinhuo.cli.exits import Exit

from .refused import BackupRefused

_RECIPIENT, _IDENTITY = "age1", "AGE-SECRET-KEY-1"


def make_identity(path: Path) -> str:
    """Write a new identity, readable by its owner only, and return the recipient; an existing file is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    identity = pyrage.x25519.Identity.generate()
    text = f"# recipient: {identity.to_public()}\n{identity}\n"
    with written(path, text) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return str(read_identities(path)[0].to_public())
    return str(identity.to_public())


def read_recipients(path: Path) -> list[str]:
    """Return the recipients of a file, one a line; raises BackupRefused, above all for a secret in their place."""
    lines = _lines(path)
    if any(line.upper().startswith(_IDENTITY) for line in lines):
        raise BackupRefused(
            f"{path} 里是备份的私钥（identity），不应放在做备份的机器上；这里只写以 age1 开头的接收方",
            f"{path} holds the identity that opens backups, which the machine that makes them must not have; only "
            "the recipient, which begins with age1, belongs here",
            Exit.USAGE,
        )
    try:
        for line in lines:
            pyrage.x25519.Recipient.from_str(line)
    except pyrage.RecipientError:
        lines = []
    if not lines:
        raise BackupRefused(
            f"{path} 应每行一个以 age1 开头的接收方；用 xinhuo backup key 生成",
            f"{path} must hold recipients, one a line, each beginning with age1; xinhuo backup key makes one",
            Exit.USAGE,
        )
    return lines


def read_identities(path: Path) -> list[Any]:
    """Return the identities of a file; raises BackupRefused, which repeats nothing of it."""
    try:
        found = [pyrage.x25519.Identity.from_str(line) for line in _lines(path)]
    except pyrage.IdentityError:
        found = []
    if not found:
        raise BackupRefused(
            f"{path} 应为备份的私钥文件（以 AGE-SECRET-KEY-1 开头的一行）",
            f"{path} must be the identity that opens backups: a line that begins with AGE-SECRET-KEY-1",
            Exit.USAGE,
        )
    return found


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BackupRefused(
            f"读不了 {path}（{type(error).__name__}）", f"{path} cannot be read ({type(error).__name__})", Exit.USAGE
        ) from None
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def seal(source: Any, target: Any, recipients: Sequence[str]) -> None:
    """Read ``source`` to its end and write it sealed; whatever goes wrong with either is raised as EncryptError."""
    pyrage.encrypt_io(source, target, [pyrage.x25519.Recipient.from_str(one) for one in recipients])


def opened(source: Any, target: Any, identities: Sequence[Any]) -> None:
    """Write what a sealed file holds.

    Raises BackupRefused when it is another's, or was changed: a changed piece is never written.
    """
    try:
        pyrage.decrypt_io(source, target, list(identities))
    except pyrage.DecryptError:
        raise BackupRefused(
            "这份备份不是为这个私钥加密的：请用当时的私钥文件",
            "this backup was not sealed for this identity: take the identity of that time",
        ) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise BackupRefused(
            "备份文件被改动或不完整，打不开：请用另一份", "the backup was changed or is not whole: take another one"
        ) from None

"""The file of master keys: one a line, the current one first; or a command that prints such a file.

The last line is the installation's first key: blind indexes and the key of the installation derive from it, so it
stays for ever. A line before it can be added at any time, by ``xinhuo key rotate``.
"""

import base64
import fcntl
import os
import shlex
import subprocess
from pathlib import Path

from .private_file import written
from .security import BadKeyFile, Keys

_COMMAND_SECONDS = 30


def load_keys(path: Path) -> Keys:
    """Read the master keys of a file; raises BadKeyFile with what to do."""
    return Keys(*_read(path), again=lambda: _read(path))


def ask_command(command: str) -> Keys:
    """Read the master keys that a command prints, as of a vault; raises BadKeyFile, which repeats nothing of it."""
    return Keys(*_printed(command), again=lambda: _printed(command))


def create_key_file(path: Path) -> None:
    """Write a new random master key, readable by its owner only; an existing file is kept.

    The file appears whole or not at all, so that a kill in between leaves no half key.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path, _new_line()) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return


def rotate_key_file(path: Path) -> int:
    """Put a new random master key before those of the file; return how many there are now. Raises BadKeyFile.

    The file is exchanged whole, with its owner; a kill in between leaves the old one. Two at once add two lines.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        masters = _read(path)
        kept = path.stat()
        lines = [_new_line(), *(base64.b64encode(master).decode() + "\n" for master in masters)]
        with written(path, "".join(lines), owner=(kept.st_uid, kept.st_gid)) as temporary:
            temporary.replace(path)
        os.fsync(folder)
        return len(lines)
    except OSError as error:
        raise BadKeyFile(
            f"主密钥 {path} 无法改写（{type(error).__name__}）；在保管库中的密钥请在保管库里更换 / the key file cannot "
            "be written; where a vault keeps it, add the new first line there"
        ) from None
    finally:
        os.close(folder)


def _new_line() -> str:
    return base64.b64encode(os.urandom(32)).decode() + "\n"


def _read(path: Path) -> list[bytes]:
    try:
        return _masters(path.read_bytes())
    except FileNotFoundError:
        raise BadKeyFile(
            f"找不到主密钥 {path}：请从备份恢复，或用 xinhuo key create 新建（仅限全新安装） / "
            f"no master key at {path}: restore it, or make one with 'xinhuo key create' for a new installation"
        ) from None
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from None


def _printed(command: str) -> list[bytes]:
    try:
        ended = subprocess.run(  # noqa: S603  (what the administrator set)
            shlex.split(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_SECONDS, check=True
        )
        return _masters(ended.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        # What it printed, and perhaps its arguments, are secret.
        raise BadKeyFile(
            f"XINHUO_KEY_COMMAND 没有给出可用的主密钥（{type(error).__name__}） / the command of "
            "XINHUO_KEY_COMMAND gave no usable master key"
        ) from None


def _masters(content: bytes) -> list[bytes]:
    """Return the keys of a key file's lines; raises ValueError or BadKeyFile."""
    masters = [base64.b64decode(line.strip(), validate=True) for line in content.decode("ascii").strip().splitlines()]
    Keys(*masters)  # as many and as long as they must be
    return masters


def _unusable(path: Path, error: Exception) -> BadKeyFile:
    return BadKeyFile(f"主密钥 {path} 无法使用（{type(error).__name__}） / the master key cannot be used")

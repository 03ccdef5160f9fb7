"""Where a command saves a workbook: never over a file of the clerk's, and known before anything is entered."""

import os
import re
from pathlib import Path

_MARK = "-导入结果"
_MARKED = re.compile(rf"^(?P<stem>.+){_MARK}(?:-(?P<number>[0-9]{{1,6}}))?$")


class BadTarget(Exception):
    """A file cannot be saved where it was asked for; says why and what to do."""


def partial_of(to: Path) -> Path:
    """Return the file that becomes ``to`` when it is whole."""
    return to.with_name(f".{to.name}.part")


def free_name_beside(file: Path) -> Path:
    """Return a name next to a workbook, for its marked copy, that no file has yet."""
    marked = _MARKED.match(file.stem)
    stem = marked["stem"] if marked else file.stem
    number = int(marked["number"] or 1) + 1 if marked else 1
    while True:
        found = file.with_name(f"{stem}{_MARK}{f'-{number}' if number > 1 else ''}.xlsx")
        if not _taken(found):
            return found
        number += 1


def check_target(to: Path, *, force: bool = False, source: Path | None = None) -> None:
    """Raise BadTarget unless a file can be saved there; ``source`` is never written over, not even by force."""
    if source is not None and os.path.exists(to) and os.path.samefile(to, source):
        raise BadTarget(
            f"--result 不能是被导入的文件本身：{to}；请换一个名字 / "
            "--result must not be the imported file itself; choose another name"
        )
    if not force and _taken(to):
        raise BadTarget(
            f"文件已存在，没有覆盖：{to}；请换一个名字，或加 --force 覆盖 / "
            "the file exists and was left as it is; choose another name, or overwrite it with --force"
        )
    partial = partial_of(to)
    try:
        # Only trying tells: permissions, a missing folder, a full or read-only disk, a name too long.
        partial.open("ab").close()
        partial.unlink()
    except OSError as error:
        raise BadTarget(
            f"不能在此存放文件：{to}（{reason(error)}）；请换一个位置 / "
            f"a file cannot be saved there ({reason(error)}); choose another place"
        ) from None


def reason(error: OSError) -> str:
    """Return why in the system's words, without the name of a file that nobody asked for."""
    return error.strerror or str(error) or type(error).__name__


def _taken(path: Path) -> bool:
    # A dangling link is somebody's too; a name that is too long or out of reach is nobody's, and refused later.
    return os.path.lexists(path)

"""The exit codes of every ``xinhuo`` command."""

from enum import IntEnum


class Exit(IntEnum):
    """What a command's exit code says; scripts may rely on the numbers."""

    OK = 0
    """Everything was done."""
    REFUSED = 1
    """Something is wrong with the data or needs doing first: rows refused, an upgrade pending, an import not found."""
    USAGE = 2
    """The command or a setting is wrong; nothing was tried."""
    UNAVAILABLE = 3
    """A service, database or broker is away; the same command may succeed later."""
    PORT_TAKEN = 4
    """A port that is needed is taken by another program."""
    SEEN_BEFORE = 5
    """The same file was imported before."""
    CANCELLED = 6
    """The person at the terminal said no."""
    INTERRUPTED = 130
    """Ctrl-C."""


#: The line that ends the help of commands.
EXIT_CODES = (
    "退出码 / Exit codes: 0 完成 done · 1 数据有误 refused · 2 用法或设置有误 usage · 3 服务不可用 away · "
    "4 端口被占用 port taken · 5 文件已导入过 seen before · 6 已取消 cancelled · 130 中断 interrupted"
)

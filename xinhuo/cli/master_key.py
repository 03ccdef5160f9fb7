"""``xinhuo key``: the master key made, a new one put before it, and the keys of persons wrapped by the new one."""

import os
from pathlib import Path
from typing import Annotated

import typer

from .exits import EXIT_CODES, Exit
from .output import Json, fail, print_json

app = typer.Typer(help="主密钥 / The master key.", no_args_is_help=True)

DryRun = Annotated[bool, typer.Option("--dry-run", help="只说明将做什么 / Say what would be done, do nothing.")]
File = Annotated[Path | None, typer.Argument(help="文件 / File [XINHUO_KEY_FILE or data/master.key]")]


@app.command("create")
def create(path: File = None, dry_run: DryRun = False) -> None:
    """新建主密钥（已有则保留）/ Make a new master key; an existing one is kept."""
    from xinhuo.chassis import key_file

    from .main import explained

    with explained():
        target = _target(path)
        existed = target.exists()
        if not dry_run:
            key_file.create_key_file(target)
    word = "已存在，保留 / kept" if existed else "将新建 / would make" if dry_run else "已新建 / made"
    typer.echo(f"{word}: {target}")


@app.command("rotate", epilog=EXIT_CODES)
def rotate(path: File = None, dry_run: DryRun = False) -> None:
    """更换主密钥：新密钥写在第一行，旧的保留 / Put a new master key on the first line; the old ones stay.

    Back the file up, bring it to every machine, then run ``xinhuo key rewrap``.
    """
    from xinhuo.chassis import key_file

    from .main import explained

    with explained():
        target = _target(path)
        key_file.load_keys(target)
        count = None if dry_run else key_file.rotate_key_file(target)
    if count is None:
        typer.echo(f"将更换 / would put a new first line into: {target}")
        return
    typer.echo(f"已更换，现有 {count} 个密钥 / done, it holds {count} keys now: {target}")
    typer.echo(
        "请备份并分发此文件，再运行 xinhuo key rewrap / back it up, bring it to all machines, then: xinhuo key rewrap"
    )


@app.command("rewrap", epilog=EXIT_CODES)
def rewrap(dry_run: DryRun = False, as_json: Json = False) -> None:
    """用当前主密钥重新包裹每个人的密钥 / Wrap the key of every person with the current master key.

    Everything goes on meanwhile. Killed, it goes on where it stopped when it is called again.
    """
    from services.volunteers.commands import person_keys
    from xinhuo.chassis import config
    from xinhuo.chassis.security import CannotDecrypt

    from . import build
    from .main import explained

    done = 0
    with explained():
        settings = config.load(os.environ)
        keys = build.keys_of(settings)
        db = build.database("volunteers", settings, role="rewrap")
        try:
            with db.transaction() as session:
                found = person_keys.wrapped_otherwise(session, keys)
            while not dry_run:
                with db.transaction() as session:
                    some = person_keys.rewrap_some(session, keys)
                if not some:
                    break
                done += some
        except CannotDecrypt:
            fail(
                Exit.REFUSED,
                f"已完成 {done} 个；有密钥不是本密钥文件所包裹的，请用保留着旧密钥的文件 / {done} done; a key was "
                "wrapped by a master key that this file does not hold: use the file that still has the old lines",
            )
        finally:
            db.close()
    if as_json:
        print_json({"wrapped_otherwise": found, "rewrapped": done, "dry_run": dry_run})
    elif dry_run:
        typer.echo(f"将重新包裹 {found} 个 / would wrap {found} keys anew")
    else:
        typer.echo(f"已重新包裹 {done} 个 / {done} keys wrapped anew")


def _target(path: Path | None) -> Path:
    from xinhuo.chassis import config

    from . import build

    settings = config.load(os.environ)
    if path is None and settings.key_command is not None:
        fail(
            Exit.USAGE,
            "主密钥由 XINHUO_KEY_COMMAND 提供，请在其保管库中新建或更换（新密钥为第一行，旧的保留） / the command of "
            "XINHUO_KEY_COMMAND gives the master key: make or change it there, the new one first, the old ones kept",
        )
    return path or build.key_path(settings)

"""``xinhuo backup``: make, list, check and bring back copies of the databases."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from xinhuo.cli.exits import EXIT_CODES, Exit
from xinhuo.cli.output import Json, fail, instant_of, print_json

if TYPE_CHECKING:
    from .sets import Manifest
    from .settling import Settled

app = typer.Typer(help="备份与恢复 / Backups: made, checked, brought back.", no_args_is_help=True)

DryRun = Annotated[bool, typer.Option("--dry-run", help="只说明将做什么 / Say what would be done, do nothing.")]
Folder = Annotated[Path, typer.Option("--folder", help="存放备份的目录 / The folder of backups.")]
Identity = Annotated[
    Path | None,
    typer.Option("--identity", help="打开备份的私钥文件 / The file of the identity that opens backups."),
]
#: What these publish is known from nowhere else; what the others publish follows from it.
_SOURCES = {"notices", "volunteers"}
Name = Annotated[str | None, typer.Argument(help="备份的名称；不写则最新的 / Name of a backup, or the newest.")]


@app.command("key", epilog=EXIT_CODES)
def key(
    path: Annotated[Path, typer.Argument(help="私钥文件 / File of the identity.")], dry_run: DryRun = False
) -> None:
    """新建备份的密钥对：私钥另存，接收方给做备份的机器 / Make the pair of keys of backups; an existing one is kept.

    The file opens every backup: keep it apart from backups and databases. What is printed goes to the machine that
    makes them.
    """
    from . import sealed

    with _explained():
        if dry_run:
            typer.echo(f"{'已存在，保留 / kept' if path.exists() else '将新建 / would make'}: {path}")
            return
        typer.echo(sealed.make_identity(path))
    typer.echo(
        f"私钥在 {path}：请另存两处，不要放在做备份的机器上；上面一行是接收方 / the identity is in {path}: keep it "
        "in two places, and not on the machine that makes backups; the line above is the recipient",
        err=True,
    )


@app.command("create", epilog=EXIT_CODES)
def create(
    folder: Folder,
    recipient: Annotated[
        Path, typer.Option(help="接收方文件（age1…，每行一个）/ File of recipients (age1…), one a line.")
    ],
    keep_daily: Annotated[int, typer.Option(min=0, help="保留最近几天的 / Days that keep one.")] = 7,
    keep_weekly: Annotated[int, typer.Option(min=0, help="保留最近几周的 / Weeks that keep one.")] = 5,
    keep_monthly: Annotated[int, typer.Option(min=0, help="保留最近几个月的 / Months that keep one.")] = 12,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """备份全部服务的数据库，加密写入目录，再按规则删除旧的 / Copy the databases, sealed; remove old copies.

    A set appears whole or not at all. Old ones are removed only after a new one was made and read back.
    """
    from xinhuo.chassis import config

    from . import dumping, erasures, sealed, sets

    keep = sets.Keep(keep_daily, keep_weekly, keep_monthly)
    with _explained():
        settings = config.load(os.environ)
        recipients = sealed.read_recipients(recipient)
        sets.check_folder(folder)
        zone = ZoneInfo(settings.time_zone)
        if dry_run:
            _show_check(dumping.check(settings), as_json)
            return
        with sets.locked(folder):
            made = dumping.create(settings, folder, recipients)
            erasures.keep(folder, erasures.known(settings).persons)
            there = {one.taken_at: one.name for one in sets.all_sets(folder)}
            old = [there[moment] for moment in sets.to_remove(list(there), keep, zone)]
            sets.remove(folder, old)
    if as_json:
        print_json({**_as_json(made), "removed": old})
        return
    typer.echo(f"已备份 / made: {made.name}   {made.size:,} bytes")
    for name in old:
        typer.echo(f"已删除旧备份 / removed: {name}")


def _show_check(found: list[Any], as_json: bool) -> None:
    rows = [
        {"database": place.shown, "services": list(place.services), "server": major, "pg_dump": used}
        for place, major, used in found
    ]
    if as_json:
        print_json({"dry_run": True, "databases": rows})
        return
    for row in rows:
        typer.echo(f"{row['database']}   PostgreSQL {row['server']}, pg_dump {row['pg_dump']}")
        typer.echo(f"    {', '.join(row['services'])}")


@app.command("list", epilog=EXIT_CODES)
def list_sets(folder: Folder, as_json: Json = False) -> None:
    """列出备份，旧的在前 / List the backups, the oldest first."""
    from xinhuo.chassis import config

    from . import sets

    with _explained():
        zone = ZoneInfo(config.load(os.environ).time_zone)
        found = sets.all_sets(folder)
    if as_json:
        print_json({"backups": [_as_json(one) for one in found]})
        return
    for one in found:
        typer.echo(f"{one.name:<20} {one.taken_at.astimezone(zone):%Y-%m-%d %H:%M:%S}   {one.size:>15,} bytes")


@app.command("verify", epilog=EXIT_CODES)
def verify(
    folder: Folder,
    name: Name = None,
    every: Annotated[bool, typer.Option("--all", help="全部备份 / All of them.")] = False,
    identity: Identity = None,
    test_restore: Annotated[
        bool,
        typer.Option(
            "--test-restore",
            help="恢复到临时数据库再删除 / Bring it back into a database of its own, and drop that again.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """核对备份：校验和；有私钥时打开并读完；可试恢复 / Check backups, by a test restore too."""
    from xinhuo.chassis import config

    from . import restoring, sealed, sets

    if test_restore and identity is None:
        fail(Exit.USAGE, "--test-restore 需要 --identity / --test-restore needs --identity")
    wrong: dict[str, list[str]] = {}
    with _explained():
        settings = config.load(os.environ)
        identities = sealed.read_identities(identity) if identity else []
        chosen = sets.all_sets(folder) if every else [sets.find(folder, name)]
        for one in chosen:
            wrong[one.name] = sets.problems(folder, one)
            if wrong[one.name] or not identities:
                continue
            for part in one.parts:
                restoring.read_through(part, folder / one.name, identities)
            if test_restore:
                with _ended_by_sigterm():
                    restoring.try_out(settings, folder, one, identities)
    how = "test restore" if test_restore else "opened" if identities else "checksums"
    if as_json:
        print_json({"checked": how, "backups": {each: {"problems": found} for each, found in wrong.items()}})
    for each, found in wrong.items():
        if not as_json:
            typer.echo(f"{'✗' if found else '✓'} {each}   {how}")
        for line in found:
            typer.echo(f"    {line}", err=True)
    if any(wrong.values()):
        raise typer.Exit(Exit.REFUSED)


@app.command("restore", epilog=EXIT_CODES)
def restore(
    folder: Folder,
    identity: Annotated[
        Path, typer.Option("--identity", help="打开备份的私钥文件 / The file of the identity that opens backups.")
    ],
    name: Name = None,
    service: Annotated[
        list[str] | None,
        typer.Option("--service", help="只恢复这个服务；可重复 / Only this service; may be repeated."),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="已有的表改名放到一边 / Rename the tables that are there out of the way."),
    ] = False,
    without_master_key: Annotated[
        bool,
        typer.Option(
            "--without-master-key", help="没有主密钥也恢复，姓名等将读不出 / Even so; no name will be readable."
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """恢复备份，再次删除已删除的个人信息，并说明下一步 / Bring a backup back and say what comes next.

    The services must be stopped. Each comes back whole or not at all; what is there is renamed, never overwritten.
    Who was erased since is erased again.
    """
    from xinhuo.chassis import config

    from . import restoring, sealed, sets

    progress = restoring.Progress()
    with _explained():
        settings = config.load(os.environ)
        manifest = sets.find(folder, name)
        wanted = restoring.Wanted(
            folder=folder,
            manifest=manifest,
            services=_services(service) or tuple(part.service for part in manifest.parts),
            identities=sealed.read_identities(identity),
            replace=replace,
            without_master_key=without_master_key,
        )
        alone = set(wanted.services) & _SOURCES
        if alone and len(wanted.services) < len(manifest.parts):
            typer.echo(
                f"注意：{', '.join(sorted(alone))} 在备份之后发布过的事，其他服务知道而它不再知道；"
                "请把整个系统恢复到同一时刻 / "
                "what it published after the backup is known to the others and no longer to it: bring the whole system "
                "back to one time instead",
                err=True,
            )
        with sets.locked(folder, reading=True):
            if dry_run:
                restoring.check(settings, wanted)
                done = None
            else:
                try:
                    done = restoring.restore(settings, wanted, progress)
                except BaseException:
                    for line in progress.told():
                        typer.echo(line, err=True)
                    _show_moved(progress.moved, err=True)
                    raise
                finally:
                    _show_kept(progress.kept, folder)
    if done is None:
        if as_json:
            print_json({"dry_run": True, "name": manifest.name, "services": list(wanted.services)})
        else:
            typer.echo(f"将恢复 / would bring back: {manifest.name}: {', '.join(wanted.services)}")
        return
    if "volunteers" not in done.known.asked:
        _show_only_listed()
    if as_json:
        print_json(
            {
                "name": manifest.name,
                "services": list(wanted.services),
                "moved": progress.moved,
                "asked_for_erasures": list(done.known.asked),
                "erasures_kept_in": str(progress.kept),
                **done.settled.as_json(),
            }
        )
        return
    typer.echo(f"已恢复 / brought back: {manifest.name}: {', '.join(wanted.services)}")
    _show_moved(progress.moved)
    asked = ", ".join(done.known.asked) or "—"
    typer.echo(f"已向这些服务和 erasures.txt 询问谁被删除 / asked who was erased: erasures.txt, {asked}")
    _show_settled(done.settled)


@app.command("settle", epilog=EXIT_CODES)
def settle(
    back_to: Annotated[
        str,
        typer.Option(
            "--back-to", help="数据库恢复到的时刻，如 2026-03-01T08:00+08:00 / The instant that was gone back to."
        ),
    ],
    folder: Annotated[
        Path | None, typer.Option("--folder", help="存放删除名册的目录 / The folder with the list of erasures.")
    ] = None,
    service: Annotated[
        list[str] | None, typer.Option("--service", help="只处理这个服务；可重复 / Only this service; may be repeated.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """用其他办法恢复数据库之后：再次删除已删除的个人信息，不重发通知 / After databases came back in another way.

    ``restore`` does this itself. The services must be stopped.
    """
    from xinhuo.chassis import config

    from . import erasures, settling

    with _explained():
        settings = config.load(os.environ)
        moment = instant_of(back_to, "--back-to", ZoneInfo(settings.time_zone))
        services = _services(service) or config.SERVICES
        back = "volunteers" in services
        if back and folder is None:
            fail(
                Exit.USAGE,
                "volunteers 也回到了过去，不知道此后谁被删除：请用 --folder 指定 erasures.txt 所在的目录 / "
                "volunteers went back too and does not know who was erased since: name the "
                "folder of erasures.txt by --folder",
            )
        known = erasures.known_of_all(settings, services, folder)
        persons = known.persons
        settling.refuse_running(settings, services)
        if back or "volunteers" not in known.asked:
            _show_only_listed()
        if dry_run:
            typer.echo(f"已删除的人 / persons erased: {len(persons)}", err=as_json)
            if as_json:
                print_json({"dry_run": True, "services": list(services), "persons_erased": len(persons)})
            return
        done = settling.settle(settings, services, persons, moment, f"back to {moment.isoformat()}")
    if as_json:
        print_json(done.as_json())
    else:
        _show_settled(done)


@app.command("erasures", epilog=EXIT_CODES)
def keep_erasures(folder: Folder, dry_run: DryRun = False, as_json: Json = False) -> None:
    """把已删除的人的编号记在备份旁，恢复旧备份时再次删除 / Keep apart the ids of persons who were erased.

    Run it every few minutes: what was decided since the last run is not known after a disaster.
    """
    from xinhuo.chassis import config

    from . import erasures, sets

    with _explained():
        sets.check_folder(folder)
        found = erasures.known(config.load(os.environ))
        there = erasures.read_journal(folder)
        new = len(found.persons - there) if dry_run else erasures.keep(folder, found.persons)
    if as_json:
        print_json({"new": new, "known": len(found.persons | there), "asked": list(found.asked), "dry_run": dry_run})
    else:
        typer.echo(f"新增 / new: {new}，共 / in all: {len(found.persons | there)}")
    if "volunteers" not in found.asked:  # what the others know is kept; but only it knows everybody
        with _explained():
            raise erasures.unasked(["volunteers"])


def _services(given: list[str] | None) -> tuple[str, ...]:
    from xinhuo.cli.main import known_service

    return tuple(known_service(name) for name in given or ())


def _show_only_listed() -> None:
    typer.echo(
        "注意：此后谁被删除，volunteers 已无法回答；erasures.txt 最后一次更新之后申请删除的人，请再删除一次 / "
        "volunteers can no longer tell who was erased since: erase again whoever asked for it after erasures.txt was "
        "last written",
        err=True,
    )


def _show_kept(kept: Path | None, folder: Path) -> None:
    if kept not in (None, folder):
        typer.echo(
            f"{folder} 不可写：已删除的人的编号记在 {kept}/erasures.txt，请保留，以后的备份会带上 / "
            f"{folder} cannot be written to: who was erased is kept in {kept}/erasures.txt; keep that file, the next "
            "backups take it in",
            err=True,
        )


def _show_moved(moved: "dict[str, str]", *, err: bool = False) -> None:
    for each, aside in moved.items():
        typer.echo(
            f"  {each} 原有的表现在名为 {aside}，确认无误后删除（其中有个人信息） / what was there is {aside} now: "
            "drop it when all is well, personal data are in it",
            err=err,
        )


def _show_settled(done: "Settled") -> None:
    typer.echo(f"再次删除 / erased again: {done.erased}")
    typer.echo("下一步 / what comes next:")
    for line in (
        "xinhuo topology apply",
        "xinhuo serve …",
        *done.commands(),
        "xinhuo audit verify",
        "xinhuo reconcile",
    ):
        typer.echo(f"  {line}")
    if "portal" in done.unsent:
        typer.echo(
            "备份之后停用的账号和接口密钥又有效了：请用 xinhuo accounts list、xinhuo keys list 核对 / accounts and API "
            "keys that were disabled since are good again: look through xinhuo accounts list and xinhuo keys list"
        )


def _as_json(one: "Manifest") -> dict[str, Any]:
    return {
        "name": one.name,
        "taken_at": one.taken_at,
        "size": one.size,
        "plain_size": sum(part.plain_size for part in one.parts),
        "services": [part.service for part in one.parts],
    }


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let the first SIGTERM be an exception: what was begun is cleared away."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _explained() -> Iterator[None]:
    from xinhuo.cli.main import explained

    from .refused import BackupRefused

    try:
        with explained():
            yield
    except BackupRefused as error:
        fail(error.code, str(error))
    except OSError as error:
        fail(
            Exit.REFUSED,
            f"{error.filename or ''} 读写失败：{error.strerror}；请检查磁盘和权限 / {error.filename or ''} could not "
            "be read or written: look at the disk and the rights",
        )

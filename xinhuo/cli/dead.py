"""``xinhuo dead``: the desk for dead letters, directly on the services' databases, with no service running."""

import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from .dead_shown import progress, show_groups, show_letters, show_one, show_result, spoken, summary
from .dead_work import check_handler, chosen_by, counted, decision_of, desks_of, homes_of, portions
from .exits import EXIT_CODES, Exit
from .output import Json, fail, print_json

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from xinhuo.chassis.db import Database
    from xinhuo.chassis.desk.choice import Chosen
    from xinhuo.chassis.desk.decisions import Decision, Item

app = typer.Typer(
    help="死信：查看、重发、作废 / Dead letters: look at them, send them again, drop them.", no_args_is_help=True
)


def _letter_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise typer.BadParameter(
            f"编号是 UUID，见 xinhuo dead list --each / the id is a UUID, see xinhuo dead list --each; not {text!r}"
        ) from None


Ids = Annotated[
    list[UUID] | None,
    typer.Argument(metavar="ID", parser=_letter_id, help="死信编号；不写则按条件选 / Ids, or choose by conditions."),
]
ServiceName = Annotated[str | None, typer.Option(help="只看这个服务；不写则全部 / One service, or all.")]
Handler = Annotated[
    str | None, typer.Option(help="处理者，如 awards.add_to_tally / Of this handler, as the list names it.")
]
Reason = Annotated[str | None, typer.Option(help="原因代码，见 docs/errors.md / With this reason's code.")]
Type = Annotated[str | None, typer.Option("--type", help="事件类型 / With this type of event.")]
Since = Annotated[
    str | None, typer.Option(help="此时起成为死信，如 2026-03-01、2026-03-01T08:00+08:00 / Died then or later.")
]
Why = Annotated[str, typer.Option("--why", help="为什么这样处理，记入历史 / Why, in your words; goes on record.")]
By = Annotated[
    str | None, typer.Option("--by", help="谁决定的，记入历史；不写为操作系统用户 / Who decides; else the system user.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="最多处理多少封 / At most so many.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="在回滚的事务中试做，说明结果，不作改动 / Try it, say what would be, undo it.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="不询问 / Do not ask.")]


@app.command("list", epilog=EXIT_CODES)
def list_letters(
    service: ServiceName = None,
    handler: Handler = None,
    reason: Reason = None,
    type_: Type = None,
    since: Since = None,
    each: Annotated[bool, typer.Option("--each", help="逐封列出，不分组 / Single letters instead of groups.")] = False,
    state: Annotated[
        str, typer.Option(help="waiting | retried | dropped | all，与 --each 同用 / With --each: in this state.")
    ] = "waiting",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="最多列出多少封 / At most so many letters.")] = 50,
    as_json: Json = False,
) -> None:
    """列出死信：按服务、处理者、原因分组，或逐封 / List dead letters: by service, handler and reason, or one by one."""
    from xinhuo.chassis.desk import lists

    if state not in (*lists.STATES, "all") or (state != "waiting" and not each):
        fail(
            Exit.USAGE,
            "--state 应为 waiting、retried、dropped 或 all，并与 --each 同用 / "
            "--state must be waiting, retried, dropped or all, and goes with --each",
        )
    with desks_of(service) as desks:
        chosen = chosen_by(handler=handler, reason=reason, type=type_, since=since)
        found: list[dict[str, Any]] = []
        for name, db in desks:
            with db.transaction() as session:
                rows = (
                    lists.letters(session, chosen, state=state, limit=limit) if each else lists.groups(session, chosen)
                )
            found += [{"service": name, **row} for row in rows]
    if each:
        found = sorted(found, key=lambda row: row["died_at"], reverse=True)[:limit]
    if as_json:
        print_json({"letters" if each else "groups": found})
    elif not found:
        typer.echo("没有死信 / no dead letters")
    elif each:
        show_letters(found)
    else:
        show_groups(found)


@app.command(epilog=EXIT_CODES)
def show(
    letter_id: Annotated[UUID, typer.Argument(metavar="ID", parser=_letter_id, help="死信编号 / Id of the letter.")],
    service: ServiceName = None,
    body: Annotated[
        Path | None,
        typer.Option(
            "--body",
            allow_dash=True,
            dir_okay=False,
            help="把原始内容存入此文件（- 为标准输出）；可能含任何内容 / "
            "Save the very bytes to this file, - for standard output; they may be anything.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """查看一封死信及其历史 / Show one letter: what it holds, why it died, and all that was done about it."""
    from xinhuo.chassis.desk import lists

    if as_json and body == Path("-"):
        fail(Exit.USAGE, "--json 与 --body - 不能同用 / --json and --body - do not go together")
    with desks_of(service) as desks:
        name, db = homes_of(desks, [letter_id], waiting=False)[0][:2]
        with db.transaction() as session:
            found = {"service": name, **lists.letter(session, letter_id)}
            raw = lists.raw_body(session, letter_id) if body else b""
    if body == Path("-"):
        sys.stdout.buffer.write(raw)
        sys.stdout.buffer.flush()
        return
    if body:
        _save(body, raw)
    if as_json:
        print_json(found)
    else:
        show_one(found)


@app.command(epilog=EXIT_CODES)
def retry(
    why: Why,
    ids: Ids = None,
    service: ServiceName = None,
    handler: Handler = None,
    reason: Reason = None,
    type_: Type = None,
    since: Since = None,
    rate: Annotated[int, typer.Option(min=1, max=1000, help="每秒重发多少条 / So many events a second.")] = 50,
    limit: Limit = None,
    by: By = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """重发死信：同一编号、同一处理者，只生效一次 / Send letters again: same id, same handler, one effect.

    The worker of the service handles them; what fails again is a new letter that names the old one.
    """
    from xinhuo.chassis.desk import decisions

    def act(name: str, session: "Session", chosen: "Chosen", decision: "Decision", most: int) -> "list[Item]":
        from . import build

        service_class = build.service_class(name)
        return decisions.retry(session, decisions.topics_of(service_class), chosen, decision, rate=rate, limit=most)

    chosen = chosen_by(ids=ids, handler=handler, reason=reason, type=type_, since=since)
    question = "重发 {count} 封死信？/ Send {count} letters again?"
    _decide(
        service, chosen, decision_of(by, why), act, _rehearse, question, limit=limit, dry_run=dry_run, yes=yes,
        as_json=as_json,
    )  # fmt: skip


@app.command(epilog=EXIT_CODES)
def drop(
    why: Why,
    ids: Ids = None,
    service: ServiceName = None,
    handler: Handler = None,
    reason: Reason = None,
    type_: Type = None,
    since: Since = None,
    limit: Limit = None,
    by: By = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """作废死信：不再处理，保留记录 / Drop letters: they are closed for good, and kept with who decided it and why."""
    from xinhuo.chassis.desk import decisions

    def act(_name: str, session: "Session", chosen: "Chosen", decision: "Decision", most: int) -> "list[Item]":
        return decisions.drop(session, chosen, decision, limit=most)

    def rehearse(_name: str, _db: "Database", session: "Session", chosen: "Chosen", most: int) -> "list[Item]":
        return decisions.would_drop(session, chosen, limit=most)

    chosen = chosen_by(ids=ids, handler=handler, reason=reason, type=type_, since=since)
    question = "作废 {count} 封死信？不能恢复 / Drop {count} letters? This cannot be undone"
    _decide(
        service, chosen, decision_of(by, why), act, rehearse, question, limit=limit, dry_run=dry_run, yes=yes,
        as_json=as_json,
    )  # fmt: skip


# --- Deciding -------------------------------------------------------------------------------------------

Act = Callable[[str, "Session", "Chosen", "Decision", int], "list[Item]"]
Rehearse = Callable[[str, "Database", "Session", "Chosen", int], "list[Item]"]


def _rehearse(name: str, db: "Database", session: "Session", chosen: "Chosen", most: int) -> "list[Item]":
    """Do what the handlers would do, in a transaction that is rolled back; they need the service's keys."""
    from xinhuo.chassis import config
    from xinhuo.chassis.desk import decisions
    from xinhuo.chassis.service import Runtime

    from . import build

    settings = config.load(os.environ)
    service = build.service_class(name)()
    service.runtime = Runtime(settings, db, build.keys_of(settings))
    handlers, topics = decisions.handlers_of(service), decisions.topics_of(type(service))
    with redirect_stdout(sys.stderr):  # what the handlers log is none of the answer
        items = decisions.rehearse(session, handlers, topics, chosen, limit=most)
    session.rollback()
    return items


def _decide(
    service: str | None,
    chosen: "Chosen",
    decision: "Decision",
    act: Act,
    rehearse: Rehearse,
    question: str,
    *,
    limit: int | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from xinhuo.chassis.desk import decisions
    from xinhuo.chassis.desk.choice import Chosen

    if as_json and not (yes or dry_run):
        fail(Exit.USAGE, "--json 不能询问，请加 --yes 或 --dry-run / with --json add --yes or --dry-run")
    if chosen == Chosen():
        fail(
            Exit.USAGE,
            "请写编号，或用 --handler、--reason、--type、--since 选择 / "
            "give ids, or choose by --handler, --reason, --type or --since",
        )
    if chosen.ids and limit:
        fail(Exit.USAGE, "编号与 --limit 不能同用 / ids and --limit do not go together")
    result: list[dict[str, Any]] = []
    with desks_of(service) as desks:
        homes = homes_of(desks, chosen.ids, waiting=True) if chosen.ids else counted(desks, chosen)
        total = sum(count for *_, count in homes)
        total = min(total, limit) if limit else total
        if not total and chosen.handler:
            check_handler(chosen.handler)
        if not total:
            print_json(summary([], dry_run)) if as_json else typer.echo("没有符合条件的死信 / no such dead letters")
            return
        if not dry_run and not yes and not _says_yes(question.format(count=f"{total:,}")):
            fail(Exit.CANCELLED, "已取消，没有改动 / cancelled, nothing was changed")
        try:
            with progress(total, quiet=as_json) as advance:
                for name, db, mine, _ in homes:

                    def portion(part: "Chosen", most: int, name: str = name, db: "Database" = db) -> "list[Item]":
                        with db.transaction() as session:
                            if dry_run:
                                return rehearse(name, db, session, part, most)
                            return act(name, session, part, decision, most)

                    for items in portions(mine, total - len(result), portion):
                        result += [spoken(name, item) for item in items]
                        advance(len(items))
        except Exception:
            # Each portion is a transaction of its own: what is done stays done, and is said.
            if result and not dry_run:
                _tell(result, total, dry_run=dry_run, as_json=as_json)
                typer.echo(f"已处理 {len(result):,} 封后中止 / stopped after {len(result):,} were done", err=True)
            raise
    _tell(result, total, dry_run=dry_run, as_json=as_json)
    bad = any(item["outcome"] in (decisions.REFUSED, decisions.WOULD_FAIL) for item in result)
    raise typer.Exit(Exit.REFUSED if bad else Exit.OK)


def _tell(result: list[dict[str, Any]], total: int, *, dry_run: bool, as_json: bool) -> None:
    print_json(summary(result, dry_run)) if as_json else show_result(result, total, dry_run=dry_run)


def _save(path: Path, body: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(body)
    except FileExistsError:
        fail(Exit.USAGE, f"文件已存在，请换一个 / the file exists, choose another: {path}")
    except OSError as error:
        fail(Exit.USAGE, f"文件不能写入 / the file cannot be written: {path}: {error.strerror}")


def _says_yes(question: str) -> bool:
    """Ask; nobody there to answer means no."""
    try:
        return typer.confirm(question)
    except typer.Abort:
        typer.echo(err=True)
        return False

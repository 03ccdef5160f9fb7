"""``xinhuo hours``: import workbooks of hours, look at imports, take them back; see claims and approve them."""

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from . import saving
from .exits import EXIT_CODES, Exit
from .output import Json, fail, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from .client import Api

app = typer.Typer(help="时数导入和审批 / Hours: import workbooks, approve claims.", no_args_is_help=True)

DEFAULT_URL = "http://127.0.0.1:8002"
_REASONS_SHOWN = 20

Url = Annotated[str, typer.Option("--url", help="志愿者服务的地址 / Address of the volunteers service.")]
Force = Annotated[bool, typer.Option("--force", help="覆盖已有的文件 / Overwrite a file that exists.")]


def _id_shown_by(command: str) -> Callable[[str], UUID]:
    def read(text: str) -> UUID:
        try:
            return UUID(text)
        except ValueError:
            raise typer.BadParameter(
                f"编号是 UUID，见 {command} / the id is a UUID, see {command}; not {text!r}"
            ) from None

    return read


_import_id, _claim_id = _id_shown_by("xinhuo hours imports"), _id_shown_by("xinhuo hours claims")


ImportId = Annotated[
    UUID, typer.Argument(metavar="ID", parser=_import_id, help="导入编号，见 hours imports / Id of the import.")
]


@app.command("import", epilog=EXIT_CODES)
def import_hours(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="按模板填写的 .xlsx / The workbook.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="只检查，不导入；之后仍可导入同一文件 / Check only, enter nothing.")
    ] = False,
    mode: Annotated[
        str | None,
        typer.Option(
            help="all：有一行不通过就都不导入；valid_rows：只导入通过的行。不写时询问 / "
            "all or nothing, or the valid rows only; asked for when left out."
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="不询问，直接确认（不写 --mode 时为 all）/ Confirm without asking.")
    ] = False,
    result: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="标注后的文件存放处 / Where to save the marked file [FILE-导入结果.xlsx]"),
    ] = None,
    force: Force = False,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """导入时数：先检查，确认后入账 / Import a workbook of hours: it is checked, then confirmed."""
    from . import imports

    if mode not in (None, "all", "valid_rows"):
        fail(Exit.USAGE, f"--mode 应为 all 或 valid_rows / --mode must be all or valid_rows, not {mode!r}")
    if as_json and not (yes or dry_run):
        fail(Exit.USAGE, "--json 不能询问，请加 --yes 或 --dry-run / with --json add --yes or --dry-run")
    if result is not None or not dry_run:
        # Before anything is entered: else the marked file would be lost when the work is done.
        _check_target(result or saving.free_name_beside(file), force=force, source=file)
    with _talking(url, as_json) as (api, out):
        with out.status("上传并检查 / uploading and checking"):
            checked = imports.check(api, file)
        if not as_json:
            _show_check(out, file, checked)
        chosen = mode or ("all" if yes or dry_run else None)
        if not dry_run:
            marked = _how_to_get_marked(checked, file, url)
            chosen = chosen or _ask_mode(checked, marked)
            _ask_to_confirm(checked, chosen, marked, yes=yes)
        entered = checked
        if chosen == "valid_rows" or not checked["invalid"]:
            may_enter = not dry_run and checked["valid"] > 0
            entered = _enter(api, out, checked["id"], chosen or "all") if may_enter else checked
        target, unsaved = None, None
        if result is not None or not dry_run:
            target = result or saving.free_name_beside(file)
            unsaved = _save_marked(api, checked["id"], target)
        if as_json:
            saved = str(target) if target and not unsaved else None
            print_json({**imports.summary(entered), "dry_run": dry_run, "result_file": saved})
        else:
            _show_end(out, entered, url, dry_run=dry_run)
        if unsaved:
            fail(Exit.REFUSED, f"{unsaved}\n{_how_to_get_marked(checked, file, url)}")
        if not as_json and target:
            out.print(f"标注后的文件 / marked file: {target}", markup=False)
        elif not as_json:
            out.print(_how_to_get_marked(checked, file, url), markup=False)
    raise typer.Exit(Exit.REFUSED if entered["invalid"] or entered["state"] == "failed" else Exit.OK)


@app.command(epilog=EXIT_CODES)
def template(
    out: Annotated[Path, typer.Argument(dir_okay=False, help="存放处 / Where to save it.")] = Path("时数导入模板.xlsx"),
    force: Force = False,
    url: Url = DEFAULT_URL,
) -> None:
    """下载导入模板 / Download the template of the workbook."""
    from . import imports

    _check_target(out, force=force)
    with _talking(url, False) as (api, console):
        console.print(f"已保存 / saved: {imports.save_template(api, out)}", markup=False)


@app.command("imports", epilog=EXIT_CODES)
def list_imports(url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """列出导入 / List the imports, the newest first."""
    from . import imports

    with _talking(url, as_json) as (api, out):
        found = imports.every(api)
        if as_json:
            print_json({"imports": [imports.summary(one) for one in found]})
            return
        # Lines and no table: an id is there to be copied, and a narrow terminal would cut it.
        for one in found:
            rows = f"{one['rows']:,} 行，有问题 {one['invalid']:,}"
            checked = imports.spoken(one["checked_at"])
            out.print(
                f"{one['id']}  {checked}  {imports.state_label(one)}  {rows}  {one['file_name'] or '—'}", markup=False
            )
        if not found:
            out.print("还没有导入 / no imports yet")


@app.command(epilog=EXIT_CODES)
def show(import_id: ImportId, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """查看一次导入 / Show one import with the reasons of refused rows."""
    from . import imports

    with _talking(url, as_json) as (api, out):
        found = imports.one(api, str(import_id))
        if as_json:
            print_json(imports.summary(found))
            return
        _show_check(out, Path(found["file_name"]), found)
        out.print(f"状态 / state: {imports.state_label(found)}")


@app.command(epilog=EXIT_CODES)
def undo(
    import_id: ImportId,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="只说明将撤销什么 / Say what would be undone.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="不询问 / Do not ask.")] = False,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """撤销一次导入：逐条冲正 / Take an import back: each of its entries is reversed."""
    from . import imports

    if as_json and not (yes or dry_run):
        fail(Exit.USAGE, "--json 不能询问，请加 --yes 或 --dry-run / with --json add --yes or --dry-run")
    with _talking(url, as_json) as (api, out):
        found = imports.one(api, str(import_id))
        again = found["state"] == "undone"
        if not as_json and again:
            when = imports.spoken(found["undone_at"])
            out.print(f"这次导入已于 {when} 撤销，冲正 0 条 / it was undone already, 0 entries to be reversed")
        elif not as_json:
            out.print(
                f"将冲正 {found['entered'] or 0:,} 条记录（{found['file_name']}）/ entries to be reversed", markup=False
            )
        if not dry_run and not again:
            if not yes and not _says_yes("确定撤销？/ Undo it?"):
                fail(Exit.CANCELLED, "已取消，没有撤销 / cancelled, nothing was undone")
            found = imports.undo(api, str(import_id))
        if as_json:
            print_json({**imports.summary(found), "dry_run": dry_run, "undone_before": again})
        elif not dry_run and not again:
            out.print("[green]已撤销 / undone[/green]")


@app.command(epilog=EXIT_CODES)
def result(
    import_id: ImportId,
    out: Annotated[Path, typer.Argument(dir_okay=False, help="存放处 / Where to save it.")],
    force: Force = False,
    url: Url = DEFAULT_URL,
) -> None:
    """下载标注后的文件 / Download the file with marked cells and the 导入结果 column."""
    from . import imports

    _check_target(out, force=force)
    with _talking(url, False) as (api, console):
        console.print(f"已保存 / saved: {imports.save_result(api, str(import_id), out)}", markup=False)


@app.command(epilog=EXIT_CODES)
def claims(
    state: Annotated[
        str, typer.Option(help="claimed 待审批、approved、refused、withdrawn / which claims, by their state")
    ] = "claimed",
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """列出时数申报，先列待审批的 / List claims of hours, by default those that wait to be decided on."""
    with _talking(url, as_json) as (api, out):
        found = api.pages("volunteers", "/v1/claims", state=state)
        if as_json:
            print_json({"claims": found})
            return
        for one in found:
            out.print(_spoken_claim(one), markup=False)
        if not found:
            out.print("没有这样的申报 / no such claims")


@app.command(epilog=EXIT_CODES)
def approve(
    claim_id: Annotated[
        UUID, typer.Argument(metavar="ID", parser=_claim_id, help="申报编号，见 hours claims / Id of the claim.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="只显示该申报 / Show the claim only.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="不询问 / Do not ask.")] = False,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """批准一项时数申报，记入台账 / Approve a claim of hours that somebody else made; it enters the ledger."""
    if as_json and not (yes or dry_run):
        fail(Exit.USAGE, "--json 不能询问，请加 --yes 或 --dry-run / with --json add --yes or --dry-run")
    with _talking(url, as_json) as (api, out):
        found = api.get("volunteers", f"/v1/claims/{claim_id}")
        if not as_json:
            out.print(_spoken_claim(found), markup=False)
        if not dry_run:
            if not yes and not _says_yes("确定批准？/ Approve it?"):
                fail(Exit.CANCELLED, "已取消，没有批准 / cancelled, nothing was approved")
            found = api.post("volunteers", f"/v1/claims/{claim_id}:approve", repeatable=True)
        if as_json:
            print_json({**found, "dry_run": dry_run})
        elif not dry_run:
            out.print(f"[green]已批准，记录编号 {found['entry_id']}[/green] / approved, with the id of its entry")


def _spoken_claim(claim: dict[str, Any]) -> str:
    from . import imports

    served = f"{imports.spoken(claim['started_at'])} – {imports.spoken(claim['ended_at'])}"
    return (
        f"{claim['id']}  {served}  {claim['minutes']} 分钟  志愿者 {claim['volunteer_id']}  "
        f"申报人 {claim['claimed_as']} {claim['claimed_by']}  {claim['evidence'] or '—'}"
    )


# --- Talking to the service, and to the person ----------------------------------------------------------


@contextmanager
def _talking(url: str, as_json: bool) -> "Iterator[tuple[Api, Console]]":
    """Give a client and a console; what the service refuses becomes one message and an exit code."""
    from rich.console import Console

    from xinhuo.chassis.identity.bearer import PortalAway

    from .client import Api, ApiProblem, ServiceAway
    from .imports import NothingMoves
    from .signed_in import bearer_of

    try:
        api = Api({"volunteers": url}, bearer=bearer_of(os.environ), patience=3.0)
        yield api, Console(stderr=as_json, highlight=False, soft_wrap=True)
    except PortalAway as error:
        fail(Exit.UNAVAILABLE, f"{error.zh}\n{error.en}")
    except (ServiceAway, NothingMoves) as error:
        fail(Exit.UNAVAILABLE, str(error))
    except ApiProblem as problem:
        code = Exit.SEEN_BEFORE if problem.code == "import.seen_before" else Exit.REFUSED
        if as_json:
            print_json({"error": {"status": problem.status, **problem.body}})
            raise typer.Exit(code) from None
        hint = ["请先运行 xinhuo login / run xinhuo login"] if problem.status == 401 else []
        fail(code, "\n".join([*problem.lines(), *hint]))
    except OSError as error:
        fail(Exit.USAGE, f"文件无法读写 / the file cannot be read or written: {error.filename}: {saving.reason(error)}")


def _show_check(out: "Console", file: Path, checked: dict[str, Any]) -> None:
    """Show what a clerk wants to know: how many rows, how many good, and what is wrong where."""
    from rich.markup import escape
    from rich.table import Table

    from . import imports

    out.print(f"[bold]{escape(file.name)}[/bold]  检查结果 / check  ({checked['id']})")
    out.print(
        f"  行数 {checked['rows']:,}   可导入 [green]{checked['valid']:,}[/green]   "
        f"有问题 [red]{checked['invalid']:,}[/red]   / rows, valid, refused"
    )
    if checked["existing"]:
        out.print(f"  其中台账中已有 {checked['existing']:,} 行，不会重复记录 / in the ledger already")
    for warning in checked.get("warnings", []):
        out.print(f"  [yellow]提示[/yellow] {escape(warning['detail'])}")
    reasons = imports.reasons_of(checked)
    if not reasons:
        return
    table = Table("原因", "行数", "单元格", title_justify="left")
    for reason in reasons[:_REASONS_SHOWN]:
        table.add_row(escape(reason["title"]), f"{reason['count']:,}", escape("、".join(reason["cells"])))
    out.print(table)


def _says_yes(question: str) -> bool:
    """Ask; nobody there to answer means no."""
    try:
        return typer.confirm(question)
    except typer.Abort:
        typer.echo(err=True)
        return False


def _ask_mode(checked: dict[str, Any], marked: str) -> str:
    if not checked["invalid"] or not checked["valid"]:
        return "all"
    question = f"有 {checked['invalid']} 行有问题。只导入通过的 {checked['valid']} 行？/ Import the valid rows only?"
    if _says_yes(question):
        return "valid_rows"
    fail(
        Exit.CANCELLED,
        f"已取消，没有入账；请更正后重新导入 / cancelled: correct the file and import it again\n{marked}",
    )


def _ask_to_confirm(checked: dict[str, Any], mode: str, marked: str, *, yes: bool) -> None:
    # Who was asked about refused rows has answered already.
    if yes or checked["invalid"] or mode == "valid_rows":
        return
    if not _says_yes(f"导入 {checked['valid']} 行？/ Import them?"):
        fail(Exit.CANCELLED, f"已取消，没有入账 / cancelled, nothing was entered\n{marked}")


def _enter(api: "Api", out: "Console", import_id: str, mode: str) -> dict[str, Any]:
    """Confirm an import and show how far it is until it is through."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from . import imports

    imports.confirm(api, import_id, mode)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=out, transient=True) as bars:
        task = bars.add_task("入账 / entering", total=None)
        report: Callable[[int, int], None] = lambda done, total: bars.update(task, completed=done, total=total)  # noqa: E731
        return imports.finished(api, import_id, report)


def _show_end(out: "Console", entered: dict[str, Any], url: str, *, dry_run: bool) -> None:
    from . import imports

    if entered["state"] == "done":
        out.print(f"[green]已入账 {entered['entered']:,} 条[/green] / entries made")
        if entered["existing"]:
            out.print(f"台账中已有 {entered['existing']:,} 条，未重复记录 / in the ledger already")
        until = imports.spoken(entered["undo_until"])
        out.print(
            f"可撤销至 {until}：{_command('undo', entered['id'], url=url)} / can be undone until then", markup=False
        )
    elif entered["state"] == "failed":
        out.print(f"[red]未能入账：{imports.title_of(entered['failure'])}[/red] / nothing was entered")
    elif dry_run:
        out.print("只检查，没有入账 / checked only, nothing was entered")
    elif not entered["valid"]:
        out.print("[red]没有可导入的行，没有入账[/red] / no row is valid, nothing was entered")
    else:
        out.print(
            "[red]有未通过的行，没有入账。[/red]更正后重新导入，或用 --mode valid_rows 只导入通过的行 / "
            "rows were refused, so nothing was entered; correct them or use --mode valid_rows"
        )


def _check_target(to: Path, *, force: bool, source: Path | None = None) -> None:
    try:
        saving.check_target(to, force=force, source=source)
    except saving.BadTarget as error:
        fail(Exit.USAGE, str(error))


def _save_marked(api: "Api", import_id: str, to: Path) -> str | None:
    """Save the marked file; return why it could not be, so that what was entered is told first."""
    from . import imports
    from .client import ApiProblem, ServiceAway

    try:
        imports.save_result(api, import_id, to)
    except (OSError, ApiProblem, ServiceAway) as error:
        why = saving.reason(error) if isinstance(error, OSError) else str(error)
        return f"标注后的文件没有存下 / the marked file was not saved: {to}: {why}"
    return None


def _how_to_get_marked(checked: dict[str, Any], file: Path, url: str) -> str:
    command = _command("result", checked["id"], shlex.quote(str(saving.free_name_beside(file))), url=url)
    return f"下载标注后的文件 / to get the marked file: {command}"


def _command(*words: str, url: str) -> str:
    """Return a command to be copied, with the address of the service when it is not the usual one."""
    return " ".join(("xinhuo hours", *words, *(() if url == DEFAULT_URL else ("--url", shlex.quote(url)))))

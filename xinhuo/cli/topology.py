"""``xinhuo topology``: what is wanted at the broker beside what is there."""

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .exits import EXIT_CODES, Exit
from .output import Json, print_json, refuse_empty

if TYPE_CHECKING:
    from xinhuo.chassis.adapters.broker_state import Item

    from .broker_users import Users

app = typer.Typer(help="消息拓扑 / Exchanges and queues.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """消息拓扑 / Exchanges and queues."""


@app.command("apply", epilog=EXIT_CODES)
def apply(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="只显示差异 / Show the difference only, do nothing.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="重建类型不对、且为空又无人使用的经典队列 / Make a classic queue anew where a quorum queue must be, "
            "if the broker finds it empty and unused.",
        ),
    ] = False,
    rotate: Annotated[
        str | None,
        typer.Option(
            help="给这些服务的 RabbitMQ 用户换密码，逗号分隔 / "
            "New passwords for the RabbitMQ users of these services, separated by commas."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """声明交换机和队列（不删有消息的队列），建立各服务的用户 / Declare exchanges and queues, make the services' users.

    Deletes no queue with messages. Users are made where XINHUO_RABBITMQ_API is set; a password stays as it is.
    """
    from . import broker
    from .main import explained

    refuse_empty({"--rotate": rotate})
    services = [name.strip() for name in (rotate or "").split(",") if name.strip()]
    with explained():
        broker.check_rotation(os.environ, services)
        items = broker.topology_state(os.environ, dry_run=dry_run, replace_empty=replace)
        users = broker.service_users(os.environ, dry_run=dry_run, rotate=services)
    items += users.items if users else []
    differs = [item for item in items if item.state == "differs" and item.done is None]
    if as_json:
        print_json(_plain(items, users, dry_run=dry_run))
    else:
        _show(items, dry_run=dry_run)
        _show_passwords(users)
    raise typer.Exit(Exit.REFUSED if differs else Exit.OK)


def _plain(items: "list[Item]", users: "Users | None", *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "made": [
            item.label for item in items if item.done in ("made", "replaced") or (dry_run and item.state == "missing")
        ],
        "mended": [item.label for item in items if item.done == "mended"],
        "same": [item.label for item in items if item.state == "same"],
        "differs": [asdict(item) for item in items if item.state == "differs" and item.done is None],
        "retired": [asdict(item) for item in items if item.state == "retired"],
        "unknown": [asdict(item) for item in items if item.state == "unknown"],
        "passwords": users and {"written": [str(file) for file in users.files], "not_here": users.unknown},
        "not_visible": ["bindings", "queues of other names"],
    }


def _show(items: "list[Item]", *, dry_run: bool) -> None:
    quiet = True
    for item in items:
        if item.state == "same":
            continue
        quiet = False
        if item.done == "replaced":
            typer.echo(f"已重建 / replaced: {item.label}")
        elif item.done == "mended":
            _show_differing(item)
        elif item.state == "unknown":
            typer.echo(f"不是薪火的用户，在此有权限 / has rights here and is none of ours: {item.label}")
        elif item.state == "missing":
            typer.echo(f"{'将新建 / would make' if dry_run else '已新建 / made'}: {item.label}")
        elif item.state == "differs":
            _show_differing(item)
        else:
            typer.echo(f"已不需要 / not wanted any more: {item.label}（{_load(item)}）")
            typer.echo("    待其消息处理完后删除 / when it is empty: rabbitmqctl delete_queue " + item.name)
    same = sum(item.state == "same" for item in items)
    typer.echo("已是最新 / nothing to do" if quiet else f"与所需一致 / as wanted: {same}")


def _show_differing(item: "Item") -> None:
    if item.done:
        typer.echo(f"已改正 / mended: {item.label}")
    else:
        typer.echo(f"不同 / differs: {item.label}（{_load(item)}）")
    for one in item.unequal:
        there = "—" if one.there is None else one.there
        wanted = "—" if one.wanted is None else one.wanted
        typer.echo(f"    {one.name}: 现为 / there {there}，应为 / wanted {wanted}")
    if not item.done:
        typer.echo(f"    {remedy(item)}")


def _show_passwords(users: "Users | None") -> None:
    if users is None:
        typer.echo("没有 XINHUO_RABBITMQ_API，未建立也未检查用户 / without it no users were made or looked at")
        return
    for file in users.files:
        typer.echo(f"该服务的 AMQP_URI 已存入 / the AMQP_URI of this service was written to: {file}")
    if users.unknown:
        names = ",".join(users.unknown)
        typer.echo(
            f"密码未变，不在此处；如已遗失 / passwords as before, and not in this folder; if they are lost: "
            f"xinhuo topology apply --rotate {names}"
        )


def remedy(item: "Item") -> str:
    """Return what to do about an exchange or queue that differs."""
    if item.kind in ("user", "operator policy", "policy"):
        return "xinhuo topology apply"
    if item.is_classic and not item.messages and not item.consumers:
        return "空队列，可重建 / it is empty: xinhuo topology apply --replace"
    kind = "queue" if item.kind == "queue" else "exchange"
    return (
        "停止各服务的发送与处理，确认无消息后删除再声明 / stop the services, see that no message is left, "
        f"delete the {kind} {item.name} at the broker, then: xinhuo topology apply"
    )


def _load(item: "Item") -> str:
    if item.messages is None:
        return item.kind
    return f"消息 / messages {item.messages}，消费者 / consumers {item.consumers}"

"""``xinhuo doctor``: finds wrong set-up, with one line of remedy each; changes nothing."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from .exits import Exit
from .output import Json, print_json

if TYPE_CHECKING:
    from .checkup.findings import Finding

_SIGNS = {"error": "✗ 错误 / error", "warning": "! 提醒 / warning", "unseen": "· 未检查 / not seen"}


def command(
    as_json: Json = False,
) -> None:
    """检查设置、数据库和 RabbitMQ；有错误时退出码 1 / Look for wrong set-up; exit 1 when something is wrong."""
    from .main import explained

    with explained():
        findings = run(os.environ)
    counts = {level: sum(one.level == level for one in findings) for level in _SIGNS}
    if as_json:
        plain: dict[str, Any] = {"ok": not counts["error"], **counts, "findings": [one.as_json() for one in findings]}
        print_json(plain)
    else:
        _show(findings, counts)
    raise typer.Exit(Exit.REFUSED if counts["error"] else Exit.OK)


def run(environment: Mapping[str, str]) -> "list[Finding]":
    """Make all checks; errors come first. Raises BadSettings."""
    from xinhuo.chassis import config

    from . import build
    from .checkup import broker, databases, machine, users

    settings = config.load(environment)
    found = [
        *machine.check(environment, settings),
        *databases.check(settings),
        *broker.check(settings.amqp_uri, build.full_topology(), config.SERVICES),
        *users.check(settings, build.full_topology()),
    ]
    return sorted(found, key=lambda one: list(_SIGNS).index(one.level))


def _show(findings: "list[Finding]", counts: Mapping[str, int]) -> None:
    from .checkup.findings import CODES

    for one in findings:
        level, zh, en = CODES[one.code]
        detail = f": {one.detail}" if one.detail else ""
        typer.echo(f"{_SIGNS[level]}  {one.code}  {one.where}{detail}")
        typer.echo(f"    {zh} / {en}")
        typer.echo(f"    → {one.remedy}")
    codes = {one.code for one in findings}
    if codes >= {"database.embedded", "broker.in_process"}:
        typer.echo(
            "数据库和 RabbitMQ 都没有检查：没有 DATABASE_URL 和 AMQP_URI。请用与各服务相同的环境变量运行 / "
            "neither databases nor RabbitMQ were looked at: run it with the environment that the services have"
        )
        return
    if counts["error"]:
        typer.echo(f"错误 / errors: {counts['error']}，提醒 / warnings: {counts['warning']}")
    else:
        typer.echo("✓ 没有发现错误 / no error found")

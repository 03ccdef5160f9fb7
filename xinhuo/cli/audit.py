"""``xinhuo audit verify``: whether anybody changed the audit log."""

from typing import Annotated, Any

import typer

from .exits import EXIT_CODES, Exit
from .output import Json, print_json

app = typer.Typer(help="审计记录 / The audit log.", no_args_is_help=True)


@app.command(epilog=EXIT_CODES)
def verify(
    service: Annotated[str | None, typer.Argument(help="一个服务；不写则全部 / One service, or all.")] = None,
    as_json: Json = False,
) -> None:
    """验证审计链；有改动时退出码 1 / Compute the chain again; exit 1 and the first row that is wrong."""
    from xinhuo.chassis import audit

    from .main import each_database

    def work(_name: str, db: Any, _versions: Any) -> audit.Verified:
        with db.engine.connect() as connection:
            return audit.verify(connection)

    found = each_database(service, work)
    if as_json:
        print_json({"services": [_as_json(name, one) for name, one in found.items()]})
    else:
        for name, one in found.items():
            sign = "✗" if one.broken else "✓"
            typer.echo(f"{sign} {name:<12} {one.rows:>10,} 行 / rows   {one.head.hex()}")
            if one.broken:
                typer.echo(f"    {one.broken.zh} / {one.broken.en}")
    if any(one.broken for one in found.values()):
        raise typer.Exit(Exit.REFUSED)


def _as_json(name: str, one: Any) -> dict[str, Any]:
    broken = {"seq": one.broken.seq, "detail": one.broken.zh, "detail_en": one.broken.en} if one.broken else None
    return {"service": name, "rows": one.rows, "head": one.head.hex(), "broken": broken}

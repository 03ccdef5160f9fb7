"""Reference pages made from the code: settings, error codes, the command line."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import typer.main

import services
import xinhuo.chassis
from tools.markdown import GENERATED, one_line, table
from xinhuo.chassis.config import DATABASE_URL_OF, SERVICES, URL_OF, Settings, form_of
from xinhuo.chassis.desk.decisions import REFUSALS
from xinhuo.chassis.errors import all_codes
from xinhuo.chassis.identity.rights import RIGHTS, ROLES
from xinhuo.chassis.ladder import REASONS
from xinhuo.cli.exits import EXIT_CODES, Exit
from xinhuo.cli.main import app

# Rights


def rights_page() -> str:
    """Return docs/rights.md."""
    rows = [
        (f"`{right}`", f"{zh} / {en}", *(reaches[role].value if role in reaches else "" for role in ROLES))
        for right, (zh, en, reaches) in RIGHTS.items()
    ]
    lines = [
        "# Rights 权限",
        "",
        GENERATED,
        "",
        "Which role has which right, and how far it reaches: **all**; **own** unit and the units under it; **team**;",
        "**self**; **child**, those whose guardian one is; **public**. An empty cell is 403 `right.missing`. See",
        "[security.md](security.md).",
        "各角色的权限及范围：all 全部；own 本单位及下级；team 本队；self 本人；child 被监护人；public 公开内容；",
        "空格为无权限。",
        "",
        *table(("right 权限", "", *(f"{zh} `{role}`" for role, (zh, _) in ROLES.items())), rows),
        "",
        "Routes and their rights are in each service's `/docs`; API keys carry some of the rights of their role, never",
        "`accounts:manage` or `clients:manage`.",
        "",
    ]
    return "\n".join(lines)


# Settings


def settings_page() -> str:
    """Return docs/settings.md."""
    rows = []
    for item in fields(Settings):
        meta = item.metadata
        if "variable" not in meta:
            continue
        rows.append(_setting_row(meta["variable"], item.default, form_of(meta["parse"]), meta))
        if meta["variable"] == "DATABASE_URL":
            for service in SERVICES:
                about = {
                    "zh": f"{service} 服务自己的数据库，优先于 DATABASE_URL",
                    "en": f"the database of {service}, before DATABASE_URL",
                    "secret": True,
                }
                rows.append(_setting_row(DATABASE_URL_OF.format(service.upper()), None, form_of(meta["parse"]), about))
    for service in SERVICES:
        about = {
            "zh": f"其他服务用来访问 {service} 的地址；不设则用本机端口",
            "en": f"where the other services reach {service}; without it its port on this machine",
            "secret": False,
        }
        rows.append(_setting_row(URL_OF.format(service.upper()), None, "http://host:port", about))
    lines = [
        "# Settings 设置",
        "",
        GENERATED,
        "",
        "All settings are environment variables, checked together at start: a process with a bad one does not start",
        "and names every bad one. The values of secret settings are never printed.",
        "所有设置都是环境变量，启动时一并检查；有误则不启动并逐一列出。标为机密的值不会被打印。",
        "",
        "A secret setting may stand in a file instead: `DATABASE_URL_FILE=/run/secrets/database-url`. Set only one of",
        "the two. The file is read at start.",
        "机密设置也可写在文件里：`DATABASE_URL_FILE=/run/secrets/database-url`。两者只能设一个；启动时读取。",
        "",
        *table(("Variable 变量", "Default 默认", "Form 格式", "Meaning 含义", "Secret 机密"), rows),
    ]
    return "\n".join(lines) + "\n"


def _setting_row(variable: str, default: Any, form: str, about: Any) -> tuple[str, ...]:
    shown = "–" if default is None else f"`{default}`"
    meaning = "<br>".join(about[language].replace("<", "&lt;") for language in ("zh", "en"))
    return f"`{variable}`", shown, form, meaning, "yes 是" if about["secret"] else ""


# Errors

_FIELD_MESSAGE = re.compile(r"([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+)\|([^|]+)\|([^|]+)")


def import_everything() -> None:
    """Import the services and the chassis, so that every error class is known; adapters and migrations apart."""
    for package in (xinhuo.chassis, services):
        for module in _modules(package):
            importlib.import_module(module)


def _modules(package: ModuleType) -> Iterator[str]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not {"adapters", "migrations"} & set(found.name.split(".")):
            yield found.name


def errors_page() -> str:
    """Return docs/errors.md."""
    import_everything()
    known = [info for info in all_codes().values() if info.name.startswith(("xinhuo.", "services."))]
    answers = [
        (f"`{info.code}`", str(info.status), info.title, _title(info.title_en), info.clause or "")
        for info in known
        if info.status is not None
    ]
    reasons = {code: (zh, _title(en)) for code, (zh, en) in (REASONS | REFUSALS).items()}
    reasons |= {info.code: (info.title, _title(info.title_en)) for info in known if info.status is None}
    lines = [
        "# Error codes 错误代码",
        "",
        GENERATED,
        "",
        "A code never changes its meaning. Answers are `application/problem+json` (RFC 9457) with `code`, a Chinese",
        "`detail`, an English `detail_en`, `trace_id`, the cited `clause` where there is one, and `errors` with a",
        "JSON pointer for each field that is wrong.",
        "",
        "## Answers of the HTTP API 接口错误",
        "",
        *table(("Code 代码", "Status", "中文", "English", "Clause 依据"), answers),
        "",
        "## Codes of single fields, in `errors` 字段错误",
        "",
        "Any code of the table above can stand there too, where a rule is about one field.",
        "",
        *table(
            ("Code 代码", "中文", "English"),
            ((f"`{code}`", zh, en) for code, (zh, en) in sorted(field_messages().items())),
        ),
        "",
        "## Reasons in `dead_letters` and `parked_events` 死信原因",
        "",
        *table(
            ("Code 代码", "中文", "English"),
            ((f"`{code}`", zh, en) for code, (zh, en) in sorted(reasons.items())),
        ),
    ]
    return "\n".join(lines) + "\n"


def _title(text: str) -> str:
    return text.rstrip(".")


def field_messages() -> dict[str, tuple[str, str]]:
    """Return the messages of each field code written ``code|Chinese|English`` in the code, values as …."""
    found: dict[str, dict[tuple[str, str], None]] = {}
    roots = [Path(next(iter(package.__path__))) for package in (xinhuo.chassis, services)]
    for path in (path for root in roots for path in sorted(root.rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if match := _FIELD_MESSAGE.fullmatch(_literal(node)):
                found.setdefault(match[1], {})[match[2], match[3]] = None
    return {
        code: ("<br>".join(zh for zh, _ in texts), "<br>".join(en for _, en in texts)) for code, texts in found.items()
    }


def _literal(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_literal(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "…"
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


# The command line


def cli_page() -> str:
    """Return docs/cli.md."""
    lines = [
        "# The `xinhuo` command 命令行",
        "",
        GENERATED,
        "",
        "`--json` prints one JSON object and nothing else on standard output; messages for people go to standard",
        "error.",
        "",
        "## Exit codes 退出码",
        "",
        EXIT_CODES,
        "",
        *table(("Code 退出码", "Name", "Meaning"), _exit_rows()),
    ]
    for path, command in _commands("xinhuo", typer.main.get_command(app)):
        lines += ["", f"## `{path}`", "", one_line(_first_paragraph(command.help))]
        lines += ["", "```", _usage(path, command), "```"]
        shown = [of for of in command.params if not of.hidden and not of.name.endswith("_completion")]
        rows = [_parameter_row(parameter) for parameter in shown]
        if rows:
            lines += ["", *table(("Argument or option 参数", "Meaning 含义", "Default 默认"), rows)]
    return "\n".join(lines) + "\n"


def _exit_rows() -> list[tuple[str, str, str]]:
    """Return a row for each exit code, with the string below the member in the source."""
    body = ast.parse(inspect.getsource(Exit)).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101  (for the type checker)
    rows = []
    for node, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(node, ast.Assign) and isinstance(after, ast.Expr):
            name = ast.unparse(node.targets[0])
            rows.append((str(Exit[name].value), f"`{name}`", one_line(_literal(after.value))))
    return rows


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    if command.params or not children:
        yield path, command
    for name, child in children.items():
        if not child.hidden:
            yield from _commands(f"{path} {name}", child)


def _first_paragraph(text: str | None) -> str:
    return inspect.cleandoc(text or "").partition("\f")[0]


def _usage(path: str, command: Any) -> str:
    words = [path]
    if any(parameter.param_type_name == "option" for parameter in command.params):
        words.append("[OPTIONS]")
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            name = parameter.name.upper()
            words.append(name if parameter.required else f"[{name}]")
    if getattr(command, "commands", None):
        words.append("COMMAND")
    return " ".join(words)


_VALUE_WORDS = {str: "TEXT", int: "NUMBER", Path: "PATH"}


def _parameter_row(parameter: Any) -> tuple[str, str, str]:
    if parameter.param_type_name == "argument":
        shown = f"`{parameter.name.upper()}`"
    else:
        names = "`, `".join([*parameter.opts, *parameter.secondary_opts])
        value = "" if parameter.is_flag else f" {_VALUE_WORDS.get(parameter.type_descriptor.annotation, 'VALUE')}"
        shown = f"`{names}{value}`"
    default = parameter.default
    if parameter.required:
        default = "required 必填"
    elif default is None or default is False or callable(default) or default in ([], ()):
        default = "–"
    else:
        default = f"`{default}`"
    return shown, one_line(parameter.help), default

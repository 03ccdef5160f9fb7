"""Computes docs/sizing.md from what was measured and assumed (``tools/sizing.toml``), by formulas that it shows."""

import ast
import math
import operator
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.markdown import GENERATED, table

INPUTS = Path(__file__).with_name("sizing.toml")
_OPERATORS: dict[type[ast.AST], Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}  # fmt: skip
_FUNCTIONS: dict[str, Any] = {"max": max, "ceil": math.ceil}
_GROUPS = {"measured": "实测 measured", "assumed": "假设 assumed", "set": "设定 set"}


@dataclass(frozen=True)
class Row:
    """One figure: how it is computed, and how many digits of it are shown."""

    name: str
    formula: str
    text: str
    digits: int = 0


def computed(formula: str, values: Mapping[str, float]) -> float:
    """Return the value of a formula of names, numbers, ``+ - * / //``, ``max`` and ``ceil``."""

    def value(node: ast.expr) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return values[node.id]
            case ast.BinOp():
                return _OPERATORS[type(node.op)](value(node.left), value(node.right))
            case ast.Call(func=ast.Name(id=name)):
                return _FUNCTIONS[name](*map(value, node.args))
        raise ValueError(f"no part of a formula: {ast.unparse(node)}")

    return float(value(ast.parse(formula, mode="eval").body))


def shown(number: float, digits: int = 0) -> str:
    """Return a number as the page writes it."""
    return f"{number:,.{digits}f}"


def figures(inputs: Mapping[str, Any], volunteers: int) -> dict[str, float]:
    """Return all figures for so many volunteers, inputs among them."""
    values: dict[str, float] = {"volunteers": volunteers}
    for group in _GROUPS:
        values |= {name: each["value"] for name, each in inputs[group].items()}
    for row in rows(inputs):
        values[row.name] = computed(row.formula, values)
    return values


def rows(inputs: Mapping[str, Any]) -> list[Row]:
    """Return the figures in the order of the page."""
    return [Row(**row) for row in inputs["row"]]


def page() -> str:
    """Return docs/sizing.md."""
    inputs = tomllib.loads(INPUTS.read_text(encoding="utf-8"))
    cases = inputs["case"]
    per_case = [figures(inputs, case["volunteers"]) for case in cases]
    given = [
        [f"`{name}`", str(each["value"]), _GROUPS[group], each["text"].replace(" / ", "<br>", 1), _where(each)]
        for group in _GROUPS for name, each in inputs[group].items()
    ]  # fmt: skip
    heads = ["名称 name", "算式 formula", "含义 meaning", *(shown(case["volunteers"]) for case in cases)]
    result = [
        [f"`{row.name}`", f"`{row.formula}`", row.text.replace(" / ", "<br>"),
         *(shown(values[row.name], row.digits) for values in per_case)]
        for row in rows(inputs)
    ]  # fmt: skip
    whose = [f"- {shown(case['volunteers'])}：{case['zh']} / {case['en']}" for case in cases]
    lines = [
        GENERATED,
        "",
        *_HEAD,
        "",
        *table(["名称 name", "值 value", "来源 kind", "含义 meaning", "出处 where"], given),
    ]
    lines += ["", "## 结果 Figures", "", "志愿者 / volunteers:", "", *whose, "", *table(heads, result), "", *_TAIL]
    return "\n".join(lines) + "\n"


def _where(each: Mapping[str, Any]) -> str:
    source = str(each.get("source", ""))
    return f"[{source.removeprefix('docs/')}]({source.removeprefix('docs/')})" if source else str(each.get("how", "–"))


_HEAD = """\
# 规模 Sizing

多少志愿者需要多少机器。表里每个数都由上面的输入按所示算式得出：换成自己的输入再算一遍即可。
How much is needed for how many volunteers. Every figure follows from the inputs by the formula beside it: put your own
inputs in `tools/sizing.toml` and run `make docs`.

测得的数来自两核的一台机器，服务、数据库、消息服务器和压力都在上面；更多机器带来多少是推算，不是测量。
What was measured was measured on one machine with two cores, with services, databases, broker and load on it. What
more machines bring is arithmetic, not measurement: [scaling.md](scaling.md) says what does not scale.

## 输入 Inputs
""".splitlines()

_TAIL = """\
## 怎么用 How to read it

- **10,000**：一台机器，compose 或 systemd 即可（[install.md](install.md)）。compose 每种进程只有一个，即表中的一半；
  两个是为了坏一个仍能服务。
  One machine will do, with compose or systemd ([install.md](install.md)). compose has one of each process, half of
  what the table says: two are there so that one may fail.
- **1,000,000**：三台机器的小集群，数据库一主一备，RabbitMQ 三节点。
  A small cluster of three machines, a database with a standby, RabbitMQ on three nodes.
- **20,000,000**：同样的进程数；增长的是数据库。一台数据库服务器放得下，
  每个服务一台更从容（`VOLUNTEERS_DATABASE_URL` 等）。
  No more processes; what grows is the database. One server holds it; one for each service is easier to back up.
- **200,000,000**：不要建成一套。最右一栏只说明总量；按地区建 34 套，每套不超过前一栏。
  Not one installation: the last column only adds up. One for each region, none larger than the column before.
- 连接：`connections`（有自动扩缩时 `connections_at_most`）超过 `max_connections` 就调小 `XINHUO_DB_POOL`、
  调大 `max_connections`，或每个服务用自己的数据库。`xinhuo doctor` 按每个服务两个进程比较。
  Connections: where they (with autoscaling `connections_at_most`) exceed `max_connections`, lower `XINHUO_DB_POOL`,
  raise `max_connections`, or give each service a server of its own. `xinhuo doctor` compares, counting two processes
  of each service.
- 消息服务器的内存不随志愿者数增长，随 WAL：RabbitMQ 的说明建议每个节点至少有 WAL 上限（默认 512 MiB）三倍的内存。
  The broker's memory goes by its write-ahead log, not by volunteers: RabbitMQ's guide asks for three times the WAL's
  limit (512 MiB by default) on each node.
- 备份：`after_five_years_gb` 是一次完整备份压缩前的大小。
  A full backup is `after_five_years_gb` before it is compressed.

## 怎么测 How it was measured

| 数 figure | 命令 command |
| --- | --- |
| `cpu_seconds`, `records_of_a_pair` | `make bench-replicas` |
| `bytes_of_record`, `bytes_of_events`, `megabytes_of_process` | `make bench-growth` |
| `bytes_of_volunteer`, `bytes_of_message`, `queues` | `python -m benchmarks.sizes`（2026-11-23） |
| 运行中的进程的内存 / memory of a running process | `grep VmRSS /proc/PID/status`; `kubectl top pods` |
""".splitlines()

"""What a proof says: a table for people, one JSON object for programs."""

from collections.abc import Mapping
from typing import Any


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return the report for people, in Chinese and English."""
    plain = found["plain"]
    head = f"{'':<34}{'写入 written':>14}{'计入 counted':>14}{'丢失 lost':>11}{'重复 twice':>11}"
    out = ["", head]
    if plain:
        out.append(_row(f"plain nameko ({plain['seconds']:.0f} s)", plain))
    out.append(_row(f"薪火 Xinhuo ({found['seconds']:.0f} s)", found))
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(found["faults"].items()))
    out += [
        "",
        f"故障 faults: {sum(found['faults'].values())} ({kinds})",
        f"结果不明的调用 unknown calls: {found['unknown']}，冲正 reversals: {found['reversals']}",
        f"死信 dead letters: {found['dead_letters']}，投入的坏消息 poison: {found['poison']}",
        f"恢复 recovery: {found['recovery_seconds']} s",
        "",
    ]
    for code, invariant in found["invariants"].items():
        mark = "✓" if invariant["ok"] else f"✗ {invariant['problems']}"
        out.append(f"{code:<4} {mark}  {invariant['what']}")
        out += [f"       {problem}" for problem in invariant["first"]]
    out += [f"注意 note: {note}" for note in found["notes"]]
    out += ["", f"再现 run again: {found['again']}"]
    return out


def _row(name: str, figures: Mapping[str, Any]) -> str:
    return f"{name:<34}{figures['written']:>14}{figures['counted']:>14}{figures['lost']:>11}{figures['twice']:>11}"

"""Checks what is under deploy/: `make deploy-check`.

Prints what each module checked and each problem as `file: what is wrong: what to do`; its last line is one JSON object
of counts. Exit code 0 when all is well, 1 when there is a problem, 3 when a program that a check needs is missing.
"""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

from .found import Found, ToolMissing

ROOT = Path(__file__).resolve().parents[2]
#: The modules in their order, each with a function `check(root)`; the slowest last.
MODULES = (
    "yaml_files",
    "image",
    "kustomize",
    "kubernetes",
    "custom_resources",
    "pod_security",
    "settings",
    "chart",
    "rules",
    "dashboards",
    "checkov",
)
#: What the last line always has.
COUNTED = ("manifests", "custom_resources", "rules", "rule_tests", "dashboards", "expressions", "settings")
FINE, FOUND, MISSING = 0, 1, 3


def main(arguments: list[str]) -> int:
    """Run the wanted modules, print what they found, and return the exit code."""
    parser = argparse.ArgumentParser(prog="make deploy-check ARGS=...", description=__doc__)
    parser.add_argument("--only", action="append", choices=MODULES, help="only this module; may be repeated")
    parser.add_argument("--skip", action="append", choices=MODULES, default=[], help="all but this; may be repeated")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to check, instead of this one")
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    wanted = [name for name in MODULES if name in (options.only or MODULES) and name not in options.skip]
    total = Found()
    try:
        for name in wanted:
            _run(name, root, total)
    except ToolMissing as missing:
        print(missing, file=sys.stderr)
        return MISSING
    # Modules that need the overlays all say so when one cannot be built.
    problems = list(dict.fromkeys(total.problems))
    for problem in problems:
        print(problem)
    for what in COUNTED:
        # A check that found nothing to check has not checked anything.
        if not options.only and not options.skip and not total.counts.get(what):
            problems.append(f"deploy/: no {what} were checked: see why")
            print(problems[-1])
    number = len(problems)
    print(f"发现 {number} 个问题 / {number} problem(s) found" if number else "没有问题 / no problems found")
    print(json.dumps({what: total.counts.get(what, 0) for what in COUNTED}))
    return FOUND if problems else FINE


def _run(name: str, root: Path, total: Found) -> None:
    started = time.monotonic()
    found: Found = importlib.import_module(f"{__package__}.{name}").check(root)
    counted = ", ".join(f"{what} {number}" for what, number in found.counts.items())
    print(f"{name}: {counted or '-'}: {len(found.problems)} problem(s), {time.monotonic() - started:.1f} s", flush=True)
    for what, number in found.counts.items():
        total.count(what, number)
    total.problems += found.problems


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

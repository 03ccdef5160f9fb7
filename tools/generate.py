"""Writes the files that are made from the code: ``python -m tools.generate [--check]``.

Schemas, golden samples and reference pages. ``--check`` writes nothing, names every file that is stale or
wrong, and then exits with 1. A golden sample that exists is never written again.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools import dashboards, event_files, manifests, monitoring_files, reference, sizing
from xinhuo.cli.build import service_classes

ROOT = Path(__file__).resolve().parents[1]


def outputs() -> dict[str, str]:
    """Return the text of every generated file by its path, golden samples apart."""
    return {
        **dict(event_files.schemas()),
        "docs/events.md": event_files.catalogue(service_classes()),
        "docs/settings.md": reference.settings_page(),
        "docs/errors.md": reference.errors_page(),
        "docs/cli.md": reference.cli_page(),
        "docs/rights.md": reference.rights_page(),
        "docs/sizing.md": sizing.page(),
        **manifests.outputs(),
        "docs/metrics.md": monitoring_files.metrics_page(),
        "deploy/monitoring/rules/expected.yaml": monitoring_files.expected_rules(),
        "deploy/monitoring/rules/slo.yaml": monitoring_files.slo_rules(),
        **dict(dashboards.files()),
    }


def stale(root: Path, wanted: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with the generated files below a folder."""
    for path, text in wanted.items():
        if not (root / path).exists():
            yield f"{path}: missing; run `make docs`"
        elif (root / path).read_text(encoding="utf-8") != text:
            yield f"{path}: stale; run `make docs`"
    for path in _left_over(root, wanted):
        yield f"{path}: made from an event that is no more; run `make docs`"
    yield from event_files.broken_samples(root)


def write(root: Path, wanted: Mapping[str, str]) -> Iterator[str]:
    """Write what is missing or stale and yield its path."""
    for path, text in wanted.items():
        file = root / path
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        yield path
    for path in _left_over(root, wanted):
        (root / path).unlink()
        yield path
    yield from event_files.add_samples(root)


def _left_over(root: Path, wanted: Mapping[str, str]) -> list[str]:
    present = (root / event_files.CONTRACTS / "schemas").glob("*.json")
    return sorted({str(path.relative_to(root)) for path in present} - set(wanted))


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder of the project")
    options = parser.parse_args(arguments)
    wanted = outputs()
    if not options.check:
        for path in write(options.root, wanted):
            print(path)
    problems = list(stale(options.root, wanted))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

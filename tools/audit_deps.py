"""``make audit-deps``: whether a known vulnerability is in what we lock, asked of PyPI by pip-audit.

Exit codes: 0 nothing found; 1 found, or an exception past its date; 3 could not ask: nothing is known.
requirements/exceptions.toml holds what is accepted for a time, with the reason and the last day.
"""

import argparse
import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from . import locks

EXCEPTIONS = locks.ROOT / "requirements" / "exceptions.toml"
#: The lock that holds everything of the others.
LOCK = "bench"
FINE, FOUND, COULD_NOT_ASK = 0, 1, 3


@dataclass(frozen=True)
class Accepted:
    """Something wrong with a package that is accepted until a day."""

    package: str
    id: str
    """The name of the vulnerability, or ``deprecated``."""
    reason: str
    until: date


def accepted(path: Path = EXCEPTIONS) -> list[Accepted]:
    """Read the exceptions; raises TypeError or KeyError for one without a field."""
    return [Accepted(**one) for one in tomllib.loads(path.read_text()).get("exception", [])]


def outdated(exceptions: list[Accepted], today: date) -> list[str]:
    """Return what is wrong with the exceptions themselves: past their day, or of no package of ours."""
    locked = {one.name for one in locks.read(LOCK)}
    wrong = [f"{one.package} {one.id}: accepted until {one.until} only" for one in exceptions if one.until < today]
    return wrong + [f"{one.package} {one.id}: not locked any more" for one in exceptions if one.package not in locked]


def judge(answer: dict[str, Any], exceptions: list[Accepted]) -> tuple[int, list[str]]:
    """Return the exit code for an answer of pip-audit, and what to say; what was skipped was not looked at."""
    told = answer["dependencies"]
    known = {(one.package, one.id) for one in exceptions}
    found = [
        f"{one['name']} {one['version']}: {vulnerability['id']} (fixed in {', '.join(vulnerability['fix_versions'])})"
        for one in told
        for vulnerability in one.get("vulns", [])
        if not known & {(one["name"], name) for name in (vulnerability["id"], *vulnerability.get("aliases", []))}
    ]
    skipped = [one["name"] for one in told if "skip_reason" in one]
    if found:
        return FOUND, found
    if skipped or not told:
        return COULD_NOT_ASK, [
            f"could not ask about {len(skipped)} of {len(told)} packages: {', '.join(skipped[:5])} …"
        ]
    return FINE, [f"{len(told)} packages, nothing found"]


def ask(osv_url: str | None) -> dict[str, Any] | None:
    """Return what pip-audit says of the lock, None when it got no answer."""
    lock = locks.ROOT / "requirements" / f"{LOCK}.txt"
    command = [sys.executable, "-m", "pip_audit", "-r", str(lock), "--require-hashes", "--disable-pip", "-f", "json"]
    command += ["--progress-spinner", "off", *(["-s", "osv", "--osv-url", osv_url] if osv_url else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        print((done.stderr.strip().splitlines() or ["no answer"])[-1], file=sys.stderr)
        return None
    return answer


def main() -> int:
    """Ask, and say what was found."""
    parser = argparse.ArgumentParser(prog="make audit-deps ARGS=...", description=__doc__)
    parser.add_argument("--osv-url", help="ask a service that speaks OSV, for example a mirror, instead of PyPI")
    options = parser.parse_args()
    exceptions = accepted()
    late = outdated(exceptions, datetime.now(UTC).date())
    answer = ask(options.osv_url)
    code, said = judge(answer, exceptions) if answer else (COULD_NOT_ASK, ["could not ask: nothing is known"])
    for line in (*late, *said):
        print(f"audit-deps: {line}", file=sys.stderr if code or late else sys.stdout)
    return FOUND if late else code


if __name__ == "__main__":
    sys.exit(main())

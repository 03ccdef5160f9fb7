"""The recipe of the image: hadolint."""

import json
from pathlib import Path

from . import programs
from .found import Found

FILE = "deploy/images/Containerfile"


def check(root: Path) -> Found:
    """Run hadolint; whatever it says is a problem, a style too."""
    found = Found()
    if not (root / FILE).exists():
        found.problem(FILE, "the file is missing", "restore it")
        return found
    found.count("images")
    said = programs.run(programs.of_python("hadolint"), "--no-color", "-f", "json", FILE, cwd=root)
    try:
        findings = json.loads(said.stdout)
    except ValueError:
        found.problem(FILE, f"hadolint cannot read it: {said.stdout} {said.stderr}", "mend it")
        return found
    for one in findings:
        do = "mend it, or say why not with `# hadolint ignore=` above the line"
        found.problem(f"{FILE}:{one['line']}", f"{one['code']} {one['message']}", do)
    return found

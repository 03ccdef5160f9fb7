"""Each YAML file under deploy/ is written as deploy/.yamllint.yaml says: yamllint."""

import re
from pathlib import Path

from . import programs
from .found import Found

_LINE = re.compile(r"(?P<file>[^:]+):(?P<line>\d+):\d+: \[(?P<level>\w+)\] (?P<wrong>.*)")


def check(root: Path) -> Found:
    """Run yamllint; a warning is a problem, too."""
    found = Found()
    files = [*root.glob("deploy/**/*.yaml"), *root.glob("deploy/**/*.yml")]
    found.count("yaml_files", len(files))
    if not files:
        found.problem("deploy/", "no YAML file is here", "restore the manifests")
        return found
    config = "deploy/.yamllint.yaml"
    said = programs.run(programs.of_python("yamllint"), "-f", "parsable", "-s", "-c", config, "deploy", cwd=root)
    lines = said.stdout.splitlines()
    for line in lines:
        match = _LINE.fullmatch(line)
        where = f"{match['file']}:{match['line']}" if match else "deploy/"
        found.problem(where, match["wrong"] if match else line, "write it as deploy/.yamllint.yaml wants it")
    if said.returncode and not lines:
        found.problem(config, said.stderr, "mend the configuration of yamllint")
    return found

"""Prometheus' rules and alerts with their tests and runbooks, and the configurations: promtool, amtool, and more.

Each alert has a severity, a summary and a description in Chinese and English, a runbook in both, and a test in which it
fires.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import programs, promql
from .found import Found

FOLDER = "deploy/monitoring"
#: Somebody is woken, or somebody looks in office hours.
SEVERITIES = {"page", "ticket"}
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_ENGLISH = re.compile(r"[A-Za-z]{2,}")
#: A runbook shorter than this tells nobody what to do.
_CHARACTERS, _WORDS = 60, 40


@dataclass(frozen=True)
class Rule:
    """A rule, and the file that it is in."""

    file: str
    body: dict[str, Any]

    @property
    def name(self) -> str:
        """Return the alert's name, or that of the series that is recorded."""
        return str(self.body.get("alert") or self.body.get("record"))


def check(root: Path) -> Found:
    """Run promtool and amtool, then look at each rule and alert."""
    found = Found()
    folder = root / FOLDER
    rules = list(each(root, found))
    found.count("rules", len(rules))
    if not rules:
        found.problem(f"{FOLDER}/rules, {FOLDER}/alerts", "there are no rules", "restore them")
    _promtool(root, found)
    _amtool(folder, found)
    recorded = {rule.name for rule in rules if "record" in rule.body}
    fires = _tested(root, found)
    for rule in rules:
        found.count("expressions")
        for wrong in promql.problems(str(rule.body.get("expr", "")), recorded):
            found.problem(
                f"{rule.file} ({rule.name})", wrong, "correct it, or add it to metric_names.py with its origin"
            )
        if "alert" in rule.body:
            found.count("alerts")
            for wrong, do in _of_alert(rule, folder):
                found.problem(f"{rule.file} ({rule.name})", wrong, do)
            if rule.name not in fires:
                do = f"add a case with exp_alerts to {FOLDER}/tests"
                found.problem(f"{rule.file} ({rule.name})", "no test makes this alert fire", do)
    return found


def each(root: Path, found: Found) -> Iterator[Rule]:
    """Yield the rules of all files; one that cannot be read is a problem."""
    for path in _files(root, "rules", "alerts"):
        file = str(path.relative_to(root))
        try:
            groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
        except (yaml.YAMLError, KeyError, TypeError) as error:
            found.problem(file, f"it holds no groups of rules: {error}", "see `promtool check rules`")
            continue
        yield from (Rule(file, rule) for rule in rules)


def _files(root: Path, *folders: str) -> list[Path]:
    return sorted(path for name in folders for path in (root / FOLDER / name).glob("*.y*ml"))


def _promtool(root: Path, found: Found) -> None:
    promtool = programs.of_debian("promtool", "prometheus")
    commands: list[tuple[list[str], list[Path]]] = [
        (["check", "rules", "--lint=all", "--lint-fatal"], _files(root, "rules", "alerts")),
        (["test", "rules"], _files(root, "tests")),
        (["check", "config"], [root / FOLDER / "prometheus.yml"]),
    ]
    for words, files in commands:
        for path in files:
            # One by one, so that the problem names the file.
            said = programs.run(promtool, *words, path)
            if said.returncode:
                do = f"see `promtool {' '.join(words)}`"
                found.problem(path.relative_to(root), _told(f"{said.stdout} {said.stderr}"), do)


def _amtool(folder: Path, found: Found) -> None:
    said = programs.run(
        programs.of_debian("amtool", "prometheus-alertmanager"), "check-config", folder / "alertmanager.yml"
    )
    if said.returncode:
        found.problem(f"{FOLDER}/alertmanager.yml", _told(f"{said.stdout} {said.stderr}"), "see `amtool check-config`")


def _told(text: str) -> str:
    return " ".join(text.split())[-600:]


def _tested(root: Path, found: Found) -> set[str]:
    """Count the cases of the tests and return the alerts that fire in one."""
    fires: set[str] = set()
    files = _files(root, "tests")
    if not files:
        found.problem(f"{FOLDER}/tests", "there are no tests of rules", "restore them")
    for path in files:
        for test in (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("tests", []):
            found.count("rule_tests")
            for case in test.get("alert_rule_test", []):
                if case.get("exp_alerts"):
                    fires.add(case["alertname"])
    return fires


def _of_alert(rule: Rule, folder: Path) -> Iterator[tuple[str, str]]:
    severity = rule.body.get("labels", {}).get("severity")
    if severity not in SEVERITIES:
        yield f"severity is {severity}", f"give it one of {', '.join(sorted(SEVERITIES))}"
    annotations = {name: str(text) for name, text in rule.body.get("annotations", {}).items()}
    for name in ("summary", "description"):
        # Both languages in one text, or one text for each, as in summary_zh.
        text = " ".join(value for key, value in annotations.items() if key.startswith(name))
        if not _in_both(text):
            yield f"its {name} is not in Chinese and English", f"write the {name} in both"
    target = annotations.get("runbook_url", "")
    if not target:
        yield "it has no runbook_url", "name its page in deploy/monitoring/runbooks"
        return
    name = target.split("#")[0].rstrip("/").rpartition("/")[2].removesuffix(".md").removesuffix(".zh-CN")
    pages = [
        path
        for path in sorted((folder / "runbooks").rglob("*.md"))
        if path.name.removesuffix(".md").removesuffix(".zh-CN").removesuffix(".zh") == name
    ]
    text = "\n".join(path.read_text(encoding="utf-8") for path in pages)
    if not pages:
        yield f"there is no runbook {name}.md", "write it in Chinese and English"
    elif len(_CHINESE.findall(text)) < _CHARACTERS or len(_ENGLISH.findall(_prose(text))) < _WORDS:
        yield f"its runbook {name}.md is not in Chinese and English", "write what to do in both"
    elif rule.name not in text:
        yield f"its runbook {name}.md does not name it", "say there which alert it is for"


def _in_both(text: str) -> bool:
    plain = re.sub(r"{{.*?}}", "", text)
    return bool(_CHINESE.search(plain)) and len(_ENGLISH.findall(plain)) >= 2


def _prose(text: str) -> str:
    return re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S)

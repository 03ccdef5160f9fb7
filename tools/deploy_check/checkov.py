"""The production overlay as checkov sees it, offline; which of its checks may fail, and why, is listed here.

It is the slowest check by far, as it is a program of its own that loads a thousand rules; it looks at production alone.
"""

import json
import tempfile
from pathlib import Path

import yaml

from . import programs, rendered
from .found import Found

OVERLAY = "production"
#: Checks that may fail, with the reason; one that does not fail any more is a problem, too.
SKIPPED = {
    "CKV_K8S_11": "no CPU limits: throttling delays the answer to a probe; requests share the CPU out",
}


def check(root: Path) -> Found:
    """Run checkov over the production overlay."""
    found = Found()
    items = {item.where: item for item in rendered.items(root, found) if item.overlay == OVERLAY}
    found.count("checkov_skipped", len(SKIPPED))
    if not items:
        found.problem(f"deploy/overlays/{OVERLAY}", "there is nothing to check", "restore the overlay")
        return found
    files = {}
    with tempfile.TemporaryDirectory(prefix="xinhuo-checkov-") as folder:
        # One file, as what is checked about one object depends on others.
        (Path(folder) / "all.yaml").write_text(
            yaml.dump_all((item.body for item in items.values()), Dumper=yaml.CSafeDumper)
        )
        for item in items.values():
            metadata = item.body["metadata"]
            files[f"{item.body['kind']}.{metadata.get('namespace', 'default')}.{metadata['name']}"] = item.where
        said = programs.run(
            programs.checkov(),
            *("--directory", folder, "--framework", "kubernetes", "--output", "json", "--compact", "--quiet"),
            "--skip-download",
        )
    try:
        report = json.loads(said.stdout)
        found.count("checkov_checks", report["summary"]["passed"] + report["summary"]["failed"])
        failed = report["results"]["failed_checks"]
        unread = report["summary"]["parsing_errors"]
    except (ValueError, KeyError, TypeError):
        found.problem(f"deploy/overlays/{OVERLAY}", f"checkov gave no report: {said.stderr[-500:]}", "see what it says")
        return found
    if unread or not report["summary"]["passed"]:
        found.problem(f"deploy/overlays/{OVERLAY}", "checkov could not read it", "see what it says")
    for one in failed:
        if one["check_id"] not in SKIPPED:
            where = next((files[name] for name in files if one["resource"].startswith(name)), one["resource"])
            do = "mend it, or skip it in tools/deploy_check/checkov.py with the reason"
            found.problem(where, f"{one['check_id']} {one['check_name']}", do)
    for check_id in sorted(SKIPPED.keys() - {one["check_id"] for one in failed}):
        found.problem("tools/deploy_check/checkov.py", f"{check_id} is skipped and does not fail", "skip it no more")
    return found

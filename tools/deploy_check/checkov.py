"""The built overlays as checkov sees them, offline; what it is not asked, and why, is listed here.

It is the slowest check by far, as it is a program of its own that loads a thousand rules; it looks at production alone.
"""

import json
import tempfile
from pathlib import Path

import yaml

from . import programs, rendered
from .found import Found

OVERLAY = "production"
#: What is not asked, with the reason.
SKIPPED = {
    "CKV_K8S_11": "no CPU limits: throttling delays the answer to a probe; requests share the CPU out",
    "CKV_K8S_15": "imagePullPolicy Always: images are named by digest, so another pull brings the same bytes",
    "CKV_K8S_21": "the default namespace: no object is in it, what has no namespace is not namespaced",
    "CKV_K8S_43": "images by digest: the digest is that of the image built by the office, set when it is deployed",
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
        (Path(folder) / "all.yaml").write_text(yaml.safe_dump_all(item.body for item in items.values()))
        for item in items.values():
            metadata = item.body["metadata"]
            files[f"{item.body['kind']}.{metadata.get('namespace', 'default')}.{metadata['name']}"] = item.where
        said = programs.run(
            programs.checkov(),
            *("--directory", folder, "--framework", "kubernetes", "--output", "json", "--compact", "--quiet"),
            *("--skip-download", "--skip-check", ",".join(SKIPPED)),
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
        where = next((files[name] for name in files if one["resource"].startswith(name)), one["resource"])
        do = "mend it, or skip it in tools/deploy_check/checkov.py with the reason"
        found.problem(where, f"{one['check_id']} {one['check_name']}", do)
    return found

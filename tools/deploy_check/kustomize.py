"""Each overlay is there and is built by kustomize without an error or a warning; so is each component."""

from collections import Counter
from pathlib import Path

from . import rendered
from .found import Found


def check(root: Path) -> Found:
    """Build all of them; an object twice in one overlay, or an overlay without objects, is a problem."""
    found = Found()
    all_items = list(rendered.items(root, found))
    found.count("manifests", len(all_items))
    for build in rendered.builds(root):
        found.count("builds")
        if not build.failed and not build.items:
            found.problem(build.file, "it holds no object", "name its resources")
        names = Counter(
            (item.group, item.body.get("kind"), item.body["metadata"].get("namespace"), item.body["metadata"]["name"])
            for item in build.items
        )
        for (_, kind, _, name), times in names.items():
            if times > 1:
                found.problem(build.file, f"{kind}/{name} is there {times} times", "keep one")
    return found

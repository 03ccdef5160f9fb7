"""deploy/compose.yaml is what the Compose Specification allows: no field, value or unit that docker would refuse."""

import json
import re
from pathlib import Path

import yaml

from .found import Found

FILE = "deploy/compose.yaml"
_VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")


def check(root: Path) -> Found:
    """Read it as docker compose would, with variables at their defaults, and see that what it names is there."""
    import compose_spec

    found = Found()
    if not (root / FILE).exists():
        found.problem(FILE, "the file is missing", "restore it")
        return found
    try:
        content = yaml.safe_load(_VARIABLE.sub(r"\1", (root / FILE).read_text(encoding="utf-8")))
        # Anchors are resolved here: the library knows no `<<`.
        compose_spec.PyCompose.from_json(json.dumps(content))
    except (yaml.YAMLError, ValueError) as error:
        found.problem(FILE, str(error), "write it as the Compose Specification says")
        return found
    services = content["services"]
    found.count("compose_services", len(services))
    for name, one in services.items():
        named = {
            "services": one.get("depends_on", {}),
            "networks": one.get("networks", []),
            "volumes": [
                mount.partition(":")[0] for mount in one.get("volumes", []) if not mount.startswith((".", "/"))
            ],
        }
        for kind, names in named.items():
            for missing in sorted(set(names) - set(content[kind])):
                found.problem(FILE, f"{name} names {missing}, which is not among {kind}", "add it, or mend the name")
    return found

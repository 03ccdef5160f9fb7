"""Each object of an operator's own kind is true to its schema in schemas/, which names every field.

kubernetes-validate has no schemas for them, and kubectl asks a cluster. The schemas are written from the operators'
CRDs, smaller and stricter: a field that is not in them is a mistake, or is to be added from the CRD.
"""

import functools
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from referencing.jsonschema import DRAFT202012

from . import kubernetes, rendered
from .found import Found

SCHEMAS = Path(__file__).with_name("schemas")
_KUBERNETES = kubernetes.VERSIONS[-1]
_DEFINITIONS = "https://kubernetes.io/api/_definitions.json#/$defs/io.k8s.api."
_MACHINERY = "https://kubernetes.io/api/_definitions.json#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1."
_STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
_METADATA = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"},
        "namespace": {"type": "string"},
        "labels": _STRINGS,
        "annotations": _STRINGS,
    },
}


def check(root: Path) -> Found:
    """Check each custom resource of each build; a kind without a schema is a problem."""
    found = Found()
    for item in rendered.items(root, found):
        if item.is_custom:
            found.count("custom_resources")
            for wrong in problems(item.body):
                found.problem(item.where, wrong, "write it as the operator's CRD has it")
    return found


def problems(body: dict[str, Any]) -> list[str]:
    """Return what is wrong in a custom resource."""
    name = f"{body.get('apiVersion')}/{body.get('kind')}"
    if name not in kinds():
        return [f"there is no schema of {name} in {SCHEMAS.name}/"]
    return [f"{error.json_path}: {error.message[:300]}" for error in _validator(name).iter_errors(body)]


@functools.cache
def kinds() -> dict[str, dict[str, Any]]:
    """Return the schema of each kind, by API version and kind."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(SCHEMAS.glob("*.yaml")):
        content = _strict(yaml.safe_load(file.read_text(encoding="utf-8")))
        for name, spec in content["kinds"].items():
            whole = {
                "type": "object",
                "required": ["apiVersion", "kind", "metadata", "spec"],
                "properties": {"apiVersion": {}, "kind": {}, "metadata": _METADATA, "spec": spec},
            }
            found[name] = {"$defs": content.get("$defs", {}), **_strict(whole)}
    return found


def _strict(schema: Any) -> Any:
    """Refuse unknown fields wherever fields are named, and write out references to Kubernetes."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(part) for key, part in schema.items()}
    # What an `if` names is a question, not a list of all fields, and carries no type.
    if made.get("type") == "object" and isinstance(made.get("properties"), dict):
        made.setdefault("additionalProperties", False)
    reference = made.get("$ref")
    if isinstance(reference, str) and reference.startswith("k8s:"):
        name = reference.removeprefix("k8s:")
        made["$ref"] = (_DEFINITIONS if "." in name else _MACHINERY) + name
    return made


@functools.cache
def _validator(name: str) -> Any:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **kinds()[name]}
    jsonschema.Draft202012Validator.check_schema(schema)
    registry = kubernetes.definitions(_KUBERNETES).with_resource("", DRAFT202012.create_resource(schema))
    return jsonschema.Draft202012Validator(schema, registry=registry)

"""Each object of Kubernetes itself is true to its schema, strictly: in an old, a middle and a new version.

The schemas are those of the package kubernetes-validate, as `kubernetes-validate --strict` uses them: they refuse what
Kubernetes does not know. That command reads them anew for each object and stops at the first error; here they are read
once for each kind, and all errors are told.
"""

import functools
import re
from pathlib import Path
from typing import Any

import jsonschema
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

from . import rendered
from .found import Found

#: The oldest and the newest that the package has, and one between them.
VERSIONS = ("1.25.0", "1.31.0", "1.37.0")
_FOLDER = "kubernetes-json-schema/v{}-local-strict"


def check(root: Path) -> Found:
    """Check each object of each build against each version."""
    found = Found()
    for item in rendered.items(root, found):
        if item.is_custom:
            continue
        found.count("objects")
        for version in VERSIONS:
            for wrong in problems(item.body, version):
                found.problem(item.where, f"Kubernetes {version}: {wrong}", "write the field as the API has it")
            found.count("validations")
    return found


def problems(body: dict[str, Any], version: str) -> list[str]:
    """Return what a version of Kubernetes would refuse in an object."""
    try:
        validator = _validator(body["kind"], body["apiVersion"], version)
    except FileNotFoundError:
        return [f"there is no {body['kind']} of {body['apiVersion']}"]
    except KeyError as missing:
        return [f"it has no {missing.args[0]}"]
    return [f"{error.json_path}: {_short(error.message)}" for error in validator.iter_errors(body)]


def _short(message: str) -> str:
    return message if len(message) < 300 else f"{message[:140]} … {message[-140:]}"


@functools.cache
def _validator(kind: str, api_version: str, version: str) -> Any:
    """Raises FileNotFoundError when the version has no such kind."""
    # As the package names its files: rbac.authorization.k8s.io/v1 is rbac-v1.
    api = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = schema_contents(f"{_FOLDER.format(version)}/{kind.lower()}-{api}.json", version)
    return jsonschema.Draft202012Validator(schema, registry=definitions(version))


@functools.cache
def definitions(version: str) -> Registry[Any]:
    """Return what the schemas of a version refer to."""
    contents = schema_contents(f"{_FOLDER.format(version)}/_definitions.json", version)
    resource: Resource[Any] = Resource.from_contents(contents)
    return resource @ Registry()

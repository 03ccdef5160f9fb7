"""What kustomize makes of the overlays, each object with the file that it comes from."""

import functools
import os
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools import kubectl

from .found import Found, ToolMissing

#: The overlays that there must be.
OVERLAYS = ("dev", "production", "staging")
_PATH = re.compile(r".*recursed accumulation of path '(?P<folder>[^']+)':", re.S)
_IN_FILE = re.compile(r"accumulating resources from '(?P<file>[^']+\.ya?ml)'")
_ORIGIN = "config.kubernetes.io/origin"


@dataclass(frozen=True)
class Item:
    """An object as it would be applied."""

    overlay: str
    file: str
    body: dict[str, Any]

    @property
    def where(self) -> str:
        """Return the file, the object and the overlay, as problems name them."""
        return f"{self.file} ({self.body.get('kind')}/{self.body.get('metadata', {}).get('name')} in {self.overlay})"

    @property
    def group(self) -> str:
        """Return the API group, empty for the core."""
        version: str = self.body.get("apiVersion", "")
        return version.rpartition("/")[0]

    @property
    def is_custom(self) -> bool:
        """Whether the object is of an operator's own kind; those of Kubernetes have no dot, or end in k8s.io."""
        return "." in self.group and not self.group.endswith(".k8s.io")


@dataclass(frozen=True)
class Build:
    """One thing that kustomize builds: an overlay, or a component that no overlay has, on the base."""

    name: str
    file: str
    items: tuple[Item, ...] = ()
    failed: str = ""


def items(root: Path, found: Found) -> Iterator[Item]:
    """Yield the objects of all builds; one that fails, or an overlay that is not there, is a problem."""
    for build in builds(root):
        if build.failed:
            found.problem(build.file, build.failed, "see `kubectl kustomize` of the overlays")
        yield from build.items


@functools.cache
def builds(root: Path) -> tuple[Build, ...]:
    """Build everything, once for all modules; raises ToolMissing."""
    deploy = root / "deploy"
    wanted: list[tuple[Path, str, Path, list[str], list[str]]]
    names = sorted({*OVERLAYS, *(path.parent.name for path in deploy.glob("overlays/*/kustomization.yaml"))})
    wanted = [(root, name, deploy / "overlays" / name, [f"overlays/{name}"], []) for name in names]
    used = {path for name in names for path in _components(deploy / "overlays" / name)}
    for component in sorted(path.parent for path in deploy.glob("components/**/kustomization.yaml")):
        if component.resolve() not in used:
            name = str(component.relative_to(deploy))
            wanted.append((root, name, component, ["base"], [name]))
    with ThreadPoolExecutor() as pool:
        return tuple(pool.map(lambda build: _build(*build), wanted))


def _build(root: Path, name: str, folder: Path, resources: list[str], components: list[str]) -> Build:
    file = str((folder / "kustomization.yaml").relative_to(root))
    if not (root / file).exists():
        return Build(name, file, failed="the file is missing")
    with tempfile.TemporaryDirectory(prefix="xinhuo-kustomize-") as temporary:
        around = Path(temporary).resolve()
        there = Path(os.path.relpath((root / "deploy").resolve(), around))
        content = {
            "resources": [str(there / path) for path in resources],
            "components": [str(there / path) for path in components],
            "buildMetadata": ["originAnnotations"],
        }
        (around / "kustomization.yaml").write_text(yaml.safe_dump(content))
        try:
            # By libyaml: a tenth of the time, for thousands of lines.
            bodies = [body for body in yaml.load_all(kubectl.rendered_text(around), yaml.CSafeLoader) if body]
        except kubectl.BadManifests as bad:
            where, wrong = _innermost(str(bad), root, file)
            return Build(name, where, failed=wrong)
        except kubectl.ToolsUnavailable as missing:
            raise ToolMissing(str(missing)) from missing
        return Build(name, file, tuple(Item(name, _file_of(body, around, root, file), body) for body in bodies))


def _innermost(said: str, root: Path, otherwise: str) -> tuple[str, str]:
    """Return which file kustomize means, and what is wrong in it, of all that it wraps around that."""
    _, _, said = said.partition("\n")
    folder = root.resolve() / Path(otherwise).parent
    for match in _PATH.finditer(said):
        folder, said = Path(match["folder"]), said[match.end() :]
    file = _IN_FILE.search(said)
    path = folder / (file["file"] if file else "kustomization.yaml")
    where = path.relative_to(root.resolve()) if path.is_relative_to(root.resolve()) else otherwise
    return str(where), said


def _file_of(body: dict[str, Any], around: Path, root: Path, otherwise: str) -> str:
    """Take kustomize's note of where an object comes from out of it, and return that."""
    metadata = body.get("metadata", {})
    annotations = metadata.get("annotations", {})
    origin = yaml.safe_load(annotations.pop(_ORIGIN, "")) or {}
    if not annotations:
        metadata.pop("annotations", None)
    path = origin.get("path") or origin.get("configuredIn")
    if path is None:
        return otherwise
    return os.path.relpath(os.path.normpath(around / path), root.resolve())


def _components(folder: Path) -> set[Path]:
    """Return the components that a kustomization has, by way of others too."""
    file = folder / "kustomization.yaml"
    if not file.exists():
        return set()
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    own = {(folder / path).resolve() for path in content.get("components", [])}
    below = {(folder / path).resolve() for path in content.get("resources", []) if not path.endswith((".yaml", ".yml"))}
    return own.union(*map(_components, own | below))

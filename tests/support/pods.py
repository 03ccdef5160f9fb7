"""Pods of rendered manifests, in the image or as plain processes: the same arguments, environment and files.

What a container would see at `/run/secrets/xinhuo` lies in a folder of this machine, laid out as Kubernetes lays out a
Secret: links to a folder of dots, files for the group. What runs a pod can be exchanged: see ``Runner``.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.support import image as image_module
from tests.support.image import Image
from tests.support.installation import XINHUO, clean_environment
from tests.support.processes import end

Object = dict[str, Any]
Secrets = Mapping[str, Mapping[str, str]]
ROOT = Path(__file__).resolve().parents[2]


class Rendered:
    """The objects of an overlay."""

    def __init__(self, objects: Iterable[Object]) -> None:
        self.objects = list(objects)

    def of_kind(self, kind: str) -> list[Object]:
        """Return all objects of a kind."""
        return [item for item in self.objects if item["kind"] == kind]

    def get(self, kind: str, name: str) -> Object:
        """Return one object; raises KeyError."""
        for item in self.of_kind(kind):
            if item["metadata"]["name"] == name:
                return item
        raise KeyError(f"{kind} {name}")

    def without(self, kind: str, name: str) -> "Rendered":
        """Return the same with one object left out."""
        left_out = self.get(kind, name)
        return Rendered(item for item in self.objects if item is not left_out)

    def environment(self, container: Object) -> dict[str, str]:
        """Return the environment of a container, from its ConfigMaps and its own lines, which come first."""
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            found |= self.get("ConfigMap", source["configMapRef"]["name"]).get("data", {})
        return found | {line["name"]: line["value"] for line in container.get("env", [])}


def pod_of(workload: Object) -> Object:
    """Return the specification of a Deployment's or a Job's pods."""
    found: Object = workload["spec"]["template"]["spec"]
    return found


@dataclass(frozen=True)
class Container:
    """What a runner needs to know: arguments, environment, and what is mounted where."""

    arguments: list[str]
    environment: dict[str, str]
    folders: dict[str, Path]
    """By mount path, the folder of this machine that is there."""
    kept: frozenset[str] = frozenset()
    """Those of them that are written to and outlive it: claims of volumes."""


def container_of(
    rendered: Rendered, pod: Object, container: Object, secrets: Secrets, folder: Path, claims: Path | None = None
) -> Container:
    """Lay out the volumes of a container in a folder, claims of volumes in another; return it."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    folders, kept = {}, set()
    for mount in container["volumeMounts"]:
        volume, there = volumes[mount["name"]], folder / mount["mountPath"].strip("/")
        if claims and "persistentVolumeClaim" in volume:
            kept.add(mount["mountPath"])
            there = claims / volume["persistentVolumeClaim"]["claimName"]
        there.mkdir(parents=True, exist_ok=True)
        folders[mount["mountPath"]] = there
        if "projected" in volume:
            _project(volume["projected"], secrets, there)
        else:
            assert "emptyDir" in volume or mount["mountPath"] in kept, volume
    return Container(container["args"], rendered.environment(container), folders, frozenset(kept))


def _project(volume: Object, secrets: Secrets, there: Path) -> None:
    """Write the wanted keys as the kubelet does: into a folder of dots, with links to them."""
    content = there / "..2026_01_01"
    if content.exists():
        return
    content.mkdir()
    (there / "..data").symlink_to(content.name)
    for source in volume["sources"]:
        secret = secrets[source["secret"]["name"]]
        for item in source["secret"]["items"]:
            file = content / item["path"]
            file.write_text(secret[item["key"]], encoding="utf-8")
            file.chmod(volume["defaultMode"])
            (there / item["path"]).symlink_to(f"..data/{item['path']}")


class Runner(Protocol):
    """What runs containers: as plain processes, or in the image."""

    def start(
        self, container: Container, log: Path, port: int, addresses: Mapping[str, str]
    ) -> "subprocess.Popen[Any]":
        """Start it so that what it serves at 8080 is at a port of the loopback interface.

        ``addresses`` says which address stands for the URL of a service.
        """

    def pid(self, process: "subprocess.Popen[Any]") -> int:
        """Return the id of the process inside."""

    def end(self, process: "subprocess.Popen[Any]") -> None:
        """Make an end of it, whatever it is at."""


class PlainRunner:
    """Runs containers as plain processes of this machine, in the environment of the tests."""

    def start(
        self, container: Container, log: Path, port: int, addresses: Mapping[str, str]
    ) -> "subprocess.Popen[Any]":
        """See ``Runner``."""
        environment = {name: self._here(value, container, addresses) for name, value in container.environment.items()}
        # A container has an interface of its own; here is only the loopback one.
        environment["XINHUO_HOST"] = "127.0.0.1"
        arguments = [
            str(port) if word == "8080" else self._here(word, container, addresses) for word in container.arguments
        ]
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, XINHUO, *arguments], env=clean_environment(environment), cwd=ROOT,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    def pid(self, process: "subprocess.Popen[Any]") -> int:
        """See ``Runner``."""
        return process.pid

    def end(self, process: "subprocess.Popen[Any]") -> None:
        """See ``Runner``."""
        end(process, signal.SIGKILL, 10)

    @staticmethod
    def _here(value: str, container: Container, addresses: Mapping[str, str]) -> str:
        for path, folder in container.folders.items():
            if value == path or value.startswith(path + "/"):
                return str(folder) + value[len(path) :]
        if value.startswith("/run/"):  # below what is mounted deeper
            deeper = [folder for path, folder in container.folders.items() if path.startswith(value + "/")]
            return str(deeper[0].parent) if deeper else value
        return addresses.get(value, value)


class ImageRunner:
    """Runs containers of the image, locked up as Kubernetes has them; they share the network of this machine."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._running: dict[int, image_module.Container] = {}

    def start(
        self, container: Container, log: Path, port: int, addresses: Mapping[str, str]
    ) -> "subprocess.Popen[Any]":
        """See ``Runner``."""
        environment = {name: addresses.get(value, value) for name, value in container.environment.items()}
        environment["XINHUO_HOST"] = "127.0.0.1"
        volumes = []
        for path, folder in container.folders.items():
            if path != "/tmp":  # noqa: S108  (which every container has of its own)
                kept = path in container.kept
                _give_to_group(folder, kept)
                volumes.append(f"--volume={folder}:{path}:{'rw' if kept else 'ro'}")
        arguments = [str(port) if word == "8080" else word for word in container.arguments]
        made = self._image.start(
            log.parent, *arguments, env=environment, options=(*image_module.LOCKED_UP, *sorted(volumes)), log=log
        )
        self._running[made.process.pid] = made
        return made.process

    def pid(self, process: "subprocess.Popen[Any]") -> int:
        """See ``Runner``."""
        found = self._image.podman("inspect", "--format", "{{.State.Pid}}", self._running[process.pid].name)
        return int(found.stdout)

    def end(self, process: "subprocess.Popen[Any]") -> None:
        """See ``Runner``."""
        self._running[process.pid].end()


def _give_to_group(folder: Path, is_kept: bool) -> None:
    """Do what `fsGroup` does; the kubelet lets the group write to what is kept."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, -1 if is_kept else 0, image_module.USER, follow_symlinks=False)
        if is_kept:
            path.chmod(path.stat().st_mode | (0o2770 if path.is_dir() else 0o660))


def resident(pid: int) -> int:
    """Return how many bytes of memory a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

"""What deploy/compose.yaml says, run without docker: its commands, environment and mounts, in podman containers.

The servers are the tests' own, so their addresses, and the names of database and virtual host, are put in place of
those in the file, and each process gets a port of its own. Everything else is as it stands there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.image import Container, Image
from tests.support.installation import Ended, free_port_base
from tests.support.processes import LOOPBACK

FILE = Path(__file__).resolve().parents[2] / "deploy" / "compose.yaml"
_VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")


def read(text: str | None = None) -> dict[str, Any]:
    """Return the file with variables at their defaults and without what is only an anchor."""
    content = yaml.safe_load(_VARIABLE.sub(r"\1", text or FILE.read_text(encoding="utf-8")))
    return {name: value for name, value in content.items() if not name.startswith("x-")}


@dataclass
class Composed:
    """The services of the file on servers that run already."""

    image: Image
    folder: Path
    places: dict[str, str]
    """What stands in the file, and what to put there."""
    services: dict[str, Any] = field(default_factory=lambda: read()["services"])
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        base = free_port_base()
        long = [name for name, one in self.services.items() if one.get("command", [""])[0] == "serve"]
        self.ports = {name: base + number for number, name in enumerate(long)}
        for volume in read()["volumes"]:
            self.volume(volume).mkdir(parents=True)

    def volume(self, name: str) -> Path:
        """Return the folder that stands for a named volume: root's at first, as docker makes it."""
        return self.folder / "volumes" / name

    def order(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the services that may start next, after what they depend on, with the conditions they wait for."""
        waiting = {name: one for name, one in self.services.items() if not one.get("profiles")}
        done: set[str] = set()
        while waiting:
            ready = [name for name, one in waiting.items() if set(one.get("depends_on", {})) <= done]
            assert ready, f"a circle: {sorted(waiting)}"
            for name in ready:
                yield name, [f"{on} {how['condition']}" for on, how in waiting.pop(name).get("depends_on", {}).items()]
            done |= set(ready)

    def run(self, name: str, *command: str, stdin: str | None = None, env: dict[str, str] | None = None) -> Ended:
        """Run a service of the file to its end."""
        given = self._given(name, command, env)
        return self.image.run_in_image(*given.pop("arguments"), **given, stdin=stdin)

    def start(self, name: str) -> Container:
        """Start a service of the file."""
        given = self._given(name, (), None)
        return self.image.start(self.folder, *given.pop("arguments"), **given)

    def healthcheck(self, container: Container, name: str) -> int:
        """Return the exit code of a service's own health check, run in its container."""
        kind, *command = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.image.podman("exec", container.name, *[self._put(name, word) for word in command]).code

    def url(self, name: str) -> str:
        """Return where a service answers."""
        return f"http://{LOOPBACK}:{self.ports[name]}"

    def _given(self, name: str, command: tuple[str, ...], env: dict[str, str] | None) -> dict[str, Any]:
        one = self.services[name]
        assert (one["read_only"], one["cap_drop"]) == (True, ["ALL"])
        options = ["--read-only", "--read-only-tmpfs=false", *(f"--tmpfs={mount}" for mount in one["tmpfs"])]
        options += [f"--cap-drop={capability}" for capability in one["cap_drop"]]
        options += [f"--cap-add={capability}" for capability in one.get("cap_add", [])]
        options += [f"--security-opt={option.partition(':')[0]}" for option in one["security_opt"]]
        options += [f"--user={one['user']}"] if "user" in one else []
        for mount in one.get("volumes", []):
            volume, target, *mode = mount.split(":")
            options.append(f"--volume={self.volume(volume)}:{target}:{mode[0] if mode else 'rw'}")
        environment = {**one.get("environment", {}), **(env or {})}
        return {
            "arguments": [self._put(name, word) for word in command or one.get("command", [])],
            "env": {variable: self._put(name, value) for variable, value in environment.items()},
            "options": tuple(options),
            "entrypoint": tuple(one.get("entrypoint", ())),
        }

    def _put(self, name: str, text: str) -> str:
        for there, here in self.places.items():
            text = text.replace(there, here)
        for other, port in self.ports.items():
            text = text.replace(f"{other}:8080", f"{LOOPBACK}:{port}")
        if name in self.ports:
            text = text.replace(f"{LOOPBACK}:8080", f"{LOOPBACK}:{self.ports[name]}")
        return str(self.ports[name]) if text == "8080" else LOOPBACK if text == "0.0.0.0" else text  # noqa: S104

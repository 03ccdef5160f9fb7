"""What the locks in requirements/ say: names, versions, hashes."""

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
#: The platform that we ship for; what a lock holds for others only is left out.
PLATFORM = {
    "os_name": "posix",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "python_version": "3.11",
    "python_full_version": "3.11.7",
    "extra": "",
}
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pinned:
    """A package of a lock, with the SHA-256 of each file that may be installed."""

    name: str
    version: str
    hashes: tuple[str, ...]


def read(lock: str) -> list[Pinned]:
    """Return what a lock (``runtime``) pins for our platform, by name; raises ValueError for a line without hashes."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text().replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        requirement = Requirement(line.partition("--hash")[0].strip())
        hashes = _HASH.findall(line)
        [pin] = requirement.specifier
        if pin.operator != "==" or not hashes:
            raise ValueError(f"{lock}: not pinned with hashes: {requirement}")
        if requirement.marker is None or requirement.marker.evaluate(PLATFORM):
            found.append(Pinned(requirement.name.lower(), pin.version, tuple(sorted(hashes))))
    return sorted(found, key=lambda one: one.name)

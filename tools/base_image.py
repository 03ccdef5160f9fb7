"""A base image of Debian's packages, made by mmdebstrap: for machines that reach a Debian mirror and no registry."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "fonts-droid-fallback", "python3", "python3-venv", "tzdata", "usr-is-merged")
#: What nobody reads in an image; the licences stay.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")
OPTIONS = (
    "--variant=minbase",
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    f"--include={','.join(PACKAGES)}",
    *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    # Nothing of a package names the time of this making, or is kept for its next installation.
    '--customize-hook=rm -rf "$1"/var/cache/* "$1"/var/log/* "$1"/var/lib/apt/lists/*',
)


class Missing(Exception):
    """mmdebstrap is not here; the text says what to do, in Chinese and English."""


def name() -> str:
    """Return the name of the image; another recipe has another."""
    return f"localhost/xinhuo-base:{SUITE}-{_fingerprint()}"


def make(tool: str, *, fresh: bool = False) -> str:
    """Make the base, or take the archive of an earlier making, and load it; raises Missing."""
    archive = _cache() / f"base-{SUITE}-{_fingerprint()}.tar"
    if fresh or not archive.exists():
        _make_archive(archive)
    if tool == "buildah":
        container = _output(tool, "from", "scratch")
        _run(tool, "add", "--quiet", container, str(archive), "/")
        _run(tool, "commit", "--quiet", "--rm", container, name())
    else:
        _run(tool, "import", str(archive), name())
    return name()


def _make_archive(archive: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        raise Missing(
            "xinhuo: 没有安装 mmdebstrap。请安装：apt-get install mmdebstrap；或用 --base 给出本机已有的镜像\n"
            "xinhuo: mmdebstrap is not installed: apt-get install mmdebstrap; or name an image that is here with --base"
        )
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_suffix(f".{os.getpid()}.tar")
    try:
        _run("mmdebstrap", "--quiet", *OPTIONS, SUITE, str(unfinished))
        unfinished.replace(archive)
    finally:
        unfinished.unlink(missing_ok=True)


def _fingerprint() -> str:
    return hashlib.sha256("\n".join((SUITE, *OPTIONS)).encode()).hexdigest()[:12]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xinhuo"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

"""``make image``: builds the image of deploy/images/Containerfile with docker, podman or buildah, whichever works.

Where the base image cannot be pulled, or with ``--offline``, the base is made of Debian's packages by mmdebstrap. What
comes after ``--`` goes to the build command as it is. Exit code 0 when built, 1 when a step failed, 3 when a tool is
missing.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from xinhuo import __version__

from . import base_image, sbom

ROOT = Path(__file__).resolve().parents[1]
CONTAINERFILE = ROOT / "deploy" / "images" / "Containerfile"
BILL = ROOT / "build" / f"xinhuo-{__version__}.cdx.json"
#: What the Containerfile installs.
LOCK = "otel"
TOOLS = ("docker", "podman", "buildah")
#: Where an office keeps its mirror of packages, and the authorities that its network is signed by.
PIP_CONFIGS = ("PIP_CONFIG_FILE", "~/.config/pip/pip.conf", "~/.pip/pip.conf", "/etc/pip.conf")
AUTHORITIES = ("PIP_CERT", "SSL_CERT_FILE")


class Missing(Exception):
    """Something that the build needs is not here; the text says what to do, in Chinese and English."""


def main() -> int:
    """Build the image and print what came of it."""
    options = _arguments()
    try:
        made = build(options)
    except (Missing, base_image.Missing) as missing:
        print(missing, file=sys.stderr)
        return 3
    except (subprocess.CalledProcessError, sbom.Unknown) as failed:
        what = failed.cmd[:2] if isinstance(failed, subprocess.CalledProcessError) else failed
        _say(f"没有做成，原因见上 / not built, see above: {what}")
        return 1
    if options.json:
        print(json.dumps(made, ensure_ascii=False))
    return 0


def build(options: argparse.Namespace) -> dict[str, object]:
    """Build, tag, measure, and write the bill of materials; return what was made."""
    tool = working_tool(options.tool)
    _say(f"使用 {tool} / with {tool}")
    base = _base(tool, options)
    tags = [f"{options.name}:{tag}" for tag in (options.tag or [__version__, "dev"])]
    _say(f"正在构建 {', '.join(tags)}，基础镜像 {base} / building on {base}")
    command = [tool, "build", "--file", str(CONTAINERFILE), "--build-arg", f"BASE_IMAGE={base}"]
    command += ["--build-arg", f"VERSION={__version__}", "--build-arg", f"REVISION={_revision()}"]
    for tag in tags:
        command += ["--tag", tag]
    command += [*_secrets(), *options.more, str(ROOT)]
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}  # older dockers know secrets only so
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
    size = size_of(tool, tags[0])
    BILL.parent.mkdir(exist_ok=True)
    BILL.write_text(sbom.document(LOCK), encoding="utf-8")
    _say(f"完成：{', '.join(tags)}，{size // 10**6} MB / built")
    _say(f"所含软件清单 / what is in it: {BILL.relative_to(ROOT)}")
    return {"tool": tool, "base": base, "tags": tags, "bytes": size, "sbom": str(BILL)}


def working_tool(wanted: str | None) -> str:
    """Return the first of the tools, or the wanted one, that is installed and works; raises Missing."""
    found = []
    for tool in [wanted] if wanted else TOOLS:
        if shutil.which(tool) is None:
            found.append(f"{tool}: 没有安装 / not installed")
            continue
        answer = subprocess.run([tool, "info"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return tool
        found.append(f"{tool}: {_last_line(answer)}")
    raise Missing(
        "xinhuo: docker、podman、buildah 都不能用 / none of docker, podman and buildah works here\n"
        + "".join(f"          {line}\n" for line in found)
        + "        请安装其一，例如 / install one, for example:  apt-get install podman"
    )


def size_of(tool: str, image: str) -> int:
    """Return how many bytes an image has."""
    if tool == "buildah":  # says it in words only
        said = _output(tool, "images", "--format", "{{.Size}}", image).split()
        return int(float(said[0]) * {"KB": 10**3, "MB": 10**6, "GB": 10**9}[said[1].upper()])
    return int(_output(tool, "image", "inspect", "--format", "{{.Size}}", image))


def default_base() -> str:
    """Return the base that the Containerfile names."""
    [base] = re.findall(r"^ARG BASE_IMAGE=(\S+)$", CONTAINERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    return str(base)


def _base(tool: str, options: argparse.Namespace) -> str:
    """Return the base to build on: the wanted one if it can be had, else one of our own."""
    wanted = options.base or default_base()
    if not options.offline:
        if _is_there(tool, wanted):
            return str(wanted)
        _say(f"正在获取基础镜像 {wanted} / pulling the base")
        answer = subprocess.run([tool, "pull", wanted], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return str(wanted)
        _say(f"无法获取 / it cannot be pulled: {_last_line(answer)}")
        if options.base:  # who names one wants that one
            raise Missing(
                f"xinhuo: 请检查 --base 的名称和网络，或先导入该镜像（{tool} load）/ look at the name and the network, "
                f"or load that image first ({tool} load)"
            )
    name = base_image.name()
    if _is_there(tool, name) and not options.fresh:
        _say(f"沿用本机的基础镜像 {name} / the base made here before")
        return name
    _say("用 mmdebstrap 由 Debian 软件包制作基础镜像，约需一分钟 / making a base of Debian's packages, about a minute")
    return base_image.make(tool, fresh=options.fresh)


def _secrets() -> Iterator[str]:
    """Yield the options that let the build see this machine's settings of pip; they stay in no layer."""
    for name, places in (("pip.conf", PIP_CONFIGS), ("ca.pem", AUTHORITIES)):
        for place in places:
            path = Path(os.environ.get(place, "") if place.isupper() else place).expanduser()
            if path.is_file():
                yield from ("--secret", f"id={name},src={path}")
                break


def _is_there(tool: str, image: str) -> bool:
    kind = ["inspect", "--type", "image"] if tool == "buildah" else ["image", "inspect"]
    return subprocess.run([tool, *kind, image], capture_output=True, check=False).returncode == 0


def _revision() -> str:
    answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _last_line(answer: "subprocess.CompletedProcess[str]") -> str:
    return ((answer.stderr.strip() or answer.stdout.strip()).splitlines() or ["?"])[-1]


def _say(text: str) -> None:
    print(f"xinhuo: {text}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='make image ARGS="..."', description=__doc__)
    parser.add_argument("--tool", choices=TOOLS, help="this one; without it the first that works")
    parser.add_argument("--base", metavar="IMAGE", help=f"what to build on [{default_base()}]")
    parser.add_argument("--offline", action="store_true", help="pull nothing: a base of Debian's packages")
    parser.add_argument("--fresh", action="store_true", help="make that base anew, with the packages of today")
    parser.add_argument("--name", default="xinhuo", help="of the image [xinhuo]")
    parser.add_argument("--tag", action="append", help=f"may be repeated [{__version__} and dev]")
    parser.add_argument("--json", action="store_true", help="print what was made as one JSON object")
    parser.add_argument("more", nargs="*", help="after --: for the build command")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""What can be wrong with a page without running anything: dead links, paths, targets, commands, options."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from typer.main import get_command

from tests.support.documents import ROOT, Block, links, pages, shell_blocks
from xinhuo.chassis import metrics
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.roles import role_of
from xinhuo.cli.build import service_classes
from xinhuo.cli.main import app

_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_PATH = re.compile(r"(?:services|xinhuo|tests|tools|docs|benchmarks|requirements|deploy)/[\w./*{},-]*")
_TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def problems(root: Path) -> list[str]:
    """Return everything that is wrong with the pages below a folder, each with its place."""
    found: list[str] = []
    for page in pages(root):
        name = page.relative_to(root)
        found += [f"{name}: {problem}" for problem in _dead_links(page, root)]
        found += [f"{name}: {problem}" for problem in _wrong_code(page, root)]
        for block in shell_blocks(page):
            found += [f"{name}:{block.line}: {problem}" for problem in _wrong_commands(block, root)]
    return found


def _dead_links(page: Path, root: Path) -> Iterator[str]:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            yield f"dead link {link}"
        elif not target.is_relative_to(root.resolve()):
            yield f"link out of the project {link}"
        elif anchor and target.suffix == ".md" and anchor not in _anchors(target):
            yield f"link to a heading that is not there {link}"


def _anchors(page: Path) -> set[str]:
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    plain = (re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading) for heading in _HEADING.findall(text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def _wrong_code(page: Path, root: Path) -> Iterator[str]:
    """Look at what stands in `code` within the text."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    for code in _CODE.findall(text):
        if code.startswith("xinhuo "):
            yield from wrong_xinhuo(code)
        elif code.startswith("make "):
            yield from _wrong_make(code, root)
        elif re.fullmatch(r"xinhuo_[a-z_]+", code) and code not in _metrics() and code not in map(role_of, SERVICES):
            yield f"no such metric or role `{code}`"
        elif _PATH.fullmatch(code) and not _exists(code):
            yield f"no such path `{code}`"


@cache
def _metrics() -> set[str]:
    service_classes()  # their modules declare metrics, too
    ends = ("", "_bucket", "_count", "_sum")
    return {
        metric.name + end for metric in metrics.declared() for end in ends[: 4 if metric.kind == "histogram" else 1]
    }


def _exists(path: str) -> bool:
    braces = re.fullmatch(r"(.*)\{(.*)\}(.*)", path)
    every = [f"{braces[1]}{part}{braces[3]}" for part in braces[2].split(",")] if braces else [path]
    return all(any(ROOT.glob(one.rstrip("/"))) for one in every)


def _wrong_commands(block: Block, root: Path) -> Iterator[str]:
    for command in block.commands():
        if command.startswith("make"):
            yield from _wrong_make(command, root)
        elif "xinhuo " in command.partition("#")[0]:
            yield from wrong_xinhuo(command.partition("#")[0])


def _wrong_make(command: str, root: Path) -> Iterator[str]:
    targets = set(_TARGET.findall((root / "Makefile").read_text(encoding="utf-8")))
    _, *words = shlex.split(command, comments=True)
    wanted = [word for word in words if "=" not in word]
    yield from (f"no such target `make {word}`" for word in wanted if word not in targets)
    for word in words:
        if word.startswith("ARGS=") and wanted == ["run"]:
            yield from wrong_xinhuo("xinhuo up " + word.removeprefix("ARGS="))


def wrong_xinhuo(line: str) -> Iterator[str]:
    """Yield why the command line of ours in this line of shell would be refused, as far as names go."""
    words = shlex.split(line[line.index("xinhuo ") :], comments=True)[1:]
    command: Any = get_command(app)
    while hasattr(command, "commands"):
        if not words or words[0].startswith("-"):
            break
        word = words.pop(0)
        if word not in command.commands:
            yield f"no such command in `{line.strip()}`: {word}"
            return
        command = command.commands[word]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word.startswith("--") and word.partition("=")[0] not in known | {"--help"}:
            yield f"no such option in `{line.strip()}`: {word}"

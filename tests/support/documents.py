"""The project's own pages, read as a user reads them: code blocks, commands and links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[a-z0-9]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_NAMED = re.compile(r"`([\w.-]+\.(?:py|yaml))`")
_LINK = re.compile(r"!?\[(?:[^\]\\]|\\.)*\]\(([^)\s]+)\)")
_IMAGE = re.compile(r"<img[^>]*\bsrc=\"([^\"]+)\"")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; ``name`` is the file name that the line before it gives, if it gives one."""

    page: Path
    line: int
    language: str
    text: str
    name: str | None

    def commands(self) -> list[str]:
        """Return the commands of a shell block, continued lines joined: what follows the prompt, if it has prompts."""
        text = self.text.replace("\\\n", " ")
        lines = [line.strip() for line in text.splitlines()]
        if self.language == "console":
            return [line[2:].strip() for line in lines if line.startswith("$ ")]
        return [line for line in lines if line and not line.startswith("#")]

    def __str__(self) -> str:
        """Name the place, for messages."""
        return f"{self.page.name}:{self.line}"


def pages(root: Path = ROOT) -> list[Path]:
    """Return the pages that people read."""
    return sorted([*root.glob("*.md"), *root.glob("docs/**/*.md")])


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()].rstrip().rpartition("\n")[2]
        named = _NAMED.findall(before)
        indent = match["indent"]
        lines = [line.removeprefix(indent) for line in match["text"].splitlines()]
        found.append(
            Block(
                page,
                text.count("\n", 0, match.start()) + 1,
                match["language"],
                "\n".join(lines) + "\n",
                named[-1] if named else None,
            )
        )
    return found


def shell_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page that hold commands to type."""
    return [block for block in blocks(page) if block.language in {"console", "bash", "sh", "shell"}]


def files_of(page: Path) -> dict[str, str]:
    """Return the programs and settings that a page asks its reader to write, by file name."""
    found = {}
    for block in blocks(page):
        if block.name and block.language in {"python", "yaml"}:
            assert block.name not in found, f"{block} defines {block.name} once more"
            found[block.name] = block.text
    return found


def links(page: Path) -> Iterator[str]:
    """Yield where the links and pictures of a page point to; what stands in code is no link."""
    text = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page.read_text(encoding="utf-8")))
    yield from _LINK.findall(text)
    yield from _IMAGE.findall(text)

"""Draws the picture of the README, docs/images/run.svg: ``python -m tools.screenshot``.

Runs what `make run ARGS="--once"` runs, in a temporary folder, and draws what it prints.
"""

import html
import io
import os
import re
import socket
import subprocess
import sys
import tempfile
from itertools import groupby
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "run.svg"
COMMAND = 'make run ARGS="--once"'
_WIDTH = 82
#: What rich makes of a cell's width in pixels, and one run of text in its drawing.
_CELL = 12.2
_RUN = re.compile(
    r'<text class="(?P<class>run-r\d+)" x="(?P<x>[\d.]+)" (?P<y>y="[\d.]+") textLength="[\d.]+"(?P<rest>[^>]*)>'
    r"(?P<text>[^<]*)</text>"
)
NBSP = "\u00a0"
_FONTS = "'Sarasa Mono SC', 'Noto Sans Mono CJK SC', 'Source Code Pro', Menlo, Consolas, monospace"


def main() -> int:
    """Run the command and draw its output; return its exit code, and draw nothing when that is not 0."""
    with tempfile.TemporaryDirectory(prefix="xinhuo-screenshot-") as folder:
        program = Path(sys.executable).with_name("xinhuo")
        ended = subprocess.run(  # noqa: S603  (our own program)
            [program, "up", "--once", "--data", folder, "--port-base", str(_free_port_base())],
            env=_environment(),
            stdout=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
    if ended.returncode:
        print(ended.stdout, file=sys.stderr)
        return ended.returncode
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(f"$ {COMMAND}\n{ended.stdout}"), encoding="utf-8")
    return 0


def draw(output: str) -> str:
    """Return the picture of a terminal with this output; it refers to no font or file outside."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(output.rstrip()), soft_wrap=True)
    svg = console.export_svg(title="xinhuo", theme=MONOKAI, unique_id="run")
    svg = _RUN.sub(_by_width, svg)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", _FONTS)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def _by_width(run: re.Match[str]) -> str:
    """Give wide characters the room of two: rich counts characters, not the cells that they take."""
    column = round(float(run["x"]) / _CELL)
    parts = []
    for _, characters in groupby(html.unescape(run["text"]), lambda character: cell_len(character) == 2):
        text = "".join(characters)
        width = cell_len(text)
        attributes = f'x="{column * _CELL:g}" {run["y"]} textLength="{width * _CELL:g}"{run["rest"]}'
        parts.append(f'<text class="{run["class"]}" {attributes}>{html.escape(text).replace(NBSP, "&#160;")}</text>')
        column += width
    return "".join(parts)


def _environment() -> dict[str, str]:
    servers = re.compile(r"(.*_)?(AMQP_URI|DATABASE_URL)|XINHUO_.*")
    inherited = {name: value for name, value in os.environ.items() if not servers.fullmatch(name)}
    # Colours, but bars that are drawn once, when they are full.
    return {**inherited, "FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(_WIDTH), "TERM": "xterm-256color"}


def _free_port_base() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return min(port, 65000)


if __name__ == "__main__":
    sys.exit(main())

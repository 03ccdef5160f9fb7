"""A PostgreSQL that archives its log, and the commands of docs/backup.md run on it as its own account would."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.support.documents import ROOT, shell_blocks
from tests.support.installation import XINHUO, clean_environment
from tests.support.processes import unprivileged
from tests.support.servers import WheelPostgres

PAGE = ROOT / "docs" / "backup.md"


class ArchivingPostgres(WheelPostgres):
    """Its archive, copies of its data and its present data all lie in its folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.archive, self.base, self.data = folder / "archive", folder / "base", folder / "data"
        self.more = {"full_page_writes": "on", **archive_settings(self.archive)}

    def start(self) -> str:
        """Make a place for the archive first."""
        self.folder.mkdir(parents=True)
        self.make_folder(self.archive)
        return super().start()

    def make_folder(self, path: Path) -> None:
        """Make a folder that the server's account may write to."""
        path.mkdir()
        if who := unprivileged():
            os.chown(path, who["user"], who["group"])  # type: ignore[arg-type]

    def shell(self, containing: str, *, first_only: bool = False, **variables: str) -> None:
        """Run the block of the page that contains this, or its first line, as the account of the server."""
        commands = block(containing).strip()
        if first_only:
            commands = commands.splitlines()[0]
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands], env=self._environment(variables), cwd=self.folder,
            check=True, **unprivileged(),  # type: ignore[call-overload]
        )  # fmt: skip

    def shell_in_background(self, containing: str, **variables: str) -> "subprocess.Popen[bytes]":
        """Start the block of the page that contains this, and leave it running."""
        return subprocess.Popen(
            ["bash", "-euc", "exec " + block(containing).strip().splitlines()[-1]], env=self._environment(variables),
            cwd=self.folder, **unprivileged(),  # type: ignore[call-overload]
        )  # fmt: skip

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        places = {"BASE": self.base, "ARCHIVE": self.archive, "PGDATA": self.data, "WAL": self.folder / "wal"}
        path = f"{self.programs}:{os.environ['PATH']}"
        given = {name: str(place) for name, place in places.items()}
        return {**os.environ, "PATH": path, "DATABASE_URL": self.url, **given, **variables}

    def lose_everything(self) -> None:
        """Kill the server and remove its data, as a burnt disk does."""
        self.crash(signal.SIGKILL)
        shutil.rmtree(self.data)


def block(containing: str) -> str:
    """Return the text of the one block of the page that contains this."""
    [found] = [each for each in shell_blocks(PAGE) if containing in each.text]
    return found.text


def archive_settings(archive: Path) -> dict[str, object]:
    """Return the settings of the page for a server that archives its log there."""
    lines = PAGE.read_text(encoding="utf-8").partition("```ini\n")[2].partition("```")[0].splitlines()
    named = dict(line.split(" = ", 1) for line in lines if " = " in line)
    return {name: value.strip("'").replace("/srv/wal", str(archive)) for name, value in named.items()}


def run_page(containing: str, folder: Path, settings: dict[str, str]) -> str:
    """Run the block of the page that contains this with the settings of an installation; return what it printed."""
    path = f"{Path(XINHUO).parent}:{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block(containing)],
        env=clean_environment({**settings, "PATH": path}), cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout

"""The units for a machine without containers: systemd takes them, and what they name exists."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.documents import ROOT
from tests.support.documents_check import wrong_xinhuo
from xinhuo.chassis import config

FOLDER = ROOT / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))


def values(path: Path, key: str) -> list[str]:
    """Return what stands behind a key of a unit, each time."""
    return re.findall(rf"^{key}=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)


def settings() -> dict[str, str]:
    lines = (FOLDER / "settings.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def problems(path: Path) -> list[str]:
    """Return what systemd says about a unit, the program apart, which is not installed here."""
    ended = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"{path.stem}volunteers.service"],
        env={"SYSTEMD_UNIT_PATH": f"{path.parent}:", "PATH": "/usr/bin:/bin"},
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    return [line for line in ended.stderr.splitlines() if path.name in line or f"{path.stem}volunteers" in line]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_the_command_and_the_settings_of_a_unit_exist(path: Path) -> None:
    (command,) = values(path, "ExecStart")
    assert list(wrong_xinhuo(command.replace("%i", "volunteers"))) == []
    assert shlex.split(command)[-1] == path.stem.removeprefix("xinhuo-").removesuffix("@")
    credentials = {each.partition(":")[0] for each in values(path, "LoadCredential")}
    named = dict(each.split("=", 1) for each in values(path, "Environment"))
    secret = {f"{variable}{config.IN_FILE}" for variable in config.secret_variables()} | {"XINHUO_KEY_FILE"}
    assert named.keys() <= secret
    assert {file.removeprefix("%d/") for file in named.values()} == credentials
    assert int(values(path, "TimeoutStopSec")[0]) > int(settings()["XINHUO_DRAIN_SECONDS"])


def test_the_shared_settings_are_known_and_hold_no_secret() -> None:
    known = {each.metadata["variable"] for each in config.Settings.__dataclass_fields__.values() if each.metadata}
    assert settings().keys() <= known - set(config.secret_variables())
    assert config.load(settings()).environment == "production"


needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")


@needs_systemd
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_systemd_finds_nothing_wrong_with_a_unit(path: Path) -> None:
    found = [line for line in problems(path) if "is not executable" not in line]
    assert found == []


@needs_systemd
def test_systemd_would_find_a_key_that_it_does_not_know(tmp_path: Path) -> None:
    broken = tmp_path / UNITS[0].name
    broken.write_text(UNITS[0].read_text(encoding="utf-8").replace("PrivateTmp=yes", "PrivateTemp=yes"))
    assert any("PrivateTemp" in line for line in problems(broken))

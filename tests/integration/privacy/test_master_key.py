"""The key file holds one key a line: a new one goes before the others, which stay."""

import base64
import os
import stat
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.threads import together
from xinhuo.chassis.key_file import ask_command, create_key_file, load_keys, rotate_key_file
from xinhuo.chassis.security import BadKeyFile
from xinhuo.cli.main import app


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_a_new_key_is_the_first_line_and_all_else_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    create_key_file(path)
    first, keys = lines(path), load_keys(path)
    value, index = keys.encrypt("测试员甲", "p"), keys.blind_index("a", "b")
    assert rotate_key_file(path) == 2
    assert rotate_key_file(path) == 3
    assert lines(path)[-1:] == first
    assert len(set(lines(path))) == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["master.key"]
    rotated = load_keys(path)
    assert (rotated.decrypt(value, "p"), rotated.blind_index("a", "b")) == ("测试员甲", index)
    assert rotated.current != keys.current


def test_two_who_rotate_at_once_lose_no_key(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    create_key_file(path)
    together(*[lambda: rotate_key_file(path)] * 8)
    assert len(set(lines(path))) == 9


def test_a_rotation_that_is_cut_short_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "master.key"
    create_key_file(path)
    before = path.read_bytes()

    def fails(_descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(BadKeyFile, match="cannot be written"):
        rotate_key_file(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["master.key"]


@pytest.mark.parametrize("content", ["", "x\n", base64.b64encode(bytes(32)).decode() + "\n\n" + "AAAA\n"])
def test_a_file_that_is_no_key_file_is_not_rotated(tmp_path: Path, content: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(content)
    with pytest.raises(BadKeyFile):
        rotate_key_file(path)
    assert path.read_text() == content
    with pytest.raises(BadKeyFile):
        rotate_key_file(tmp_path / "nowhere" / "master.key")


def test_a_vault_may_give_the_keys_by_a_command(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    create_key_file(path)
    rotate_key_file(path)
    given = ask_command(f"cat {path}")
    assert given.current == load_keys(path).current
    assert load_keys(path).decrypt(given.encrypt("a", "p"), "p") == "a"


@pytest.mark.parametrize(
    "command", ["/no/such/program", f"{sys.executable} -c 'print(1)'", f"{sys.executable} -c 'raise SystemExit(3)'"]
)
def test_a_command_that_gives_no_key_is_refused_without_repeating_it(command: str) -> None:
    with pytest.raises(BadKeyFile) as refused:
        ask_command(command)
    assert "XINHUO_KEY_COMMAND" in str(refused.value)
    assert "program" not in str(refused.value)
    assert "SystemExit" not in str(refused.value)


def test_the_command_rotates_and_can_be_tried_dry(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    create_key_file(path)
    before = path.read_bytes()
    dry = CliRunner().invoke(app, ["key", "rotate", str(path), "--dry-run"])
    assert (dry.exit_code, path.read_bytes()) == (0, before)
    done = CliRunner().invoke(app, ["key", "rotate", str(path)])
    assert (done.exit_code, len(lines(path))) == (0, 2)
    assert "xinhuo key rewrap" in done.stdout


@pytest.mark.parametrize("word", ["create", "rotate"])
def test_keys_of_a_vault_are_not_changed_here(word: str) -> None:
    ended = CliRunner().invoke(app, ["key", word], env={"XINHUO_KEY_COMMAND": "/usr/bin/vault read"})
    assert ended.exit_code == 2
    assert "XINHUO_KEY_COMMAND" in ended.stderr

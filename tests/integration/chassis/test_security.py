"""The key file appears whole and once, and what it encrypts opens at its own place only."""

import base64
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.threads import together
from xinhuo.chassis.key_file import create_key_file, load_keys
from xinhuo.chassis.security import BadKeyFile, CannotDecrypt, Keys

ROOT = Path(__file__).resolve().parents[3]
KEYS = Keys(bytes(range(32)))
PLACE = "volunteers.name"
CREATE = """
import sys
from pathlib import Path
from xinhuo.chassis.key_file import create_key_file, load_keys
sys.stdin.readline()
create_key_file(Path(sys.argv[1]))
print(load_keys(Path(sys.argv[1])).blind_index("x", "y").hex())
"""


def test_a_key_file_is_for_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_key_file(tmp_path / "new folder" / "master.key")
    finally:
        os.umask(before)
    path = tmp_path / "new folder" / "master.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(base64.b64decode(path.read_text().strip(), validate=True)) == 32
    assert [each.name for each in path.parent.iterdir()] == ["master.key"], "nothing temporary is left"


def test_an_existing_key_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    create_key_file(path)
    before = path.read_bytes()
    create_key_file(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["master.key"]


def test_two_installations_have_different_keys(tmp_path: Path) -> None:
    for name in ("a", "b"):
        create_key_file(tmp_path / name)
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_a_creation_that_is_cut_short_leaves_no_half_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fails)
    path = tmp_path / "master.key"
    with pytest.raises(OSError, match="disk full"):
        create_key_file(path)
    assert not path.exists()
    monkeypatch.undo()
    create_key_file(path)
    assert load_keys(path).decrypt(load_keys(path).encrypt("a", "p"), "p") == "a"


def test_processes_that_create_it_at_once_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, str(path)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    found = [process.communicate(timeout=30)[0].strip() for process in processes]
    assert len(set(found)) == 1
    assert found[0]


def test_threads_that_create_it_at_once_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "master.key"

    def create() -> bytes:
        create_key_file(path)
        return load_keys(path).blind_index("x", "y")

    found = together(*[create] * 16)
    assert len(set(found)) == 1
    assert isinstance(found[0], bytes)
    assert [each.name for each in tmp_path.iterdir()] == ["master.key"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"short", b"not base64!" * 4, base64.b64encode(bytes(31)), base64.b64encode(bytes(33)),
     "密钥".encode(), b"\xff" * 44, base64.b64encode(bytes(32)) + b" " + base64.b64encode(bytes(32))],
)  # fmt: skip
def test_a_key_file_with_something_else_in_it_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(content)
    with pytest.raises(BadKeyFile) as refused:
        load_keys(path)
    text = str(refused.value)
    assert "密钥" in text
    assert "master key" in text
    if len(content) > 10 and content.isascii():
        assert content.decode().strip() not in text


def test_a_key_file_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadKeyFile, match="xinhuo key create") as refused:
        load_keys(tmp_path / "none.key")
    assert str(tmp_path / "none.key") in str(refused.value)


def test_a_folder_in_place_of_a_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadKeyFile, match="IsADirectoryError"):
        load_keys(tmp_path)


@pytest.mark.parametrize("text", ["", "a", "王小明", "𠮷\0\n", "x" * 100_000])
def test_a_text_comes_back_and_looks_different_each_time(text: str) -> None:
    first, second = KEYS.encrypt(text, PLACE), KEYS.encrypt(text, PLACE)
    assert first != second
    assert first.isascii()
    assert first.startswith("a1.")
    assert KEYS.decrypt(first, PLACE) == KEYS.decrypt(second, PLACE) == text
    assert not text or len(text) < 3 or text not in first


def test_bytes_come_back() -> None:
    data = bytes(range(256)) * 10
    assert KEYS.decrypt_bytes(KEYS.encrypt_bytes(data, PLACE), PLACE) == data


@pytest.mark.parametrize("place", ["volunteers.phone", "volunteers.nam", "volunteers.name ", "", "VOLUNTEERS.NAME"])
def test_a_value_opens_at_its_own_place_only(place: str) -> None:
    with pytest.raises(CannotDecrypt):
        KEYS.decrypt(KEYS.encrypt("王小明", PLACE), place)


def test_a_value_opens_with_its_own_key_only() -> None:
    with pytest.raises(CannotDecrypt):
        Keys(bytes(32)).decrypt(KEYS.encrypt("王小明", PLACE), PLACE)


def test_a_value_changed_in_any_bit_does_not_open() -> None:
    raw = base64.b64decode(KEYS.encrypt("王小明", PLACE)[3:])
    for bit in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CannotDecrypt):
            KEYS.decrypt(f"a1.{base64.b64encode(changed).decode()}", PLACE)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: "",
        lambda value: "a1.",
        lambda value: "a1.AAAA",
        lambda value: value[:-4],
        lambda value: value[:-1],
        lambda value: value + "AAAA",
        lambda value: value + "=",
        lambda value: "a2" + value[2:],
        lambda value: value[3:],
        lambda value: f"{value[:20]}\n{value[20:]}",
        lambda value: f"{value[:20]}-{value[20:]}",
        lambda value: value + "值",
        lambda value: "plain text",
    ],
)
def test_a_value_that_is_none_of_ours_does_not_open(change: Callable[[str], str]) -> None:
    value = change(KEYS.encrypt("王小明", PLACE))
    with pytest.raises(CannotDecrypt):
        KEYS.decrypt(value, PLACE)


def test_the_error_holds_nothing_of_the_value() -> None:
    with pytest.raises(CannotDecrypt) as refused:
        KEYS.decrypt("王小明", PLACE)
    assert "王小明" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_blind_index_finds_equal_texts_of_one_place_of_one_installation_only() -> None:
    index = KEYS.blind_index("14200010000", "volunteers.phone")
    assert index == KEYS.blind_index("14200010000", "volunteers.phone")
    assert len(index) == 32
    others = [
        KEYS.blind_index("14200010000", "volunteers.id_number"),
        KEYS.blind_index("14200010001", "volunteers.phone"),
        Keys(bytes(32)).blind_index("14200010000", "volunteers.phone"),
        KEYS.blind_index("", "volunteers.phone"),
    ]
    assert len({index, *others}) == 5


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_master_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(BadKeyFile, match="32"):
        Keys(bytes(size))

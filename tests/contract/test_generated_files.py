"""What is generated is what stands in the project; a change by hand, or one forgotten, is found."""

import hashlib
import re
import shutil
import subprocess
import sys

import pytest

from tools import event_files, generate
from xinhuo.chassis.errors import all_codes
from xinhuo.cli.exits import Exit


@pytest.fixture(scope="module")
def wanted():
    return generate.outputs()


@pytest.fixture
def copy(tmp_path, wanted):
    """A copy of everything generated, in a folder of its own."""
    for path in wanted:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(generate.ROOT / path, tmp_path / path)
    contracts = generate.ROOT / event_files.CONTRACTS
    shutil.copytree(contracts / "samples", tmp_path / event_files.CONTRACTS / "samples")
    shutil.copy(generate.ROOT / event_files.HASHES, tmp_path / event_files.HASHES)
    return tmp_path


def test_no_generated_file_is_stale(wanted):
    assert list(generate.stale(generate.ROOT, wanted)) == []


def test_generating_twice_gives_the_same(wanted):
    assert generate.outputs() == wanted


def test_the_unchanged_copy_is_not_stale(copy, wanted):
    assert list(generate.stale(copy, wanted)) == []
    assert list(generate.write(copy, wanted)) == []


@pytest.mark.parametrize(
    "path",
    [
        "docs/cli.md",
        "docs/errors.md",
        "docs/events.md",
        "docs/settings.md",
        "xinhuo/contracts/schemas/volunteers.hours_logged.v1.json",
        "xinhuo/contracts/schemas/volunteers.hours_logged.v1.public.json",
    ],
)
@pytest.mark.parametrize("harm", ["changed", "removed"])
def test_a_file_that_was_changed_or_removed_is_named_and_written_again(copy, wanted, path, harm):
    if harm == "changed":
        (copy / path).write_text((copy / path).read_text().replace("e", "o", 1))
    else:
        (copy / path).unlink()
    found = list(generate.stale(copy, wanted))
    assert len(found) == 1
    assert found[0].startswith(f"{path}: ")
    assert list(generate.write(copy, wanted)) == [path]
    assert list(generate.stale(copy, wanted)) == []


def test_a_schema_of_an_event_that_is_no_more_is_named_and_removed(copy, wanted):
    path = "xinhuo/contracts/schemas/volunteers.kettle_boiled.v1.json"
    (copy / path).write_text("{}")
    assert [line.partition(":")[0] for line in generate.stale(copy, wanted)] == [path]
    assert list(generate.write(copy, wanted)) == [path]
    assert not (copy / path).exists()


SAMPLE = "xinhuo/contracts/samples/volunteers.hours_logged.v1.json"


@pytest.mark.parametrize("harm", ["changed", "removed"])
def test_a_golden_sample_that_was_changed_or_removed_is_not_made_good_by_generating(copy, wanted, harm):
    if harm == "changed":
        (copy / SAMPLE).write_text((copy / SAMPLE).read_text().replace("120", "121"))
    else:
        (copy / SAMPLE).unlink()
    before = sorted((path.name, path.read_bytes()) for path in (copy / SAMPLE).parent.iterdir())
    for _ in range(2):
        assert [line.partition(":")[0] for line in generate.stale(copy, wanted)] == [SAMPLE]
        assert list(generate.write(copy, wanted)) == []
    assert sorted((path.name, path.read_bytes()) for path in (copy / SAMPLE).parent.iterdir()) == before


def test_an_event_without_a_sample_is_named_and_gets_one_at_the_end_of_the_list(copy, wanted):
    hashes = copy / event_files.HASHES
    all_lines = hashes.read_text().splitlines(keepends=True)
    others = [line for line in all_lines if not line.endswith("volunteers.hours_logged.v1.json\n")]
    hashes.write_text("".join(others))
    (copy / SAMPLE).unlink()
    assert any("no sample yet" in line for line in generate.stale(copy, wanted))
    assert list(generate.write(copy, wanted)) == [SAMPLE]
    assert hashes.read_text().startswith("".join(others)), "lines before are never touched"
    assert hashes.read_text().splitlines()[-1].split()[0] == hashlib.sha256((copy / SAMPLE).read_bytes()).hexdigest()
    assert list(generate.stale(copy, wanted)) == []


def test_the_first_samples_start_the_list(tmp_path, wanted):
    assert any("no sample yet" in line for line in event_files.broken_samples(tmp_path))
    list(generate.write(tmp_path, wanted))
    assert list(generate.stale(tmp_path, wanted)) == []


def test_a_sample_that_is_not_listed_or_listed_twice_is_named(copy, wanted):
    stray = copy / "xinhuo/contracts/samples/stray.json"
    stray.write_text("{}")
    assert [line.partition(":")[0] for line in generate.stale(copy, wanted)] == ["xinhuo/contracts/samples/stray.json"]
    stray.unlink()
    hashes = copy / event_files.HASHES
    hashes.write_text(hashes.read_text() + hashes.read_text().splitlines(keepends=True)[0])
    assert any("listed twice" in line for line in generate.stale(copy, wanted))


def test_the_check_names_the_stale_file_and_exits_with_1_without_writing(copy):
    page = copy / "docs/settings.md"
    page.write_text("# Settings\n")
    check = [sys.executable, "-m", "tools.generate", "--check", "--root", str(copy)]
    done = subprocess.run(check, cwd=generate.ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "docs/settings.md: stale; run `make docs`\n"
    assert page.read_text() == "# Settings\n"


def test_generating_makes_good_what_the_check_found(copy, capsys):
    (copy / "docs/settings.md").write_text("# Settings\n")
    assert generate.main(["--root", str(copy)]) == 0
    assert capsys.readouterr().out == "docs/settings.md\n"
    assert generate.main(["--check", "--root", str(copy)]) == 0


def test_every_error_and_exit_code_stands_on_its_page(wanted):
    codes = [info.code for info in all_codes().values() if info.name.startswith(("xinhuo.", "services."))]
    assert len(codes) > 30
    assert [code for code in codes if f"`{code}`" not in wanted["docs/errors.md"]] == []
    assert [code.name for code in Exit if f"`{code.name}`" not in wanted["docs/cli.md"]] == []


def test_every_reason_of_a_dead_letter_in_the_code_stands_on_the_page(wanted):
    files = [path for folder in ("xinhuo", "services") for path in (generate.ROOT / folder).rglob("*.py")]
    reasons = {found for path in files for found in re.findall(r'"((?:event|handler)\.[a-z_]+)"', path.read_text())}
    assert len(reasons) > 10
    assert [reason for reason in sorted(reasons) if f"`{reason}`" not in wanted["docs/errors.md"]] == []


def test_every_event_stands_in_the_catalogue_with_publisher_and_subscribers(wanted):
    page = wanted["docs/events.md"]
    assert [event.topic for event in event_files.events() if f"## {event.topic}" not in page] == []
    assert "`awards.add_to_tally`" in page
    assert "| `volunteer_id` | UUID | required | internal |" in page

"""The page that holds us against OWASP's lists: its ids are theirs, it is whole, and the tests that it names exist."""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.support.documents import ROOT

PAGE = ROOT / "docs" / "asvs.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
STATES = {"met", "partly", "not"}
#: How many requirements each section of ASVS 5.0.0 has, by chapter; of the chapters that the page looks at.
SECTIONS = {
    1: (2, 10, 12, 3, 3), 2: (3, 3, 5, 2), 4: (5, 5, 2, 4), 5: (1, 6, 3, 3), 6: (3, 12, 8, 6, 8, 4, 2, 4),
    7: (3, 4, 2, 5, 3, 2), 8: (4, 4, 3, 2), 9: (3, 4), 10: (2, 3, 5, 16, 5, 2, 3), 11: (4, 5, 5, 4, 2, 2, 2),
    12: (5, 2, 5), 13: (4, 6, 4, 7), 14: (2, 8, 3), 16: (1, 5, 4, 3, 4),
}  # fmt: skip
_TEST = re.compile(r"tests/[\w/]+\.py(::\w+)?")
_FILE = re.compile(r"\btest_\w+\.py\b|tests/[\w/.]+")


def rows(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading."""
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@cache
def functions(path: str) -> frozenset[str]:
    """Return the tests of a file."""
    found = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    return frozenset(item.name for item in found if isinstance(item, ast.FunctionDef))


def problems(text: str) -> Iterator[str]:
    """Yield what is wrong with the page."""
    risks = [cells[0].split(" ")[0] for cells in rows(text, "API Security Top 10 (2023)")]
    if risks != [f"API{number}" for number in range(1, 11)]:
        yield f"the Top 10 are {risks}"
    for cells in rows(text, "API Security Top 10 (2023)"):
        yield from wrong_lines(cells, 3)
    seen = set()
    for cells in rows(text, "ASVS 5.0, level 2"):
        identifier = cells[0]
        yield from wrong_lines(cells, 5)
        if not exists(identifier):
            yield f"no such requirement: {identifier}"
        if identifier in seen:
            yield f"twice: {identifier}"
        seen.add(identifier)
        if len(cells) == 5 and cells[2] not in STATES:
            yield f"no state: {identifier} {cells[2]}"
    if chapters := set(SECTIONS) - {int(identifier[1:].split(".")[0]) for identifier in seen if exists(identifier)}:
        yield f"chapters without a line: {sorted(chapters)}"


def exists(identifier: str) -> bool:
    """Tell whether the standard has such a requirement."""
    if not (found := re.fullmatch(r"V([1-9]\d?)\.([1-9]\d?)\.([1-9]\d?)", identifier)):
        return False
    chapter, section, number = (int(part) for part in found.groups())
    counts = SECTIONS.get(chapter, ())
    return section <= len(counts) and number <= counts[section - 1]


def wrong_lines(cells: list[str], width: int) -> Iterator[str]:
    """Yield what is wrong with one line of a table whose last cell names a test."""
    if len(cells) != width or not all(cells):
        yield f"a cell too few or too many: {cells[0]}"
        return
    named = cells[-1]
    if named == "–":
        if "not" not in cells:
            yield f"no test: {cells[0]}"
    elif not (found := _TEST.fullmatch(named)) or not found[1]:
        yield f"no name of a test: {named}"
    else:
        path, _, name = named.partition("::")
        if not (ROOT / path).is_file():
            yield f"no such file: {path}"
        elif not name.startswith("test_") or name not in functions(path):
            yield f"no such test: {named}"


def test_the_page_is_whole_and_every_test_that_it_names_exists() -> None:
    assert list(problems(TEXT)) == []
    assert len(rows(TEXT, "ASVS 5.0, level 2")) >= 40


LINE = next(line for line in TEXT.splitlines() if line.startswith("| V9.1.1 "))
RISK = next(line for line in TEXT.splitlines() if line.startswith("| API7 "))


@pytest.mark.parametrize(
    ("there", "planted", "complaint"),
    [
        (LINE, LINE.replace("test_tokens.py", "test_nothing.py"), "no such file"),
        (LINE, LINE.replace("test_anything_else_is_no_token", "test_nothing"), "no such test"),
        (LINE, LINE.replace("::test_anything_else_is_no_token", ""), "no name of a test"),
        (LINE, LINE.replace("::test_anything_else_is_no_token", "::verifier"), "no such test"),
        (LINE, LINE[: LINE.rindex("tests/")] + "– |", "no test: V9.1.1"),
        (LINE, LINE.replace("V9.1.1", "9.1.1"), "no such requirement"),
        (LINE, LINE.replace("V9.1.1", "V9.1.4"), "no such requirement"),
        (LINE, LINE.replace("V9.1.1", "V9.3.1"), "no such requirement"),
        (LINE, LINE.replace("V9.1.1", "V09.1.1"), "no such requirement"),
        (LINE, LINE.replace("V9.1.1", "V9.1.2"), "twice"),
        (LINE, LINE.replace("| met |", "| nearly |"), "no state"),
        (LINE, LINE.replace("| met ", ""), "a cell too few"),
        (f"{RISK}\n", "", "the Top 10 are"),
        (RISK, RISK.replace("API7", "API6"), "the Top 10 are"),
        (RISK, RISK[: RISK.rindex("tests/")] + "– |", "no test: API7"),
        ("| V12.", "| V11.", "chapters without a line: [12]"),
    ],
)
def test_what_is_planted_is_found(there: str, planted: str, complaint: str) -> None:
    assert there in TEXT
    assert planted != there
    assert any(complaint in found for found in problems(TEXT.replace(there, planted)))


def test_the_files_that_the_table_of_threats_names_exist() -> None:
    known = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    named = [cells[-1] for cells in rows(SECURITY, "Threats, and what stands against them")]
    assert len(named) > 15
    assert [cell for cell in named if not (found := _FILE.findall(cell)) or not _all_there(found, known)] == []


def _all_there(found: list[str], known: set[str]) -> bool:
    return all((ROOT / name).exists() if "/" in name else name in known for name in found)

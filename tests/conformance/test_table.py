"""The table of what the adapter for one process cannot do is what is skipped, and what the documentation says."""

import re
from pathlib import Path

from tests.conformance.table import ALL, NOT_IN_ONE_PROCESS
from xinhuo.chassis.config import ADAPTERS

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "decisions" / "0006-threads.md"


def test_every_name_in_the_table_skips_a_test_and_every_test_names_one_of_it() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py"))
    assert set(re.findall(r'mark\.needs\("(.+?)"\)', text)) == set(NOT_IN_ONE_PROCESS)


def test_the_page_about_it_has_the_same_table() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    listed = {name.strip(): why.strip() for name, why in rows if name.strip() in NOT_IN_ONE_PROCESS}
    assert listed == NOT_IN_ONE_PROCESS


def test_every_adapter_that_can_be_chosen_is_tested() -> None:
    assert set(ALL) == {*ADAPTERS, "inprocess"}

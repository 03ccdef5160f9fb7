"""The list of bad inputs by number: each is tested in this folder, somewhere else, or belongs to what comes later."""

import ast
from pathlib import Path

import pytest

from tests.integration.bad_inputs import test_events, test_fields, test_files, test_repeats, test_syntax, test_who_asks

AWARDS = "tests/integration/test_awards.py"
CHECK = "tests/integration/test_imports_check.py"
TRAPS = "tests/integration/traps/test_consuming.py"
ERASED = "tests/integration/privacy/test_rights_of_persons.py"
ROOT = Path(__file__).resolve().parents[3]

MODULES = (test_syntax, test_fields, test_who_asks, test_repeats, test_files, test_events)
HERE = {module.__name__: module.NUMBERS for module in MODULES}

#: Tested where the thing itself is tested.
ELSEWHERE = {
    59: f"{CHECK}::test_a_hundred_mistakes_are_shown_and_all_are_counted",
    60: "tests/unit/test_workbooks.py::test_hidden_blank_and_example_rows_are_told",
    62: "tests/unit/test_workbooks.py::test_dates_of_the_1904_system_are_read_as_shown",
    63: "tests/unit/test_workbooks_files.py::test_nothing_in_the_file_given_back_is_a_formula",
    65: "tests/unit/test_workbooks_files.py::test_one_row_more_than_a_file_may_have_is_refused",
    # An hour of somebody who was erased meanwhile counts, and says nothing of him: there is nothing to wait for.
    73: f"{ERASED}::test_notify_empties_what_was_told_and_counts_it_still",
    74: f"{AWARDS}::test_a_reversal_before_its_original_is_parked_and_counts_when_the_original_came",
    75: f"{AWARDS}::test_a_negative_total_is_a_dead_letter_and_harms_no_other_event_of_its_batch",
    79: f"{TRAPS}::test_an_event_that_kills_its_process_is_dead_lettered_alone_and_the_innocent_are_spared",
}

#: What must be there first.
NOT_IN_THIS_SLICE = {
    35: "selection rounds: quotas by head-count",
    36: "nominations: the rule of the deadline is a function so far",
    37: "volunteer cards: issue rate",
    52: "files of activities: a picture that is none",
    53: "files of activities: claims, and a photo used twice",
    54: "files of activities: a picture too large to decode",
}


def test_every_number_of_the_list_is_tested_or_waits_for_what_comes_later() -> None:
    here = set().union(*HERE.values())
    assert here | ELSEWHERE.keys() | NOT_IN_THIS_SLICE.keys() == set(range(1, 80))
    assert not NOT_IN_THIS_SLICE.keys() & (here | ELSEWHERE.keys())


@pytest.mark.parametrize("module", MODULES)
def test_numbers_outside_the_tables_have_a_test_of_their_own(module: object) -> None:
    tabled = {case.number for case in getattr(module, "CASES", ())}
    source = Path(str(module.__file__)).read_text()  # type: ignore[attr-defined]
    for number in module.NUMBERS - tabled:  # type: ignore[attr-defined]
        assert f"def test_{number}_" in source or f"({number}, " in source


@pytest.mark.parametrize("node", ELSEWHERE.values())
def test_what_is_tested_elsewhere_is_there(node: str) -> None:
    path, _, name = node.partition("::")
    functions = {
        item.name for item in ast.parse((ROOT / path).read_text()).body if isinstance(item, ast.FunctionDef)
    }  # fmt: skip
    assert name in functions

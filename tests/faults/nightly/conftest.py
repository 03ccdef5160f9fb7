"""Figures of the long proofs, printed at the end in one table."""

from typing import Any

import pytest


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what each test noted with `record_property`."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    noted = [report for report in reports if report.when == "call" and report.user_properties]
    if noted:
        terminalreporter.section("figures")
    for report in sorted(noted, key=lambda each: each.nodeid):
        figures = ", ".join(f"{name} {value}" for name, value in report.user_properties)
        terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {figures}")


@pytest.fixture
def note(record_property: Any) -> Any:
    """Notes figures of a test under their names."""

    def keep(**figures: Any) -> None:
        for name, value in figures.items():
            record_property(name, value)

    return keep

"""Figures of the long proofs, printed at the end in one table."""

from collections.abc import Callable
from typing import Any

import pytest


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what each test noted."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    noted = [report for report in reports if report.when == "call" and report.user_properties]
    if noted:
        terminalreporter.section("figures")
    for report in sorted(noted, key=lambda each: each.nodeid):
        figures = ", ".join(f"{name} {value}" for name, value in report.user_properties)
        terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {figures}")


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Notes figures of a test under their names."""

    def keep(**figures: Any) -> None:
        request.node.user_properties.extend(figures.items())

    return keep

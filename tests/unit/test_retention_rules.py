"""The rules of retention are read, and refused when they keep less than a law obliges to."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from xinhuo.chassis.retention.rules import Period, lines_of, load, period_of
from xinhuo.chassis.rules import InvalidRules
from xinhuo.cli.build import retention

OFFICE = ZoneInfo("Asia/Shanghai")
TODAY = date(2026, 3, 5)
_HEAD = """
rule: retention
title: 期限
title_en: retention
versions:
  - valid_from: 1949-10-01
    clause: 测试
    values:
"""


def read(folder: Path, values: str) -> None:
    file = folder / "retention.yaml"
    file.write_text(_HEAD + "".join(f"      {line}\n" for line in values.splitlines()), encoding="utf-8")
    load(file)


def line(keep: str, more: str = "") -> str:
    return f"notes:\n  logs: {{keep: {keep}, clause: 某法, what: 日志, what_en: logs{more}}}"


@pytest.mark.parametrize(
    ("keep", "at_least", "held"),
    [
        ("6 months", "6 months", True), ("5 months", "6 months", False), ("1 years", "12 months", True),
        ("35 months", "3 years", False), ("180 days", "6 months", False), ("186 days", "6 months", True),
        ("always", "3 years", True), ("29 days", "30 days", False), ("30 days", "30 days", True),
    ],
)  # fmt: skip
def test_what_a_law_obliges_to_keep_cannot_be_kept_for_less(
    tmp_path: Path, keep: str, at_least: str, held: bool
) -> None:
    if held:
        read(tmp_path, line(keep, f", at_least: {at_least}"))
        return
    with pytest.raises(InvalidRules, match="is less than"):
        read(tmp_path, line(keep, f", at_least: {at_least}"))


@pytest.mark.parametrize("keep", ["6 weeks", "months", "-1 days", "for ever", "1.5 years", "6  months"])
def test_a_period_of_another_form_is_refused(tmp_path: Path, keep: str) -> None:
    with pytest.raises(InvalidRules, match="should be like"):
        read(tmp_path, line(keep))


@pytest.mark.parametrize("values", ["notes:\n  logs: {keep: always, clause: 某法}", line("always", ", why: x")])
def test_a_line_with_too_little_or_too_much_is_refused(tmp_path: Path, values: str) -> None:
    with pytest.raises(InvalidRules, match="are expected"):
        read(tmp_path, values)


def test_of_several_lines_of_a_table_each_has_a_name_of_its_own(tmp_path: Path) -> None:
    one = "{keep: always, clause: 某法, what: 日志, what_en: logs"
    for lines in (f"[{one}}}, {one}}}]", f"[{one}, rule: a}}, {one}, rule: a}}]"):
        with pytest.raises(InvalidRules, match=r"needs a rule|stands twice"):
            read(tmp_path, f"notes:\n  logs: {lines}")


@pytest.mark.parametrize(
    ("now", "period", "before"),
    [
        ("2026-03-31T08:00+08:00", Period(months=1), "2026-02-28T08:00+08:00"),
        ("2024-03-31T08:00+08:00", Period(months=1), "2024-02-29T08:00+08:00"),
        ("2026-03-05T00:30+08:00", Period(days=5), "2026-02-28T00:30+08:00"),
        ("2026-01-01T00:00+08:00", period_of("1 years"), "2025-01-01T00:00+08:00"),
        ("2025-12-31T16:00+00:00", period_of("1 years"), "2025-01-01T00:00+08:00"),
        ("2026-12-31T08:00+08:00", period_of("3 years"), "2023-12-31T08:00+08:00"),
    ],
)  # fmt: skip
def test_periods_are_counted_by_the_calendar_of_the_office(now: str, period: Period, before: str) -> None:
    assert period.before(datetime.fromisoformat(now), OFFICE) == datetime.fromisoformat(before)


def test_a_period_from_now_ends_as_long_after(tmp_path: Path) -> None:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    assert Period(days=30).after(now, OFFICE) - now == timedelta(days=30)
    assert Period(months=1).after(now, OFFICE) == datetime(2026, 2, 28, tzinfo=UTC)


def test_a_service_has_the_lines_of_every_service_and_its_own() -> None:
    tables = {line.table for line in lines_of(retention(), "awards", TODAY)}
    assert {"outbox", "audit_log", "stars"} <= tables
    assert "volunteers" not in tables
    assert lines_of((), "awards", TODAY) == ()

"""Dated rules: what a file must look like, and which version holds on a day in an area."""

from datetime import date
from pathlib import Path

import pytest

from services.awards.domain import Thresholds
from services.volunteers.domain import DayLimit, UndoWindow
from xinhuo.chassis.rules import InvalidRules, NoRuleInForce, in_force, load_rules

SERVICES = Path(__file__).parents[2] / "services"

THREE_VERSIONS = """
rule: tea
title: 茶水
title_en: Tea
versions:
  - {valid_from: 2020-01-01, valid_until: 2020-12-31, clause: 一, values: {cups: 1}}
  - {valid_from: 2022-01-01, clause: 三, values: {cups: 3}}
  - {valid_from: 2021-01-01, valid_until: 2021-12-31, clause: 二, values: {cups: 2}}
  - {valid_from: 2021-03-01, valid_until: 2021-03-31, locality: "440781", clause: 县, values: {cups: 7}}
  - {valid_from: 2021-03-01, valid_until: 2021-04-30, locality: "440700", clause: 市, values: {cups: 8}}
  - {valid_from: 2021-03-01, locality: "440000", clause: 省, values: {cups: 9}}
"""


class File:
    """A file that is never written."""

    name = "tea.yaml"

    def __init__(self, text):
        self.text = text

    def read_text(self, encoding):
        return self.text


def cups(values, clause):
    return values["cups"]


def tea(text=THREE_VERSIONS):
    return load_rules(File(text), cups)


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        (date(2020, 1, 1), 1),
        (date(2020, 12, 31), 1),
        (date(2021, 1, 1), 2),
        (date(2021, 12, 31), 2),
        (date(2022, 1, 1), 3),
        (date(2999, 12, 31), 3),
    ],
)
def test_both_ends_of_a_period_belong_to_it(on, expected):
    assert in_force(tea(), on).value == expected


@pytest.mark.parametrize(
    ("locality", "on", "expected"),
    [
        ("440781", date(2021, 3, 31), 7),
        ("440781", date(2021, 4, 1), 8),
        ("440782", date(2021, 3, 31), 8),
        ("440781", date(2021, 5, 1), 9),
        ("441900", date(2021, 3, 31), 9),
        ("512002", date(2021, 3, 31), 2),
        ("440781", date(2021, 2, 28), 2),
    ],
)
def test_the_nearest_area_with_a_rule_of_its_own_decides(locality, on, expected):
    assert in_force(tea(), on, locality).value == expected


def test_a_day_before_all_versions_has_no_rule():
    with pytest.raises(NoRuleInForce) as caught:
        in_force(tea(), date(2019, 12, 31))
    assert (caught.value.code, caught.value.extra) == ("rule.none_in_force", {"on": "2019-12-31"})


def test_a_version_names_itself_shortly():
    assert in_force(tea(), date(2020, 5, 1)).reference == "tea@2020-01-01"
    assert in_force(tea(), date(2021, 3, 5), "440781").reference == "tea/440781@2021-03-01"


def one_version(**changed):
    fields = {"valid_from": "2020-01-01", "clause": "一", "values": "{cups: 1}", **changed}
    body = ", ".join(f"{key}: {value}" for key, value in fields.items() if value is not None)
    return f"rule: tea\ntitle: 茶水\ntitle_en: Tea\nversions:\n  - {{{body}}}\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not YAML"),
        ("[]", "a mapping is expected"),
        ("rule: tea", "missing title, title_en, versions"),
        (THREE_VERSIONS + "extra: 1", "unknown extra"),
        (THREE_VERSIONS.replace("茶水", "''"), "title must be a text"),
        (THREE_VERSIONS.replace("rule: tea", "rule: 7"), "rule must be a text"),
        ("rule: tea\ntitle: 茶水\ntitle_en: Tea\nversions: []", "list that is not empty"),
        ("rule: tea\ntitle: 茶水\ntitle_en: Tea\nversions: {a: 1}", "list that is not empty"),
        ("rule: tea\ntitle: 茶水\ntitle_en: Tea\nversions: [7]", "version 1: a mapping is expected"),
        (one_version(values=None), "version 1: missing values"),
        (one_version(valid_till="2020-01-01"), "unknown valid_till"),
        (one_version(valid_from="spring"), "valid_from must be a date"),
        (one_version(valid_from="2020-01-01 08:00:00"), "valid_from must be a date"),
        (one_version(valid_until="2020"), "valid_until must be a date"),
        (one_version(valid_until="2019-12-31"), "valid_until is before valid_from"),
        (one_version(locality="440781"), "six-digit area code in quotation marks"),
        (one_version(locality="'44078'"), "six-digit area code"),
        (one_version(clause="' '"), "clause must be a text"),
        (one_version(values="3"), "values must be a mapping"),
        (one_version(values="{mugs: 1}"), "version 1: values cannot be read: KeyError"),
        (one_version(valid_until="2020-12-31"), "no version after tea@2020-01-01"),
        (THREE_VERSIONS.replace("2020-12-31", "2021-01-01"), "tea@2020-01-01 and tea@2021-01-01 overlap"),
        (THREE_VERSIONS.replace("valid_until: 2020-12-31, ", ""), "overlap"),
        (
            THREE_VERSIONS.replace("2020-12-31", "2020-12-30"),
            "no version between tea@2020-01-01 and tea@2021",
        ),
    ],
)
def test_a_file_of_another_form_is_refused_naming_file_and_fault(text, complaint):
    with pytest.raises(InvalidRules) as caught:
        tea(text)
    assert str(caught.value).startswith("tea.yaml")
    assert complaint in str(caught.value)


def test_the_rule_files_of_the_services_can_be_read():
    day = date(2026, 3, 5)
    limit = in_force(load_rules(SERVICES / "volunteers/rules/day_limit.yaml", DayLimit.of), day)
    assert (limit.value.minutes, limit.value.attention_over) == (1440, 480)
    assert limit.value.clause == limit.clause
    undo = in_force(load_rules(SERVICES / "volunteers/rules/import_undo.yaml", UndoWindow.of), day)
    assert undo.value.hours == 72
    stars = in_force(load_rules(SERVICES / "awards/rules/stars.yaml", Thresholds.of), day)
    assert stars.value.minutes == (6000, 18000, 36000, 60000, 90000)
    assert "民函〔2012〕340号" in stars.value.clause


@pytest.mark.parametrize("name", ["volunteers/rules/day_limit.yaml", "volunteers/rules/import_undo.yaml"])
def test_service_of_the_first_volunteers_day_has_its_rules(name):
    rules = load_rules(SERVICES / name, lambda values, clause: values)
    assert in_force(rules, date(1963, 3, 5)).name == Path(name).stem
    with pytest.raises(NoRuleInForce):
        in_force(rules, date(1963, 3, 4))

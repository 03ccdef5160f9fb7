"""The dashboards as Grafana would load them: by its own types, in Chinese and English, red where an alert fires."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.support.documents import ROOT
from tools import dashboards
from tools.dashboards import build
from tools.dashboards.alerts import limits_of
from xinhuo.chassis import metrics
from xinhuo.cli.build import service_classes

NAMES = ("campaign-overview", "event-flow", "services", "rabbitmq-postgresql", "slo")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
UNITS = {value for value in vars(units).values() if isinstance(value, str)}


def loaded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / dashboards.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in loaded(name)["panels"] if panel["type"] != "row"]


def each_panel() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in NAMES:
        for panel in panels(name):
            yield f"{name}: {panel['title']}", panel


def alerts() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in (ROOT / "deploy/monitoring/alerts").glob("*.yaml"):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                found.setdefault(rule["alert"], []).append(rule["expr"])
    return found


def alerts_of(panel: dict[str, Any]) -> list[str]:
    return [link["url"].rpartition("/")[2].removesuffix(".md") for link in panel.get("links", [])]


def test_the_five_are_committed_as_they_are_made() -> None:
    made = dict(dashboards.files())
    assert set(made) == {f"{dashboards.FOLDER}/{name}.json" for name in NAMES}
    assert {path: (ROOT / path).read_text(encoding="utf-8") for path in made} == made


@pytest.mark.parametrize("name", NAMES)
def test_grafanas_own_types_read_them_and_write_the_same(name: str) -> None:
    register_default_plugins()
    given = loaded(name)
    assert json.loads(JSONEncoder().encode(Dashboard.from_json(given))) == given
    assert given["uid"] == f"xinhuo-{name}"
    assert given["schemaVersion"] >= 36
    assert CHINESE.search(given["title"])


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_numbers_of_their_own_and_lie_beside_each_other(name: str) -> None:
    every = loaded(name)["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    places = [panel["gridPos"] for panel in every]
    assert all(place.get("x", 0) + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one.get("x", 0) + one["w"] <= other.get("x", 0) or other.get("x", 0) + other["w"] <= one.get("x", 0)
            or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )  # fmt: skip
        assert apart, (one, other)


def test_each_panel_says_what_it_is_in_chinese_and_english_and_in_which_unit() -> None:
    for where, panel in each_panel():
        assert CHINESE.search(panel["title"]) or panel["title"].isupper(), where
        assert re.match(r"[A-Z][A-Za-z]+:? .*\.$", panel["description"]), where
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, where
        assert panel["targets"], where
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, where
    assert "percentunit" in UNITS
    assert "bananas" not in UNITS


@pytest.mark.parametrize("name", NAMES)
def test_one_chooses_where_and_of_which_service_and_each_choice_is_used(name: str) -> None:
    variables = {one["name"]: one for one in loaded(name)["templating"]["list"]}
    text = json.dumps(panels(name))
    assert variables.keys() - {"service"} == {"datasource", "namespace", "runbooks"}
    assert ("service" in variables) == ("$service" in text)
    for choice in variables.keys() & {"namespace", "service"}:
        assert (variables[choice]["multi"], variables[choice]["includeAll"]) == (True, True)
        assert variables[choice]["allValue"] == ".*", "without Kubernetes there is no such label"


def test_a_panel_turns_red_where_its_alert_fires() -> None:
    checked = 0
    for where, panel in each_panel():
        red = [step for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"] if step["color"] == "red"]
        linked = alerts_of(panel)
        if not linked or not red:
            continue
        text = " ".join(alerts()[linked[0]])
        (step,) = red
        value = step["value"]
        by_hand = {float(a) * float(b or 1) for a, b in re.findall(r"[<>]=? (\d+(?:\.\d+)?)(?: \* (\d+))?", text)}
        # "More than none" is one; shares of what there can be, and of a period, are whole when they are used up.
        assert value in by_hand or (value == 1 and (0.0 in by_hand or "== 0" in text or ">=" in text)) or (
            value == 2 and "2 * max by" in text
        ), (where, value, by_hand)  # fmt: skip
        checked += 1
    assert checked > 15


def test_every_metric_of_the_code_is_on_a_dashboard_or_in_a_rule() -> None:
    service_classes()  # their modules declare metrics of their own
    folder = ROOT / "deploy/monitoring"
    files = [*folder.glob("dashboards/*.json"), *folder.glob("rules/*.yaml"), *folder.glob("alerts/*.yaml")]
    used = set(re.findall(r"\bxinhuo_[a-z_]+", " ".join(path.read_text(encoding="utf-8") for path in files)))
    ends = ("", "_bucket", "_count", "_sum")
    names = {metric.name for metric in metrics.declared()}
    assert {name for name in names if not used & {name + end for end in ends}} == set(), "show it, or watch it"
    assert len(names) > 20


def test_every_alert_has_a_panel_that_leads_to_its_runbook_and_no_panel_leads_elsewhere() -> None:
    linked = {alert for _, panel in each_panel() for alert in alerts_of(panel)}
    assert linked == alerts().keys()
    for where, panel in each_panel():
        assert all(f"runbooks/{alert}.md" in panel["description"] for alert in alerts_of(panel)), where


def test_a_panel_cannot_name_an_alert_that_there_is_not() -> None:
    board = dashboards.ALL[0]
    panel = replace(board.rows[0].panels[0], alert="XinhuoMadeUp")
    with pytest.raises(KeyError, match="XinhuoMadeUp"):
        build.text_of(replace(board, rows=(replace(board.rows[0], panels=(panel,)),)), ())


@pytest.mark.parametrize(
    ("alert", "limits"),
    [
        ("XinhuoOutboxStalled", [60.0]),
        ("XinhuoBackupTooOld", [26 * 3600.0] * 2),
        ("XinhuoQueueGrowing", [1000.0, 0.0]),
        ("XinhuoErrorBudgetBurnFast", [14.4, 14.4, 10.0, 6.0, 6.0, 10.0]),
        ("XinhuoMigrationRevisionMismatch", []),
    ],
)
def test_the_limits_of_an_alert_are_read_from_its_expression(alert: str, limits: list[float]) -> None:
    assert limits_of(alert) == limits

"""Every figure of docs/sizing.md follows from the inputs on it, and these stand where it says they come from."""

import math
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.support.documents import ROOT
from tools import sizing
from xinhuo.chassis import topology
from xinhuo.chassis.config import SERVICES, Settings
from xinhuo.cli.build import full_topology
from xinhuo.contracts.volunteers import HoursLogged

PAGE = ROOT / "docs" / "sizing.md"
INPUTS = tomllib.loads(sizing.INPUTS.read_text(encoding="utf-8"))


def cells(text: str, head: str) -> list[list[str]]:
    """Return the rows of the table whose heading line begins so."""
    lines = text[text.index(f"| {head}") :].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in (lines[0], *lines[2:])]


def wrong(text: str) -> list[str]:
    """Compute each figure of a page anew from the inputs on it, by Python itself, and return those that differ."""
    inputs = {row[0].strip("`"): float(row[1]) for row in cells(text, "名称 name | 值")[1:]}
    heads, *rows = cells(text, "名称 name | 算式")
    found = []
    for column, head in enumerate(heads[3:], 3):
        values = inputs | {"volunteers": float(head.replace(",", ""))}
        for name, formula, _, *figures in rows:
            known = {**values, "ceil": math.ceil, "max": max}
            value = eval(formula.strip("`"), {"__builtins__": {}}, known)  # noqa: S307
            values[name.strip("`")] = value
            figure = figures[column - 3]
            digits = len(figure.partition(".")[2])
            if figure != f"{value:,.{digits}f}":
                found.append(f"{name} for {head}: {figure} is not {value:,.{digits}f}")
    return found


def test_every_figure_follows_from_the_inputs_by_the_formula_beside_it() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(cells(text, "名称 name | 算式")) > 15
    assert [case["volunteers"] for case in INPUTS["case"]][:2] == [10_000, 1_000_000]
    assert INPUTS["case"][-1]["volunteers"] == 200_000_000
    assert wrong(text) == []


@pytest.mark.parametrize(
    ("there", "planted"),
    [("| 120,000 |", "| 120,001 |"), ("| `records_each` | 12 |", "| `records_each` | 13 |")],
)
def test_a_figure_or_an_input_that_was_changed_by_hand_is_found(there: str, planted: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert there in text
    assert wrong(text.replace(there, planted)) != []


def given() -> list[tuple[str, dict[str, str]]]:
    return [(name, each) for group in ("assumed", "measured", "set") for name, each in INPUTS[group].items()]


@pytest.mark.parametrize(("name", "each"), [pair for pair in given() if "source" in pair[1]])
def test_an_input_stands_in_the_page_that_is_named_for_it(name: str, each: dict[str, str]) -> None:
    page = re.sub(r"\s+", " ", Path(ROOT / each["source"]).read_text(encoding="utf-8"))
    assert each["says"] in page, f"{name}: measure again, or read again, then change tools/sizing.toml"


def test_what_the_code_sets_is_what_the_page_counts_with() -> None:
    pool = next(each.default for each in Settings.__dataclass_fields__.values() if each.name == "db_pool")
    key = (topology.events_exchange("volunteers"), topology.routing_key(HoursLogged.topic))
    queues = sum(key in queue.bindings for queue in full_topology().queues)
    measured, fixed = INPUTS["measured"], INPUTS["set"]
    assert (fixed["pool"]["value"], fixed["services"]["value"]) == (pool, len(SERVICES))
    assert measured["queues"]["value"] == queues


def test_the_database_of_the_manifests_has_room_for_as_many_processes_as_autoscaling_may_start() -> None:
    components = ROOT / "deploy" / "components"
    objects = [
        each
        for file in ("hpa/apis.yaml", "keda/workers.yaml", "postgres-cnpg/cluster.yaml")
        for each in yaml.safe_load_all((components / file).read_text(encoding="utf-8"))
    ]
    specs = [each["spec"] for each in objects]
    most = [n for spec in specs for key in ("maxReplicas", "maxReplicaCount") if (n := spec.get(key)) is not None]
    assert most == [INPUTS["set"]["most"]["value"]] * INPUTS["set"]["scaled"]["value"]
    (cluster,) = (spec for spec in specs if "postgresql" in spec)
    room = int(cluster["postgresql"]["parameters"]["max_connections"])
    reserved = 3  # superuser_reserved_connections
    assert sizing.figures(INPUTS, 20_000_000)["connections_at_most"] <= room - reserved
    (row,) = (each for each in sizing.rows(INPUTS) if each.name == "connections_at_most")
    assert str(room) in row.text


def test_a_formula_is_computed_and_what_is_no_formula_refused() -> None:
    assert sizing.computed("max(a, ceil(b / 3)) - 7 // 2", {"a": 2, "b": 10}) == 1
    with pytest.raises(ValueError, match="no part of a formula"):
        sizing.computed("[a]", {"a": 2})

"""The page that follows one event is compared with the code: its drawing, its places, its tables."""

import ast
import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.documents import ROOT
from xinhuo.chassis.topology import Topology
from xinhuo.cli import build

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
EDGE = re.compile(r"^ *([a-z]+\.events) -- ([a-z_]+\.v\d+) --> ([a-z]+\.[a-z_]+)$", re.MULTILINE)
PLACE = re.compile(r"`((?:xinhuo|services)/[\w/]+\.py):([\w.]+)`")
CYLINDER = re.compile(r"\[\(([a-z]+)\.([a-z_]+)\)\]")
TABLE_ROW = re.compile(r"^\| `([a-z_]+)` \|", re.MULTILINE)


def drawn(page: str) -> set[tuple[str, str, str]]:
    return {(match[1], match[2], match[3]) for match in EDGE.finditer(page)}


def bound(topology: Topology) -> set[tuple[str, str, str]]:
    return {
        (exchange, key, queue.name)
        for queue in topology.queues
        for exchange, key in queue.bindings
        if exchange.endswith(".events") and exchange != "pub.events"
    }


def names_in(path: Path) -> set[str]:
    """Return what a module defines, methods by their qualified names."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
    return found


def missing_places(page: str) -> list[str]:
    places = PLACE.findall(page)
    assert len(places) > 20
    return [f"{path}:{name}" for path, name in places if name not in names_in(ROOT / path)]


def test_the_drawing_has_every_binding_of_the_topology_and_no_other() -> None:
    assert drawn(PAGE) == bound(build.full_topology())


def test_a_binding_left_out_or_made_up_is_found() -> None:
    edge = "awards.events -- star_earned.v1 --> notify.acknowledge_star"
    assert edge in PAGE
    assert drawn(PAGE.replace(edge, "")) != bound(build.full_topology())
    assert drawn(PAGE.replace(edge, edge.replace("star_earned", "star_sold"))) != bound(build.full_topology())


def test_every_place_that_the_page_names_is_in_the_source() -> None:
    assert missing_places(PAGE) == []
    planted = PAGE.replace("relay.py:Relay.publish_batch", "relay.py:Relay.publish_later", 1)
    assert missing_places(planted) == ["xinhuo/chassis/relay.py:Relay.publish_later"]


@pytest.mark.parametrize("planted", [False, True])
def test_every_table_of_the_page_is_in_a_migrated_database(database: str, planted: bool) -> None:
    page = PAGE.replace("(awards.stars)", "(awards.comets)") if planted else PAGE
    tables = {(schema, table) for schema, table in CYLINDER.findall(page)}
    tables |= {(service, table) for table in TABLE_ROW.findall(page) for service in ("notices", "notify")}
    assert len(tables) > 12
    engine = sa.create_engine(database)
    with engine.connect() as connection:
        there = {(row.schemaname, row.tablename) for row in connection.execute(sa.text("SELECT * FROM pg_tables"))}
    engine.dispose()
    assert tables - there == ({("awards", "comets")} if planted else set())

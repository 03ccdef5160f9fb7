"""``make bench-growth``: what the same work costs beside ten thousand, a million and ten million records of history.

At each size: records logged one a request, all sizes in turns; answers of statistics and pages at any depth; the
statistics rebuilt from zero; at a million every event replayed into empty awards; at the largest a soak, in which the
memory of each process is watched. Takes hours at ten million; ``--rows 10000,1000000`` leaves that out.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import requests
import sqlalchemy as sa
from rich.console import Console

from services.volunteers.commands.rebuild import rebuild_statistics
from tests.support.rabbit import RabbitNode
from tests.support.waiting import wait_for
from xinhuo.chassis.web.pages import cursor_of
from xinhuo.cli import build

from . import bulk, ours, report
from .records import Figures, numbers
from .servers import servers

ROWS = (10_000, 1_000_000, 10_000_000)
REPLAYED_AT = 1_000_000
SINGLE, ROUNDS, ANSWERS = 6000, 3, 20
SOAK_RATE = 50.0
_SIZES = sa.text(
    "SELECT schemaname || '.' || regexp_replace(relname, '_(rest|[0-9]{4}_[0-9]{2})$', ''),"
    " pg_total_relation_size(relid) FROM pg_stat_user_tables WHERE schemaname IN ('volunteers', 'awards', 'notify')"
)
_EMPTY_AWARDS = "TRUNCATE awards.tallies, awards.tally_entries, awards.stars, awards.inbox"


def main() -> int:
    """Measure at each size and print one JSON object, or a line for each."""
    parser = argparse.ArgumentParser(prog="make bench-growth ARGS=...", description=__doc__)
    parser.add_argument("--rows", default=",".join(map(str, ROWS)), help="sizes of the history")
    parser.add_argument("--soak-minutes", type=float, default=10.0, help="0 for none")
    options, say, noise = report.begin(parser)
    sizes = sorted(int(rows) for rows in options.rows.split(","))
    with tempfile.TemporaryDirectory(prefix="xinhuo-growth-") as name, servers(Path(name)) as (node, url):
        found = grow_and_measure(sizes, node, url, Path(name), options.soak_minutes, say)
    found |= {"machine": report.machine(), "noise": noise.told()}
    if options.json:
        print(json.dumps(found))
    return 0


def grow_and_measure(
    sizes: list[int], node: RabbitNode, url: str, folder: Path, soak_minutes: float, say: Console
) -> dict[str, Any]:
    """Make a system for each size; let them take turns, so that all are measured in the same hour; look at each."""
    systems: dict[int, ours.System] = {}
    found: dict[int, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        for rows in sizes:
            system = stack.enter_context(ours.System.of_its_own(node, url, folder, f"rows_{rows}"))
            systems[rows] = system
            before = _bytes(system)
            bulk.grow(system.engine, rows, system.event(), say.print)
            grown = {table: (size - before[table]) // rows for table, size in _bytes(system).items()}
            grown.pop("volunteers.volunteers")  # as many people, however many records
            found[rows] = {"bytes_per_record": {table: size for table, size in grown.items() if size}}
            system.stop()
        rounds: dict[int, list[Figures]] = {rows: [] for rows in sizes}
        for _ in range(ROUNDS):
            for rows, system in systems.items():
                with system.at_work():
                    rounds[rows].append(system.single(SINGLE))
                say.print(f"{rows:,} records of history: {rounds[rows][-1]}")
        for rows, system in systems.items():
            with system.at_work():
                found[rows] |= costs(rounds[rows], rounds[sizes[0]]) | looked_at(system)
                if rows == REPLAYED_AT:
                    found[rows] |= replay(system)
                say.print(f"{rows:,} records of history: {found[rows]}")
                if soak_minutes and rows == sizes[-1]:
                    found[rows]["soak"] = soak(system, soak_minutes)
                    say.print(f"soak: {found[rows]['soak']}")
    return {"sizes": found}


def costs(rounds: list[Figures], smallest: list[Figures]) -> dict[str, Any]:
    """Return what a record costs at a size, and by how much more than at the smallest, round by round."""
    dearer = [one.cpu_per_thousand / other.cpu_per_thousand for one, other in zip(rounds, smallest, strict=True)]
    return {
        "single_per_second": [round(one.per_second) for one in rounds],
        "cpu_s_per_1000": [round(one.cpu_per_thousand, 2) for one in rounds],
        "dearer_percent": round(100 * (statistics.median(dearer) - 1), 1),
    }


def looked_at(system: ours.System) -> dict[str, Any]:
    """Return how fast a system answers, and how fast its statistics are rebuilt."""
    db = build.database("volunteers", system.settings)
    rebuilt = rebuild_statistics(db)
    db.close()
    assert sum(rebuilt.differing.values()) == rebuilt.unlike_log == 0, rebuilt
    return {
        "statistics_ms": {
            by: answered(system, f"/v1/statistics?group_by={by}") for by in ("unit", "team", "category", "month")
        },
        "page_ms": pages(system),
        "rebuild_per_second": round(rebuilt.entries / rebuilt.seconds),
        "memory_mb": system.memory(),
    }


def _bytes(system: ours.System) -> dict[str, int]:
    """Return the size of each table with its indexes; of all partitions together."""
    with system.engine.connect() as connection:
        sizes: dict[str, int] = defaultdict(int)
        for table, size in connection.execute(_SIZES):
            sizes[table] += size
    return sizes


def answered(system: ours.System, path: str) -> float:
    """Return the median of the milliseconds that an answer takes."""
    took = []
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {system.bearer.token()}"
        for _ in range(ANSWERS):
            began = time.perf_counter()
            session.get(system.url + path, timeout=60).raise_for_status()
            took.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(took), 1)


def pages(system: ours.System) -> dict[str, float]:
    """Return the same for the first page of the ledger, for one in its middle and for its last."""
    with system.engine.connect() as connection:
        ids = connection.execute(
            sa.text(
                "SELECT percentile_disc(ARRAY[0.5, 0.0001]) WITHIN GROUP (ORDER BY id) FROM volunteers.ledger_entries"
            )
        ).scalar_one()
    found = {"first": answered(system, "/v1/hours")}
    for name, entry in zip(("middle", "last"), ids, strict=True):
        found[name] = answered(system, f"/v1/hours?after={cursor_of(entry)}")
    return found


def replay(system: ours.System) -> dict[str, Any]:
    """Send every event again to awards, whose tables are empty, and wait until the tallies are as before."""
    total = sa.text("SELECT coalesce(sum(minutes), 0) FROM awards.tallies")
    [before] = numbers(system.engine, total)
    with system.engine.begin() as connection:
        connection.execute(sa.text(_EMPTY_AWARDS))
    began = time.monotonic()
    events = system.command("events", "replay", "--service", "awards", "--since", "2025-12-31", "--json")["events"]
    wait_for(lambda: numbers(system.engine, total) == (before,), 3600, "the tallies to be as they were")
    seconds = time.monotonic() - began
    return {"replayed": events, "replay_seconds": round(seconds, 1), "replay_per_second": round(events / seconds)}


def soak(system: ours.System, minutes: float) -> dict[str, dict[str, float]]:
    """Log at a steady rate and return, for each process, its memory and by how much it grew in ten minutes, in MB."""
    seen: dict[str, list[float]] = {}
    at: list[float] = []
    over, began = threading.Event(), time.monotonic()

    def watch() -> None:
        while not over.wait(5.0):
            at.append((time.monotonic() - began) / 600)
            for name, megabytes in system.memory().items():
                seen.setdefault(name, []).append(megabytes)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        while time.monotonic() - began < minutes * 60:
            system.paced(int(SOAK_RATE * 60), SOAK_RATE)
    finally:
        over.set()
        watcher.join()
    # The first fifth is left out: caches fill.
    kept = len(at) // 5
    return {
        name: {
            "mb": round(statistics.median(values[kept:]), 1),
            "mb_in_ten_minutes": round(statistics.linear_regression(at[kept:], values[kept:]).slope, 2),
        }
        for name, values in seen.items()
    }


if __name__ == "__main__":
    sys.exit(main())

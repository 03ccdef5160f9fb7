"""``make bench-growth``: what the same work costs beside ten thousand, a million and ten million records of history.

At each size: records logged one a request, answers of statistics and pages at any depth, the statistics rebuilt from
zero; at a million every event replayed into empty awards; at last a soak, in which the memory of each process is
watched. Takes hours at ten million; ``--rows 10000,1000000`` leaves that out.
"""

import argparse
import json
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import requests
import sqlalchemy as sa
from rich.console import Console

from services.volunteers.commands.rebuild import rebuild_statistics
from tests.support.waiting import wait_for
from xinhuo.chassis.web.pages import cursor_of
from xinhuo.cli import build

from . import bulk, ours, report
from .records import numbers
from .servers import servers

VOLUNTEERS = 2000
ROWS = (10_000, 1_000_000, 10_000_000)
REPLAYED_AT = 1_000_000
SINGLE, ROUNDS, ANSWERS = 6000, 3, 20
SOAK_RATE = 50.0
_EMPTY_AWARDS = "TRUNCATE awards.tallies, awards.tally_entries, awards.stars, awards.inbox"


def main() -> int:
    """Measure at each size, print a table or one JSON object, and write the page after a run of all sizes."""
    parser = argparse.ArgumentParser(prog="make bench-growth ARGS=...", description=__doc__)
    parser.add_argument("--rows", default=",".join(map(str, ROWS)), help="sizes of the history, ascending")
    parser.add_argument("--soak-minutes", type=float, default=10.0, help="0 for none")
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    say = Console(file=sys.stderr if options.json else sys.stdout, highlight=False)
    noise = report.Noise()
    sizes = sorted(int(rows) for rows in options.rows.split(","))
    found: dict[str, Any] = {"sizes": {}}
    with (
        tempfile.TemporaryDirectory(prefix="xinhuo-growth-") as name,
        servers(Path(name)) as (node, url),
        ours.System(node.add_vhost("ours"), url, Path(name) / "ours", VOLUNTEERS) as system,
    ):
        have = 0
        for rows in sizes:
            bulk.grow(system.engine, have, rows, system.event(), lambda text: say.print(text))
            have = rows
            found["sizes"][str(rows)] = at = measure(system)
            if rows == REPLAYED_AT:
                at |= replay(system)
            say.print(f"{rows:,} records: {at}")
        if options.soak_minutes:
            found["soak"] = soak(system, options.soak_minutes)
            say.print(f"soak: {found['soak']}")
    rates = [at["single_per_second"] for at in found["sizes"].values()]
    found |= {"slower_percent": round(100 * (1 - min(rates) / rates[0]), 1), "machine": report.machine()}
    found["noise"] = noise.told()
    if options.json:
        print(json.dumps(found))
    return 0


def measure(system: ours.System) -> dict[str, Any]:
    """Return the figures of one size."""
    rounds = [system.single(SINGLE) for _ in range(ROUNDS)]
    db = build.database("volunteers", system.settings)
    rebuilt = rebuild_statistics(db)
    db.close()
    assert sum(rebuilt.differing.values()) == rebuilt.unlike_log == 0, rebuilt
    return {
        "single_per_second": round(statistics.median(one.per_second for one in rounds), 1),
        "cpu_s_per_1000": round(statistics.median(one.cpu_per_thousand for one in rounds), 3),
        "statistics_ms": {
            by: answered(system, f"/v1/statistics?group_by={by}") for by in ("unit", "team", "category", "month")
        },
        "page_ms": pages(system),
        "rebuild_per_second": round(rebuilt.entries / rebuilt.seconds),
        "memory_mb": system.memory(),
    }


def answered(system: ours.System, path: str) -> float:
    """Return the median of the milliseconds that an answer takes."""
    took = []
    with requests.Session() as session:
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

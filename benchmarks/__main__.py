"""``python -m benchmarks [--quick] [--json]``: the same job by Xinhuo and by plain nameko, interleaved in one run."""

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support.rabbit import RabbitNode
from xinhuo.cli.embedded import EmbeddedPostgres

from . import ours, plain
from .records import Figures, make_load

WORKER_SETTINGS = (10, 32, 64)
VOLUNTEERS = 400


def main() -> int:
    """Run the benchmark and print a table, or with --json one JSON object."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller loads, three rounds; under five minutes")
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped on the way out
    say = Console(file=sys.stderr if options.json else sys.stdout, highlight=False)
    rounds = 3 if options.quick else 5
    plain_records, our_records = (1000, 6000) if options.quick else (2000, 12000)
    with tempfile.TemporaryDirectory(prefix="xinhuo-bench-") as folder:
        node = RabbitNode(Path(folder) / "rabbit")
        node.start()
        postgres = EmbeddedPostgres(Path(folder) / "data", database="bench")
        try:
            url = postgres.start()
            best = _best_setting(node, url, plain_records // 2, say)
            ours_rates, plain_rates = [], []
            with ours.System(node.add_vhost("ours"), url, Path(folder) / "ours", VOLUNTEERS) as system:
                for number in range(rounds):
                    mine = system.run_round(our_records)
                    ours_rates.append(mine)
                    theirs = _plain_round(node, url, plain_records, best, f"plain-{number}")
                    plain_rates.append(theirs)
                    say.print(
                        f"round {number + 1}: Xinhuo {mine.per_second:.0f}/s, plain nameko {theirs.per_second:.0f}/s"
                    )
        finally:
            postgres.stop()
            node.stop()
    result = _result(ours_rates, plain_rates, best, our_records, plain_records)
    if options.json:
        print(json.dumps(result))
    else:
        _print(result, say)
    return 0


def _plain_round(node: RabbitNode, url: str, records: int, workers: int, vhost: str) -> Figures:
    """Measure the baseline on a vhost of its own, so that its queues start empty."""
    uri = node.add_vhost(vhost)
    try:
        return plain.run_round(uri, url, make_load(records, VOLUNTEERS), workers)
    finally:
        node.delete_vhost(vhost)


def _best_setting(node: RabbitNode, url: str, records: int, say: Console) -> int:
    """Return the number of workers with which the baseline is fastest."""
    rates = {}
    for workers in WORKER_SETTINGS:
        rates[workers] = _plain_round(node, url, records, workers, f"try-{workers}").per_second
        say.print(f"plain nameko with {workers} workers: {rates[workers]:.0f}/s")
    return max(rates, key=lambda workers: rates[workers])


def _result(
    mine: list[Figures], theirs: list[Figures], workers: int, our_records: int, plain_records: int
) -> dict[str, object]:
    def median(figures: list[Figures]) -> float:
        return statistics.median(figure.per_second for figure in figures)

    ratios = [a.per_second / b.per_second for a, b in zip(mine, theirs, strict=True)]
    return {
        "single_vs_plain": round(median(mine) / median(theirs), 2),
        "single_per_second": round(median(mine), 1),
        "plain_per_second": round(median(theirs), 1),
        "public_lag_seconds": round(statistics.median(figure.public_lag_seconds for figure in mine), 2),
        "rounds": len(mine),
        "ratio_min": round(min(ratios), 2),
        "ratio_max": round(max(ratios), 2),
        "single_rates": [round(figure.per_second, 1) for figure in mine],
        "plain_rates": [round(figure.per_second, 1) for figure in theirs],
        "plain_workers": workers,
        "records": {"xinhuo": our_records, "plain": plain_records},
        "connections": 64,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _print(result: dict[str, object], say: Console) -> None:
    table = Table(title="One record a POST, 64 connections; to the last durable effect, verified exactly")
    for heading in ("", "records/s (median)", "rounds"):
        table.add_column(heading)
    table.add_row("Xinhuo", str(result["single_per_second"]), str(result["single_rates"]))
    table.add_row("plain nameko", str(result["plain_per_second"]), str(result["plain_rates"]))
    say.print(table)
    say.print(f"ratio {result['single_vs_plain']} (rounds {result['ratio_min']}–{result['ratio_max']})")
    say.print(f"The last public copy followed {result['public_lag_seconds']} s after the last effect.")
    say.print("Both on one RabbitMQ and one PostgreSQL with fsync, on this machine. The baseline ran with", end=" ")
    say.print(f"{result['plain_workers']} workers, the best of {WORKER_SETTINGS}.")


if __name__ == "__main__":
    sys.exit(main())

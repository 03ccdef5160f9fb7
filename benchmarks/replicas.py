"""``make bench-replicas``: the same load on one, two and four workers of each service, and on two api processes."""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from . import ours, report
from .servers import servers

#: How many workers of each service, and how many api processes of the one that is asked.
SETTINGS = ((1, 1), (2, 1), (4, 1), (1, 2))


def main() -> int:
    """Measure each setting on a database and a virtual host of its own; print a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench-replicas ARGS=...", description=__doc__)
    parser.add_argument("--single", type=int, default=6000, help="records of a round, one a request")
    parser.add_argument("--batch", type=int, default=30_000, help="records of a round, 500 a request")
    parser.add_argument("--rounds", type=int, default=3)
    options, say, noise = report.begin(parser)
    found = []
    with tempfile.TemporaryDirectory(prefix="xinhuo-replicas-") as name, servers(Path(name)) as (node, url):
        for workers, apis in SETTINGS:
            own = f"replicas_{workers}_{apis}"
            with ours.System.of_its_own(node, url, Path(name), own, workers=workers, apis=apis) as system:
                found.append({"workers": workers, "apis": apis, **measure(system, options)})
            say.print(found[-1])
    if options.json:
        print(json.dumps({"settings": found, "machine": report.machine(), "noise": noise.told()}))
    else:
        show(found, say)
    return 0


def measure(system: ours.System, options: argparse.Namespace) -> dict[str, Any]:
    """Return the medians of the rounds."""
    single = [system.single(options.single) for _ in range(options.rounds)]
    batch = [system.batches(options.batch) for _ in range(options.rounds)]
    return {
        "single_per_second": round(statistics.median(one.per_second for one in single)),
        "cpu_s_per_1000_single": round(statistics.median(one.cpu_per_thousand for one in single), 2),
        "batch_per_second": round(statistics.median(one.per_second for one in batch)),
        "cpu_s_per_1000_batch": round(statistics.median(one.cpu_per_thousand for one in batch), 2),
        "public_per_second": round(statistics.median(one.public_per_second for one in batch)),
    }


def show(found: list[dict[str, Any]], say: Console) -> None:
    """Print the figures as a table."""
    table = Table("workers", "apis", "single/s", "CPU s a 1,000", "batch/s", "CPU s a 1,000", "public/s")
    for one in found:
        table.add_row(*(f"{value:,}" for value in one.values()))
    say.print(table)


if __name__ == "__main__":
    sys.exit(main())

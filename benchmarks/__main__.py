"""``make bench ARGS="[--quick] [--json] [--write]"``: one job by Xinhuo and by others, interleaved in one run."""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from tests.support.rabbit import RabbitNode

from . import limits, ours, report
from .baselines import FASTSTREAM, PLAIN, Rounds
from .disk import watched
from .records import Figures, Paced
from .servers import servers

RATE = 100.0


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    single: int
    baseline: int
    batch: int
    fan_out: int
    paced_seconds: int
    paced_rounds: int


QUICK = Size(rounds=3, single=6000, baseline=1000, batch=60_000, fan_out=20_000, paced_seconds=10, paced_rounds=3)
FULL = Size(rounds=5, single=12_000, baseline=2000, batch=60_000, fan_out=20_000, paced_seconds=60, paced_rounds=3)


@dataclass
class Measured:
    """The figures of all rounds, in their order."""

    single: list[Figures] = field(default_factory=list)
    plain: list[Figures] = field(default_factory=list)
    faststream: list[Figures] = field(default_factory=list)
    batch: list[Figures] = field(default_factory=list)
    paced: list[Paced] = field(default_factory=list)
    plain_paced: list[Paced] = field(default_factory=list)
    faststream_paced: list[Paced] = field(default_factory=list)
    fan_out: list[Figures] = field(default_factory=list)
    fan_out_limit: list[float] = field(default_factory=list)
    disk: list[float] = field(default_factory=list)
    """How many milliseconds the disk took for a page, while records came at a fixed rate."""
    publish_limit: float = 0.0
    commit_limit: float = 0.0
    row_limit: float = 0.0
    workers: dict[str, int] = field(default_factory=dict)


def main() -> int:
    """Measure, print a table or one JSON object, and with --write make docs/performance.md anew."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller loads, under ten minutes")
    parser.add_argument("--write", action="store_true", help=f"write {report.PAGE} even after a quick run")
    options, say, noise = report.begin(parser)
    size = QUICK if options.quick else FULL
    measured = measure(size, say)
    result = report.result(measured, noise, quick=options.quick, size=size)
    if options.json:
        print(json.dumps(result))
    else:
        report.show(result, say)
    if options.write or not options.quick:
        report.write(result)
    return 0


def measure(size: Size, say: Console) -> Measured:
    """Run all rounds on one broker and one database with fsync."""
    found = Measured()
    with tempfile.TemporaryDirectory(prefix="xinhuo-bench-") as name, servers(Path(name)) as (node, url):
        folder = Path(name)
        plain, faststream = (Rounds(each, node, url, ours.VOLUNTEERS) for each in (PLAIN, FASTSTREAM))
        for baseline in (plain, faststream):
            baseline.choose(size.baseline // 2)
            found.workers[baseline.baseline.name] = baseline.workers
            tried = ", ".join(f"{workers}: {rate:.0f}/s" for workers, rate in baseline.tried.items())
            say.print(f"{baseline.baseline.name} by its number of workers: {tried}")
        with ours.System(node.add_vhost("ours"), url, folder / "ours") as system:
            for number in range(size.rounds):
                found.single.append(system.single(size.single))
                found.batch.append(system.batches(size.batch))
                with system.at_rest():
                    found.plain.append(plain.single(size.baseline))
                    found.faststream.append(faststream.single(size.baseline))
                rates = (found.single, found.plain, found.faststream, found.batch)
                mine, theirs, others, batch = (each[-1].per_second for each in rates)
                say.print(
                    f"round {number + 1}: Xinhuo {mine:.0f}/s, plain nameko {theirs:.0f}/s, FastStream {others:.0f}/s;"
                    f" Xinhuo with 500 a request {batch:.0f}/s"
                )
            records = int(RATE * size.paced_seconds)
            for _ in range(size.paced_rounds):
                with watched(folder) as took:
                    found.paced.append(system.paced(records, RATE))
                    with system.at_rest():
                        found.plain_paced.append(plain.paced(records, RATE))
                        found.faststream_paced.append(faststream.paced(records, RATE))
                found.disk += took
                say.print(
                    f"at {RATE:.0f}/s: p99 Xinhuo {found.paced[-1].p99_ms:.0f} ms,"
                    f" plain nameko {found.plain_paced[-1].p99_ms:.0f} ms,"
                    f" FastStream {found.faststream_paced[-1].p99_ms:.0f} ms; the disk's longest {max(took):.0f} ms"
                )
            event = system.event()
        _fan_out(found, size, node, url, folder, event, say)
        found.publish_limit = limits.publishes_per_second(node, event)
        found.commit_limit = limits.commits_per_second(url, event)
        found.row_limit = limits.rows_per_second(url, event)
    return found


def _fan_out(found: Measured, size: Size, node: RabbitNode, url: str, folder: Path, event: bytes, say: Console) -> None:
    """Measure Xinhuo with one event a message, and beside it the broker with three consumers that do nothing.

    For both the clock runs from when everything to be sent lies ready, in the outbox here and in the memory there.
    """
    with ours.System.of_its_own(node, url, folder, "one_a_message", program="benchmarks.one_a_message") as system:
        for _ in range(size.rounds):
            found.fan_out.append(system.fan_out(size.fan_out))
            with system.at_rest():
                found.fan_out_limit.append(limits.fan_out_per_second(node, event, size.fan_out))
            say.print(
                f"fan-out to three, one event a message: {found.fan_out[-1].per_second:.0f}/s"
                f" of at most {found.fan_out_limit[-1]:.0f}/s"
            )


if __name__ == "__main__":
    sys.exit(main())

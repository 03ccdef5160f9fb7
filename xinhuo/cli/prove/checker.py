"""The judge: compares the record of the calls with the tables and with what HTTP answers.

It knows nothing of the product: no module of it is imported here, and whatever it needs of the rules, such as the
hours a star takes, it has of its own.
"""

import json
import re
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import effects, history
from .effects import Key, Tables

#: What must never stand in an answer: names of the inside, statements, places in the code.
_INSIDES = re.compile(
    r"Traceback|psycopg|sqlalchemy|File \"|\.py\b|SELECT |INSERT |UPDATE |0x[0-9a-f]{6,}", re.IGNORECASE
)
GROUPS = {
    "unit": "unit_code",
    "team": "team_code",
    "category": "category",
    "month": "month",
    "volunteer": "volunteer_id",
}
DESCRIPTIONS = {
    "I1": "每次成功的登记在台账里恰好一条 / every call that was answered well is in the ledger once",
    "I2": "台账与各维度统计、接口相等 / ledger = statistics in every grouping = the API",
    "I3": "每个事由的致谢恰好一条 / each acknowledgement exists once",
    "I4": "星级由台账得出，降级必有冲正 / stars follow from the ledger and fall only by a reversal",
    "I5": "没有滞留的事件，死信恰是投入的坏消息 / nothing is stuck; dead letters = the poison put in",
    "I12": "错误应答不露内部，都有代码和追踪号 / errors show no insides and have code and trace id",
}


@dataclass
class Verdict:
    """What the checker found."""

    written: int = 0
    reversals: int = 0
    unknown: int = 0
    counted: int = 0
    lost: int = 0
    twice: int = 0
    dead_letters: int = 0
    poison: int = 0
    effects: dict[str, dict[str, int]] = field(default_factory=dict)
    invariants: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Tell whether every invariant holds."""
        return all(invariant["ok"] for invariant in self.invariants.values())


def judge(
    database_url: str,
    record_path: Path,
    addresses: Mapping[str, str],
    queues: Mapping[str, int] | None = None,
    token: Callable[[], str] = lambda: "",
) -> Verdict:
    """Compare everything.

    ``addresses`` are the base URLs of volunteers, awards and notify; ``queues`` their depths; ``token`` is shown.
    """
    record = history.read(record_path)
    tables = effects.read(database_url)
    found = effects.compare(tables)
    verdict = Verdict(written=len(tables.rows), reversals=len(tables.reversals))
    problems: dict[str, list[str]] = {code: [] for code in DESCRIPTIONS}
    ledger = _ledger(record, tables, problems["I1"])
    verdict.unknown = sum(call.outcome == "unknown" for call in record.calls)
    verdict.effects = {one.name: {"lost": len(one.lost), "twice": len(one.twice)} for one in [ledger, *found]}
    verdict.lost = len({name for one in [ledger, *found] for name in one.lost})
    verdict.twice = len({name for one in [ledger, *found] for name in one.twice})
    statistics, tally, acknowledgement = found
    verdict.counted = sum(entries for _, entries in tables.cells.values()) + _reversals_counted(tables)
    problems["I2"] += [f"statistics lack {name}" for name in statistics.lost]
    problems["I2"] += [f"statistics have too much of {name}" for name in statistics.twice]
    problems["I2"] += effects.wrong_totals(tables)
    problems["I2"] += _wrong_answers(tables, addresses, token())
    problems["I3"] += [f"no acknowledgement of {name}" for name in acknowledgement.lost]
    problems["I3"] += [f"one acknowledgement too many of {name}" for name in acknowledgement.twice]
    problems["I3"] += _wrong_count(tables, addresses, token())
    problems["I4"] += [f"the tally lacks {name}" for name in tally.lost]
    problems["I4"] += [f"the tally has too much: {name}" for name in tally.twice]
    problems["I4"] += effects.wrong_stars(tables)
    problems["I5"] += _stuck(database_url, record, queues or {}, verdict)
    problems["I12"] += _wrong_refusals(record)
    verdict.invariants = {
        code: {"ok": not list_, "what": DESCRIPTIONS[code], "problems": len(list_), "first": sorted(list_)[:3]}
        for code, list_ in problems.items()
    }
    return verdict


def _ledger(record: history.Record, tables: Tables, problems: list[str]) -> effects.Effect:
    """Compare the calls with the ledger: ok once, unknown once or not at all, fail not at all."""
    effect = effects.Effect("ledger")
    present: defaultdict[Key, list[str]] = defaultdict(list)
    for row in tables.rows.values():
        present[row.key].append(row.id)
    asked: set[Key] = set()
    for call in record.calls:
        if call.kind == "reverse":
            _reversal(call, tables, effect, problems)
            continue
        ids = call.answer.get("ids") or [None] * len(call.slots)
        for (volunteer, start, _), entry in zip(call.slots, ids, strict=True):
            key = (volunteer, datetime.fromisoformat(start).astimezone(UTC))
            asked.add(key)
            have = present.get(key, [])
            if len(have) > 1:
                effect.twice.append(have[0])
                problems.append(f"call {call.number}: {len(have)} entries {have}")
            elif call.outcome == "ok" and (not have or (entry and have != [entry])):
                effect.lost.append(f"call {call.number}, {key}")
                problems.append(f"call {call.number} was answered with {entry}; the ledger has {have}")
            elif call.outcome == "fail" and have:
                effect.twice.append(have[0])
                problems.append(f"call {call.number} was refused ({call.answer.get('why')}); the ledger has {have}")
    for key in present.keys() - asked:
        effect.twice.append(present[key][0])
        problems.append(f"entry {present[key][0]} was asked for by nobody")
    return effect


def _reversal(call: history.Call, tables: Tables, effect: effects.Effect, problems: list[str]) -> None:
    entry = call.details["entry"]
    have = [reversal for reversal, of in tables.reversals.items() if of == entry]
    wanted = call.answer.get("ids")
    if len(have) > 1 or (call.outcome == "fail" and have):
        effect.twice.append(entry)
        problems.append(f"call {call.number}: reversals {have} of {entry} after {call.outcome}")
    elif call.outcome == "ok" and have != wanted:
        effect.lost.append(entry)
        problems.append(f"call {call.number} was answered with reversal {wanted}; the ledger has {have}")


def _reversals_counted(tables: Tables) -> int:
    """Return how many entries the statistics took off again."""
    return sum(
        1 for row in tables.rows.values() if row.reversal is not None and tables.cells.get(row.cell, (0, 1))[1] == 0
    )


def _stuck(url: str, record: history.Record, queues: Mapping[str, int], verdict: Verdict) -> list[str]:
    problems = [f"{count} in {place}" for place, count in effects.unfinished(url).items() if count]
    if strangers := effects.inbox_strangers(url):
        problems.append(f"{strangers} inbox rows of events that nobody recorded")
    problems += [f"{count} messages left in queue {name}" for name, count in queues.items() if count]
    letters = effects.dead_letters(url)
    verdict.dead_letters = len(letters)
    wanted = Counter({line["sha256"]: line["copies"] for line in record.poison})
    verdict.poison = wanted.total()
    have = Counter(letter["sha256"] for letter in letters)
    reasons = {letter["sha256"]: f"{letter['reason']} ({letter['handler']})" for letter in letters}
    problems += [f"poison {sha}: {count} of its dead letters missing" for sha, count in (wanted - have).items()]
    problems += [f"{count} dead letters that were no poison: {reasons[sha]}" for sha, count in (have - wanted).items()]
    return problems


# --- What HTTP answers ----------------------------------------------------------------------------------


def _get(address: str, token: str) -> Any:
    asked = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310  (http, of our own making)
        return json.load(answer)


def _wrong_answers(tables: Tables, addresses: Mapping[str, str], token: str) -> list[str]:
    """Compare the API's statistics, in every grouping, with sums over the ledger."""
    problems = []
    for group, name in GROUPS.items():
        wanted: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for row in tables.rows.values():
            volunteer, month, unit, team, category = row.cell
            key = {"unit": unit, "team": team, "category": category, "month": f"{month:%Y-%m}", "volunteer": volunteer}
            if row.reversal is None:
                wanted[key[group]][0] += row.minutes
                wanted[key[group]][1] += 1
        answered = {
            str(line[name])[: 7 if group == "month" else None]: line for line in _pages(addresses, group, token)
        }
        for value in wanted.keys() | answered.keys():
            line = answered.get(value, {"minutes": 0, "entries": 0})
            if [line["minutes"], line["entries"]] != wanted.get(value, [0, 0]):
                problems.append(f"GET statistics by {group}: {value} has {line}, the ledger {wanted.get(value)}")
    return problems


def _pages(addresses: Mapping[str, str], group: str, token: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        page = _get(f"{addresses['volunteers']}/v1/statistics?group_by={group}&limit=200{after}", token)
        found += page["items"]
        if page["after"] is None:
            return found
        after = f"&after={page['after']}"


def _wrong_count(tables: Tables, addresses: Mapping[str, str], token: str) -> list[str]:
    answered = _get(f"{addresses['notify']}/v1/acknowledgements/count", token)["total"]
    wanted = len(tables.rows) + len(tables.stars)
    return [] if answered == wanted else [f"GET acknowledgements/count says {answered}, not {wanted}"]


def _wrong_refusals(record: history.Record) -> list[str]:
    problems = []
    for line in record.refusals:
        where = f"call {line.get('n')}, status {line['status']}"
        try:
            answer = json.loads(line["body"])
        except ValueError:
            problems.append(f"{where}: no JSON but {line['type']}: {line['body'][:80]!r}")
            continue
        if not answer.get("code") or not answer.get("trace_id"):
            problems.append(f"{where}: without code or trace id")
        if line["status"] >= 500 and (found := _INSIDES.search(line["body"])):
            problems.append(f"{where}: shows {found[0]!r}")
    return problems

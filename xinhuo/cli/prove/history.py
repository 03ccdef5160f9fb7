"""The load generator's own record of what it asked for and what it was told: one JSON object a line.

A call is ``invoke`` and then one of ``ok``, ``fail`` (certainly not done) and ``unknown`` (perhaps done). A line
is written before the request leaves, so that the record is complete whatever happens next.
"""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: A slot is one piece of service time: volunteer, start, minutes. No two calls name the same one.
Slot = tuple[str, str, int]


class History:
    """Writes the record; may be used by several threads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self._next = 0

    def invoke(self, kind: str, slots: Sequence[Slot] = (), **more: Any) -> int:
        """Note that a call is about to be made; return its number."""
        with self._lock:
            self._next += 1
            self._write({"n": self._next, "e": "invoke", "kind": kind, "slots": list(slots), **more})
            return self._next

    def result(self, number: int, outcome: str, **more: Any) -> None:
        """Note how a call ended: ok, fail or unknown."""
        with self._lock:
            self._write({"n": number, "e": outcome, **more})

    def refusal(self, number: int, status: int, content_type: str, body: bytes) -> None:
        """Note an answer that was an error, as it came."""
        with self._lock:
            text = body[:4000].decode("utf-8", "replace")
            self._write({"n": number, "e": "refusal", "status": status, "type": content_type, "body": text})

    def poison(self, sha256: str, copies: int, kind: str) -> None:
        """Note a message that must become a dead letter, and in how many queues it lands."""
        with self._lock:
            self._write({"e": "poison", "sha256": sha256, "copies": copies, "kind": kind})

    def close(self) -> None:
        """Write what is left."""
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps({**line, "at": round(time.time(), 3)}, ensure_ascii=False) + "\n")


@dataclass
class Call:
    """One call as the record has it; without a result it is unknown."""

    number: int
    kind: str
    slots: list[Slot]
    details: dict[str, Any]
    outcome: str = "unknown"
    answer: dict[str, Any] = field(default_factory=dict)


@dataclass
class Record:
    """The whole record, read back."""

    calls: list[Call]
    refusals: list[dict[str, Any]]
    poison: list[dict[str, Any]]


def read(path: Path) -> Record:
    """Read a record; a last line that was cut off is left out."""
    calls: dict[int, Call] = {}
    record = Record([], [], [])
    for line in _lines(path):
        kind = line["e"]
        if kind == "invoke":
            slots = [(str(who), str(start), int(minutes)) for who, start, minutes in line["slots"]]
            calls[line["n"]] = Call(line["n"], line["kind"], slots, line)
        elif kind == "refusal":
            record.refusals.append(line)
        elif kind == "poison":
            record.poison.append(line)
        else:
            calls[line["n"]].outcome, calls[line["n"]].answer = kind, line
    record.calls = list(calls.values())
    return record


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line: dict[str, Any] = json.loads(text)
        except ValueError:
            continue
        yield line

"""The load: calls at a moderate rate, whatever the system does meanwhile, each one in the record.

Open loop: the next call does not wait for the last one to be answered, up to a number of calls in flight. What
is unknown is asked again with the same key, as a good client does, sometimes; sometimes it stays unknown.
"""

import asyncio
import json
import random
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from xinhuo.chassis.identity.bearer import Bearer

from . import calls
from .history import History, Slot

RATE = 40.0
IN_FLIGHT = 60
TRIES = 4
#: A workbook of many rows is checked while the client waits.
IMPORT_ANSWER_SECONDS = 60.0
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_OFFICE = timezone(timedelta(hours=8))
_FIRST_YEAR, _MONTHS = 2016, 120
#: As many minutes one person takes back alone (services/volunteers/rules/second_person.yaml).
_ONE_PERSON_REVERSES = 480


@dataclass(frozen=True)
class Person:
    """A registered volunteer; name, identity number and the activity's number are what a workbook says."""

    id: str
    name: str
    id_number: str
    activity_id: str
    activity_number: str


@dataclass(frozen=True)
class Scene:
    """Who serves where, and how rows become a workbook."""

    people: Sequence[Person]
    workbook: Callable[[Sequence[tuple[Person, datetime, datetime]]], bytes]


class Slots:
    """Hands out service time: one piece for each volunteer and month, so that the statistics show every one."""

    def __init__(self, people: int, chance: random.Random) -> None:
        self._people, self._chance = people, chance
        self._next = 0

    def take(self) -> tuple[int, datetime, datetime]:
        """Return the number of a volunteer, and start and end."""
        month, person = divmod(self._next, self._people)
        if month >= _MONTHS:
            raise RuntimeError("there is no more service time to hand out; use more people")
        self._next += 1
        start = datetime(_FIRST_YEAR + month // 12, month % 12 + 1, 1 + person % 28, 8, tzinfo=_OFFICE)
        return person, start, start + timedelta(minutes=self._chance.randrange(240, 721, 30))


class Load:
    """Makes the calls, in an event loop of its own thread."""

    def __init__(
        self, port: int, history: History, scene: Scene, seed: int, *,
        bearer: Bearer | None = None, rate: float = RATE, import_seconds: float = 90.0,
    ) -> None:  # fmt: skip
        self._bearer = bearer
        if bearer is not None:
            bearer.token()  # now, while nothing is broken yet
        self._port, self._history, self._scene, self._rate = port, history, scene, rate
        self._chance = random.Random(f"load {seed}")  # noqa: S311  (repeatable on purpose)
        self._import_seconds = import_seconds
        self._slots = Slots(len(scene.people), self._chance)
        self._entries: list[str] = []
        self._stop = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name="load", daemon=True)
        self._open: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Begin to call."""
        self._thread.start()

    def stop(self) -> None:
        """Make no new call, wait for those under way, and close the record. Raises what broke the load itself."""
        self._stop.set()
        self._thread.join(self._import_seconds + 30)
        if self._failure is not None:
            raise self._failure

    def quiesce(self) -> None:
        """Make no new call; those under way go on."""
        self._stop.set()

    def import_rows(self, count: int) -> None:
        """Import a workbook of so many rows, beside everything else."""
        self._loop.call_soon_threadsafe(lambda: self._begin(self._import(count)))

    # --- The loop -----------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            self._loop.run_until_complete(self._run())
        except BaseException as error:  # raised again by stop()
            self._failure = error
        finally:
            self._loop.close()

    async def _run(self) -> None:
        while not self._stop.is_set():
            if len(self._open) < IN_FLIGHT:
                self._begin(self._some_call())
            await asyncio.sleep(min(self._chance.expovariate(self._rate), 0.5))
        while self._open:
            await asyncio.gather(*self._open)

    def _begin(self, call: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(call)
        self._open.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._open.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self._stop.set()

    def _some_call(self) -> Coroutine[Any, Any, None]:
        dice = self._chance.random()
        if dice < 0.08 and self._entries:
            return self._reverse(self._entries.pop(self._chance.randrange(len(self._entries))))
        if dice < 0.12:
            return self._batch(self._chance.randint(2, 20))
        return self._single(keyed=dice < 0.56)

    # --- Calls --------------------------------------------------------------------------------------------

    async def _single(self, *, keyed: bool) -> None:
        slot, body = self._item()
        number = self._history.invoke("log", [slot], keyed=keyed)
        reply = await self._send(number, "/v1/hours", body, key=f"prove-{number}" if keyed else None)
        if reply is not None:
            self._entered(number, [reply.json()])

    async def _batch(self, count: int) -> None:
        items = [self._item() for _ in range(count)]
        number = self._history.invoke("log", [slot for slot, _ in items], keyed=True)
        body = {"items": [body for _, body in items]}
        reply = await self._send(number, "/v1/hours:batch", body, key=f"prove-{number}")
        if reply is not None:
            results = reply.json()["items"]
            refused = [result for result in results if result["status"] == "refused"]
            if refused:
                self._history.result(number, "unknown", why="items refused", first=refused[0])
                return
            self._entered(number, [result["entry"] for result in results])

    async def _reverse(self, entry_id: str) -> None:
        number = self._history.invoke("reverse", entry=entry_id)
        body = {"reason_code": "wrong_time"}
        reply = await self._send(number, f"/v1/hours/{entry_id}:reverse", body, key=f"prove-{number}")
        if reply is not None:
            self._history.result(number, "ok", ids=[reply.json()["id"]])

    async def _import(self, count: int) -> None:
        rows = []
        slots: list[Slot] = []
        for _ in range(count):
            index, start, end = self._slots.take()
            person = self._scene.people[index]
            rows.append((person, start, end))
            slots.append((person.id, start.isoformat(), int((end - start).total_seconds()) // 60))
        data = self._scene.workbook(rows)
        number = self._history.invoke("import", slots)
        until = self._loop.time() + self._import_seconds
        found = await self._until(
            number, until, "POST", "/v1/imports", data,
            {"Content-Type": XLSX, "Idempotency-Key": f"prove-{number}",
             "Content-Disposition": f'attachment; filename="prove-{number}.xlsx"'},
        )  # fmt: skip
        if found is None:
            return
        address = f"/v1/imports/{found['id']}"
        headers = {"Content-Type": "application/json"}
        found = await self._until(number, until, "POST", f"{address}:confirm", b'{"mode":"all"}', headers)
        while found is not None and found["state"] == "confirmed":
            await asyncio.sleep(0.3)
            found = await self._until(number, until, "GET", address, b"", {})
        if found is not None:
            state = found["state"]
            self._history.result(number, "ok" if state == "done" else "fail", state=state, id=found["id"])

    async def _until(
        self, number: int, until: float, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> dict[str, Any] | None:
        """Repeat a safe request until it is answered well; None, with the call unknown, when that never comes."""
        while self._loop.time() < until:
            try:
                shown = {**headers, **await self._who()}
                reply = await calls.request(self._port, method, path, body, shown, seconds=IMPORT_ANSWER_SECONDS)
            except (calls.NotSent, calls.NoAnswer):
                await asyncio.sleep(0.5)
                continue
            if reply.status < 300:
                found: dict[str, Any] = reply.json()
                return found
            self._history.refusal(number, reply.status, reply.content_type, reply.body)
            if reply.status < 500 and reply.status != 409:
                break
            await asyncio.sleep(0.5)
        self._history.result(number, "unknown", why="import gave up")
        return None

    async def _who(self) -> dict[str, str]:
        """Return the header with the token."""
        if self._bearer is None:
            return {}
        return {"Authorization": f"Bearer {await asyncio.to_thread(self._bearer.token)}"}

    def _entered(self, number: int, entries: list[dict[str, Any]]) -> None:
        self._history.result(number, "ok", ids=[entry["id"] for entry in entries])
        self._entries += [entry["id"] for entry in entries if entry["minutes"] <= _ONE_PERSON_REVERSES]

    def _item(self) -> tuple[Slot, dict[str, Any]]:
        index, start, end = self._slots.take()
        person = self._scene.people[index]
        body = {
            "volunteer_id": person.id,
            "activity_id": person.activity_id,
            "started_at": start.isoformat(),
            "ended_at": end.isoformat(),
        }
        return (person.id, start.isoformat(), int((end - start).total_seconds()) // 60), body

    async def _send(self, number: int, path: str, body: Any, *, key: str | None) -> calls.Reply | None:
        """POST until the outcome is known or patience ends; the answer when it was done, else the record says what."""
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
        doubt = ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(0.4 * attempt)
            try:
                reply = await calls.request(self._port, "POST", path, data, {**headers, **await self._who()})
            except calls.NotSent as error:
                if not doubt and attempt == TRIES - 1:
                    self._history.result(number, "fail", why=f"not sent: {error}")
                    return None
                continue
            except calls.NoAnswer as error:
                doubt = str(error)
                if self._chance.random() < 0.3:
                    break  # a client that walks away
                continue
            if reply.status < 300:
                return reply
            self._history.refusal(number, reply.status, reply.content_type, reply.body)
            if reply.status == 409 and _code_of(reply) == "idempotency.in_flight":
                continue
            if reply.status < 500:
                self._history.result(number, "unknown" if doubt else "fail", why=_code_of(reply))
                return None
            if not _certainly_not_done(reply):
                doubt = f"status {reply.status}"
            elif not doubt and self._chance.random() < 0.3:
                # The system promises that nothing was changed; that promise is checked too.
                self._history.result(number, "fail", why=f"status {reply.status}")
                return None
        self._history.result(number, "unknown" if doubt else "fail", why=doubt or "never accepted")
        return None


def _code_of(reply: calls.Reply) -> str:
    try:
        return str(reply.json()["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def _certainly_not_done(reply: calls.Reply) -> bool:
    try:
        return "nothing was changed" in str(reply.json().get("detail_en"))
    except (ValueError, AttributeError):
        return False

"""Requests that arrive together share one transaction: the first one leads, the others ride along."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

#: How long a batch waits for more, for each item of the one before, and at most. Two half batches that take turns,
#: each answered while the other works, so become one whole, at half the statements.
GATHER_SECONDS, GATHER_MOST_SECONDS = 0.0002, 0.02
#: After a batch of a few, none begins sooner; a request that comes later than that waits for nobody. What is entered
#: together is published, counted and acknowledged together, so that this one wait saves statements everywhere.
FEW, STEADY_SECONDS = 10, 0.02
#: When so many wait, a batch begins beside the one at work: it computes while the other waits for the database.
MANY, AT_ONCE = 24, 2


class _Rider:
    __slots__ = ("asleep", "item", "leads", "result")

    def __init__(self, item: Any) -> None:
        self.item = item
        self.leads = False
        self.result: Any = None
        self.asleep = threading.Lock()  # held until there is something to do; a third of the cost of an Event
        self.asleep.acquire()


class Coalescer:
    """Runs ``work(list of items) -> list of results`` for items submitted at the same time by many threads.

    While one batch is being worked on, further items wait and form the next batch, and that one lets a few
    milliseconds pass for others to join. A result that is an exception is raised to its submitter; an error of the
    whole batch is raised to all.
    """

    def __init__(self, work: Callable[[list[Any]], list[Any]], *, largest: int = 200) -> None:
        self._work = work
        self._largest = largest
        self._lock = threading.Lock()
        self._waiting: deque[_Rider] = deque()
        self._gathering = False
        """Whether a batch has a leader that has not taken it yet; that leader is the first who waits."""
        self._at_work = 0
        self._last, self._ended = 0, 0.0

    def submit(self, item: Any) -> Any:
        """Hand in one item and return its result when its batch is done."""
        rider = _Rider(item)
        with self._lock:
            self._waiting.append(rider)
            self._appoint()
        try:
            rider.asleep.acquire()
            if rider.leads:
                self._gather()
        except BaseException:
            self._leave(rider)
            raise
        if rider.leads:
            self._lead()
        if isinstance(rider.result, BaseException):
            raise rider.result
        return rider.result

    def _appoint(self) -> None:
        """Let the first who waits lead the next batch, if one may begin; with the lock held."""
        if self._gathering or not self._waiting:
            return
        if self._at_work == 0 or (self._at_work < AT_ONCE and len(self._waiting) >= MANY):
            self._gathering = self._waiting[0].leads = True
            self._waiting[0].asleep.release()

    def _leave(self, rider: _Rider) -> None:
        """Go without waiting for anything, as who is ended does; another one leads then."""
        with self._lock:
            if rider in self._waiting:
                self._waiting.remove(rider)
                self._gathering = self._gathering and not rider.leads
                self._appoint()

    def _gather(self) -> None:
        gather = STEADY_SECONDS if self._last < FEW else min(self._last * GATHER_SECONDS, GATHER_MOST_SECONDS)
        if (early := self._ended + gather - time.monotonic()) > 0:
            time.sleep(early)

    def _lead(self) -> None:
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(self._largest, len(self._waiting)))]
            self._last = len(batch)
            self._gathering = False
            self._at_work += 1
            self._appoint()
        try:
            results = self._work([rider.item for rider in batch])
            if len(results) != len(batch):  # else some would wait for ever
                raise RuntimeError(f"{len(batch)} items came back as {len(results)} results")
        except BaseException as error:  # handed to every rider, and raised again by each submit
            results = [error] * len(batch)
        finally:
            with self._lock:
                self._ended = time.monotonic()
                self._at_work -= 1
                self._appoint()
        for rider, result in zip(batch, results, strict=True):
            rider.result = result
        for rider in batch[1:]:  # the first is the leader
            rider.asleep.release()

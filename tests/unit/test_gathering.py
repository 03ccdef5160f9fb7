"""Who waits for others, and how long: nobody who comes alone, and never longer than what it saves is worth."""

import threading
import time
from types import SimpleNamespace

import pytest

from xinhuo.chassis import relay
from xinhuo.chassis.adapters import amqp
from xinhuo.chassis.adapters.amqp import BatchConsumer
from xinhuo.chassis.web import coalesce
from xinhuo.chassis.web.coalesce import Coalescer
from xinhuo.chassis.wire import Incoming


@pytest.fixture
def slept(monkeypatch):
    """The waits of a coalescer, none of which takes place."""
    found = []
    monkeypatch.setattr(coalesce.time, "sleep", found.append)
    return found


def test_a_request_that_comes_alone_waits_for_nobody(slept):
    assert Coalescer(lambda items: items).submit("a") == "a"
    assert slept == []


@pytest.mark.parametrize("before", [1, coalesce.FEW - 1])
def test_after_a_batch_of_a_few_the_next_one_lets_others_join(slept, before):
    together = Coalescer(lambda items: items)
    together.submit("a")
    together._last = before
    together.submit("b")

    [seconds] = slept
    assert 0 < seconds <= coalesce.STEADY_SECONDS


def test_after_a_large_batch_the_next_one_waits_by_its_size_but_not_for_long(slept):
    together = Coalescer(lambda items: items)
    together.submit("a")
    for size, longest in ((coalesce.FEW, 0.002), (50, 0.01), (1000, coalesce.GATHER_MOST_SECONDS)):
        together._last = size
        together._ended = time.monotonic()
        together.submit("b")
        assert 0 < slept[-1] <= longest


@pytest.mark.parametrize("who", ["the leader while it lets others join", "one who rides along"])
def test_who_is_ended_while_waiting_leaves_nobody_behind(monkeypatch, who):
    class Ended(BaseException):
        """As eventlet's greenlets are."""

    together = Coalescer(lambda items: items)
    together.submit("a")
    if who.startswith("the leader"):
        monkeypatch.setattr(coalesce.time, "sleep", lambda _seconds: (_ for _ in ()).throw(Ended()))
        with pytest.raises(Ended):
            together.submit("b")
        monkeypatch.undo()
    else:
        rider = coalesce._Rider("b")
        together._waiting.append(rider)
        together._leave(rider)

    assert together.submit("c") == "c"


def consumer(gather=0.0):
    return BatchConsumer("amqp://", "q", lambda messages: [], prefetch_max=10, window=0.001, gather=gather)


def test_a_message_after_a_quiet_time_waits_for_no_others():
    assert consumer()._patience() == 0.001
    assert consumer(gather=0.25)._patience() == 0.001


@pytest.mark.parametrize(
    ("gather", "last", "seconds"),
    [(0.0, 0, 0.001), (0.0, 1, 0.001), (0.0, 30, 0.03), (0.0, 5000, amqp._MOST), (0.25, 1, 0.25), (0.25, 5000, 0.25)],
)
def test_while_messages_keep_coming_a_batch_waits_by_the_size_of_the_last_or_as_long_as_its_handler_lets_it(
    gather, last, seconds
):
    one = consumer(gather)
    one._settled, one._last = time.monotonic(), last

    assert one._patience() == pytest.approx(seconds)


def test_what_is_left_after_a_full_batch_does_not_wait_as_long_as_its_handler_lets_it():
    one = consumer(gather=0.25)
    one._settled, one._last, one._was_full = time.monotonic(), 8, True

    assert one._patience() == pytest.approx(0.008)


@pytest.mark.parametrize(("messages", "size", "full"), [(9, 9, False), (10, 10, True), (1, amqp._ENOUGH, True)])
def test_a_batch_is_full_when_it_holds_all_that_is_fetched_ahead_or_enough_bytes(messages, size, full):
    one = BatchConsumer("amqp://", "q", lambda taken: [None] * len(taken), prefetch_max=10, window=0.001)
    one._prefetch = 10
    one._buffer, one._bytes = [Incoming(b"", None, None, None, None, None, tag=n) for n in range(messages)], size
    acknowledged = []

    one._settle(None, SimpleNamespace(basic_ack=lambda tag, multiple: acknowledged.append(tag)), threading.Event())

    assert (one._was_full, acknowledged) == (full, [messages - 1])


@pytest.mark.parametrize(
    ("arriving", "looks", "held", "left"),
    [
        ([1, 3, 2, 5], 4, 10, 2),  # full: and no more is taken than fits
        ([2, 0, 5], 2, 3, 0),  # no more are coming
    ],
)
def test_a_batch_that_gathers_is_looked_at_now_and_then_until_it_is_full_or_no_more_are_coming(
    monkeypatch, arriving, looks, held, left
):
    one = consumer(gather=0.25)
    one._prefetch = 10
    one._settled, one._buffer = time.monotonic(), [None]
    slept, waiting = [], 0

    def sleep(seconds):
        nonlocal waiting
        waiting += arriving[len(slept)]
        slept.append(seconds)

    def drain(_connection, _timeout):
        nonlocal waiting
        if not waiting:
            return False
        waiting -= 1
        one._buffer.append(None)
        return True

    monkeypatch.setattr(amqp.time, "sleep", sleep)
    monkeypatch.setattr(amqp, "_drain", drain)
    monkeypatch.setattr(amqp, "_line", lambda _connection: SimpleNamespace(heartbeat_tick=lambda: None))

    one._fill(None)

    assert (slept, len(one._buffer), waiting) == ([amqp._LOOK] * looks, held, left)


@pytest.mark.parametrize("taken", [0, 1, 999])
def test_copies_for_departments_go_out_a_few_times_a_second(taken):
    assert relay.gather_seconds(taken, "public") == relay.PUBLIC_SECONDS

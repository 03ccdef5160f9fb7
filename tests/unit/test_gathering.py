"""Who waits for others, and how long: nobody who comes alone, and never longer than what it saves is worth."""

import time

import pytest

from xinhuo.chassis import relay
from xinhuo.chassis.adapters import amqp
from xinhuo.chassis.adapters.amqp import BatchConsumer
from xinhuo.chassis.web import coalesce
from xinhuo.chassis.web.coalesce import Coalescer


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


@pytest.mark.parametrize("taken", [0, 1, 999])
def test_copies_for_departments_go_out_a_few_times_a_second(taken):
    assert relay.gather_seconds(taken, "public") == relay.PUBLIC_SECONDS

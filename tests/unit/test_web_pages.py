"""Cursors come back as they were given or are refused; requests that ride together each get their own answer."""

import base64
import json
import threading
from datetime import date
from uuid import UUID

import pytest

from tests.support.waiting import wait_for
from xinhuo.chassis.web.coalesce import AT_ONCE, MANY, Coalescer
from xinhuo.chassis.web.pages import CursorInvalid, cursor_of, next_link, page_of, read_cursor, row_number

ID = UUID("0195630c-a000-7abc-8def-0123456789ab")


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ((ID,), (UUID,)),
        ((date(2026, 3, 5), ID), (date.fromisoformat, UUID)),
        (("甲 乙\u3000𠮷", 7), (str, int)),
        ((), ()),
    ],
)
def test_a_cursor_gives_back_the_key_it_was_made_of(key, parts):
    cursor = cursor_of(*key)
    assert cursor.isascii()
    assert "=" not in cursor
    assert read_cursor(cursor, *parts) == key


def test_no_cursor_is_the_first_page():
    assert read_cursor(None, UUID) is None


def cursor_with(value):
    return base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "!!!!",
        "ümlaut",
        "\x00",
        cursor_with(b"\xff\xfe"),
        cursor_with(b"{"),
        cursor_with(b"[" * 300),
        cursor_with({}),
        cursor_with(None),
        cursor_with([]),
        cursor_with([str(ID)]),
        cursor_with(["甲", str(ID), "more"]),
        cursor_with(["甲", "no uuid"]),
        cursor_with(["甲", 7]),
        cursor_with([7, str(ID)]),
        cursor_with([None, str(ID)]),
        cursor_with([["甲"], str(ID)]),
        cursor_with(["a\x00b", str(ID)]),
        cursor_with(["\ud800", str(ID)]),
        cursor_of("甲", ID)[:-3],
    ],
)
def test_a_cursor_that_no_page_gave_is_refused(cursor):
    with pytest.raises(CursorInvalid) as caught:
        read_cursor(cursor, str, UUID)
    assert (caught.value.status, caught.value.pointer) == (400, "/after")
    assert cursor not in str(caught.value) or not cursor


@pytest.mark.parametrize(
    ("rows", "limit", "items", "last"), [([], 2, [], None), ([1, 2], 2, [1, 2], None), ([1, 2, 3], 2, [1, 2], 2)]
)
def test_a_page_has_a_cursor_only_when_there_are_more_rows(rows, limit, items, last):
    page = page_of(rows, limit, lambda row: (row,))
    assert list(page.items) == items
    assert read_cursor(page.after, int) == (None if last is None else (last,))


def test_the_next_link_carries_the_filters_escaped_and_replaces_the_cursor():
    link = next_link("/v1/units", {"kind": ["a&b", "镇"], "after": ["old"]}, "new")
    assert link == '</v1/units?kind=a%26b&kind=%E9%95%87&after=new>; rel="next"'


class Work:
    """Work of a coalescer that waits until it is let go and remembers its batches."""

    def __init__(self, answer=lambda items: items):
        self.batches = []
        self.go = threading.Event()
        self.answer = answer

    def __call__(self, items):
        self.batches.append(items)
        assert self.go.wait(10)
        return self.answer(items)


def submit_all(coalescer, work, items):
    """Submit the first item, the others while it is being worked on, and return what came of each."""
    outcomes = {}

    def submit(item):
        try:
            outcomes[item] = coalescer.submit(item)
        except BaseException as error:
            outcomes[item] = error

    threads = [threading.Thread(target=submit, args=(item,), daemon=True) for item in items]
    threads[0].start()
    wait_for(lambda: work.batches)
    for thread in threads[1:]:
        thread.start()
    wait_for(lambda: len(coalescer._waiting) == len(items) - 1)
    work.go.set()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    return outcomes


def test_what_arrives_during_one_batch_makes_the_next():
    work = Work(lambda items: [item * 10 for item in items])
    outcomes = submit_all(Coalescer(work), work, [1, 2, 3, 4])
    assert outcomes == {1: 10, 2: 20, 3: 30, 4: 40}
    assert [sorted(batch) for batch in work.batches] == [[1], [2, 3, 4]]


def test_a_batch_is_never_larger_than_allowed():
    work = Work()
    coalescer = Coalescer(work, largest=2)
    assert submit_all(coalescer, work, [1, 2, 3, 4, 5, 6]) == {item: item for item in range(1, 7)}
    assert [len(batch) for batch in work.batches] == [1, 2, 2, 1]


def test_when_many_wait_one_batch_begins_beside_the_one_at_work_and_no_third():
    work = Work()
    coalescer = Coalescer(work)
    outcomes = {}

    def submit(item):
        outcomes[item] = coalescer.submit(item)

    crowd = range(3 * MANY)
    threads = [threading.Thread(target=submit, args=(item,), daemon=True) for item in crowd]
    threads[0].start()
    wait_for(lambda: work.batches)
    for thread in threads[1:]:
        thread.start()
    wait_for(lambda: len(work.batches) == AT_ONCE)
    wait_for(lambda: sum(map(len, work.batches)) + len(coalescer._waiting) == len(crowd))
    assert len(work.batches[1]) >= MANY
    assert len(work.batches) == AT_ONCE, "whoever else waits, waits for one of the two to end"
    work.go.set()
    for thread in threads:
        thread.join(10)
    assert outcomes == {item: item for item in crowd}


def test_an_exception_among_the_results_is_raised_to_its_own_submitter_only():
    odd = ValueError("three")
    work = Work(lambda items: [odd if item == 3 else item for item in items])
    assert submit_all(Coalescer(work), work, [1, 2, 3, 4]) == {1: 1, 2: 2, 3: odd, 4: 4}


def test_an_error_of_the_whole_batch_is_raised_to_all_in_it_and_to_nobody_else():
    def answer(items):
        if 2 in items:
            raise OSError("gone")
        return items

    work = Work(answer)
    coalescer = Coalescer(work)
    outcomes = submit_all(coalescer, work, [1, 2, 3])
    assert outcomes[1] == 1
    assert all(isinstance(outcomes[item], OSError) for item in (2, 3))
    assert coalescer.submit(4) == 4, "the next one is served as if nothing had happened"


@pytest.mark.parametrize("answer", [lambda items: items[:1], lambda items: [*items, 0], lambda items: []])
def test_work_that_loses_or_adds_results_leaves_nobody_waiting(answer):
    work = Work(lambda items: items if items == [1] else answer(items))
    outcomes = submit_all(Coalescer(work), work, [1, 2, 3])
    assert outcomes[1] == 1
    assert all(isinstance(outcomes[item], RuntimeError) for item in (2, 3))


def test_one_after_the_other_each_is_a_batch_of_its_own():
    batches = []

    def work(items):
        batches.append(list(items))
        return items

    coalescer = Coalescer(work)
    assert [coalescer.submit(item) for item in (1, 2)] == [1, 2]
    assert batches == [[1], [2]]


@pytest.mark.parametrize("number", ["-1", str(2**63), "9" * 30, "x", ""])
def test_a_number_of_a_row_that_no_column_holds_is_refused(number):
    assert read_cursor(cursor_of(2**63 - 1), row_number) == (2**63 - 1,)
    with pytest.raises(CursorInvalid):
        read_cursor(cursor_of(number), row_number)

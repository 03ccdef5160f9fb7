"""The desk for dead letters: what is retried takes effect once, what is dropped never, and both are on record."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.integration.chassis.services import (
    Desk,
    NeverRight,
    categories,
    deliveries,
    event,
    execute,
    fetch,
    large_event,
    note_all,
    topics,
    words,
)
from tests.support.services import delivery_of
from tests.support.threads import together
from tests.support.waiting import wait_for
from xinhuo.chassis import ladder, outbox, parked
from xinhuo.chassis.db import Database
from xinhuo.chassis.desk import choice, decisions, lists
from xinhuo.chassis.desk.choice import Chosen, DeadLetterNotFound, DeadLetterSettled
from xinhuo.chassis.desk.decisions import Decision, Item
from xinhuo.chassis.errors import RetryEventLater
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.ladder import Delivery
from xinhuo.contracts import codec
from xinhuo.contracts.codec import Envelope

HANDLER = "volunteers.count"
TOPICS = decisions.topics_of(Desk)
WHO = Decision("ops-1", "the cause is mended")
ALL = Chosen(handler=HANDLER)


def never(_session: Session, _envelopes: list[Envelope]) -> None:
    raise NeverRight("no")


def bury(db: Database, *names: str) -> list[Delivery]:
    """Let events die, each a moment after the one before."""
    batch = deliveries(*names)
    for delivery in batch:
        ladder.take(db, HANDLER, never, [delivery])
    return batch


def letter_ids(db: Database, state: str = "waiting") -> list[UUID]:
    return [row.id for row in fetch(db, "SELECT id FROM dead_letters WHERE state = :s ORDER BY died_at, id", s=state)]


def retry(db: Database, chosen: Chosen = ALL, **options: Any) -> list[Item]:
    with db.transaction() as session:
        return decisions.retry(session, TOPICS, chosen, WHO, **options)


def drop(db: Database, chosen: Chosen = ALL, **options: Any) -> list[Item]:
    with db.transaction() as session:
        return decisions.drop(session, chosen, WHO, **options)


def rehearse(db: Database, handle: ladder.Handle = note_all, chosen: Chosen = ALL) -> list[tuple[str, str | None]]:
    with db.transaction() as session:
        items = decisions.rehearse(session, {HANDLER: handle}, TOPICS, chosen)
    return [(item.outcome, item.code) for item in items]


def shown(db: Database, letter: UUID) -> dict[str, Any]:
    with db.transaction() as session:
        return lists.letter(session, letter)


def outcomes(items: list[Item]) -> list[str]:
    return [item.outcome for item in items]


def work(db: Database, handle: ladder.Handle = note_all, seconds: float = 0) -> int:
    """Do as the worker does when so many seconds have passed."""
    execute(db, "UPDATE parked_events SET next_attempt_at = next_attempt_at - make_interval(secs => :s)", s=seconds)
    return parked.retry_parked(db, {HANDLER: handle})


def contents(db: Database) -> list[list[Any]]:
    """Return everything that an effect, or the desk, could change."""
    tables = ("notes", "outbox", "inbox", "parked_events", "dead_letters", "dead_letter_actions")
    return [fetch(db, f"SELECT * FROM {table} ORDER BY 1") for table in tables]  # noqa: S608


def test_a_retried_event_keeps_id_body_and_handler_and_takes_effect_once(db: Database) -> None:
    (delivery,) = bury(db, "a")
    (item,) = retry(db)
    assert (item.outcome, item.event_id, item.handler) == ("queued", delivery.envelope.id, HANDLER)
    (row,) = fetch(db, "SELECT event_id, handler, body, attempts, retry_of FROM parked_events")
    assert (row.event_id, row.handler, bytes(row.body), row.attempts, row.retry_of) == (
        delivery.envelope.id, HANDLER, delivery.body, 0, item.id,
    )  # fmt: skip
    assert work(db) == 1
    ladder.take(db, HANDLER, note_all, [delivery])
    assert words(db) == ["a"], "a late copy is a duplicate"
    assert letter_ids(db, "retried") == [item.id]
    letter = shown(db, item.id)
    assert letter["handled_at"] is not None
    assert letter["next_attempt_at"] is None
    assert [(a["action"], a["outcome"], a["by"], a["why"]) for a in letter["actions"]] == [
        ("retry", "queued", WHO.by, WHO.why)
    ]


def test_what_dies_again_is_a_new_letter_that_names_the_first_and_can_be_retried_again(db: Database) -> None:
    bury(db, "a")
    (first,) = retry(db)
    work(db, never)
    (second,) = letter_ids(db)
    letter = shown(db, second)
    assert (letter["retry_of"], letter["attempts"], letter["reason"]) == (first.id, 1, "chassis_test.never_right")
    assert [(other["id"], other["state"]) for other in letter["others"]] == [(first.id, "retried")]
    assert outcomes(retry(db)) == ["queued"]
    work(db)
    assert words(db) == ["a"]
    assert [shown(db, one)["handled_at"] is not None for one in (first.id, second)] == [True, True]


def test_a_retried_event_climbs_the_whole_ladder_again(db: Database) -> None:
    def fails(_session: Session, _envelopes: list[Envelope]) -> None:
        raise ValueError("no")

    bury(db, "a")
    retry(db)
    for seconds in (0, 10, 60, 600):
        assert work(db, fails, seconds) == 1
    (row,) = fetch(db, "SELECT reason, attempts FROM dead_letters WHERE state = 'waiting'")
    assert tuple(row) == ("handler.failed", 4)


def test_an_event_that_had_its_effect_meanwhile_is_not_queued(db: Database) -> None:
    (delivery,) = bury(db, "a")
    ladder.take(db, HANDLER, note_all, [delivery])
    assert outcomes(retry(db)) == ["done_already"]
    assert (letter_ids(db), work(db), words(db)) == ([], 0, ["a"])


def test_an_event_that_is_parked_already_is_not_queued_twice(db: Database) -> None:
    def fails(_session: Session, _envelopes: list[Envelope]) -> None:
        raise ValueError("no")

    (delivery,) = bury(db, "a")
    ladder.take(db, HANDLER, fails, [delivery])
    assert outcomes(retry(db)) == ["under_way"]
    assert (work(db, seconds=10), words(db), letter_ids(db)) == (1, ["a"], [])


def batch_of(*parts: Delivery) -> bytes:
    return codec.join_batch([part.body for part in parts])


def later(seconds: float) -> bytes:
    body = json.loads(delivery_of(event("later")).body)
    body["time"] = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("make", "handler", "reason", "code"),
    [
        (lambda: b"no event", HANDLER, "event.undecodable", "event.undecodable"),
        (lambda: b"[]", HANDLER, "event.undecodable", "event.undecodable"),
        (lambda: b"x" * 70_000, HANDLER, "event.too_large", "event.too_large"),
        (lambda: b"[" + delivery_of(event()).body + b",7]", HANDLER, "event.rejected", "event.undecodable"),
        (lambda: delivery_of(event()).body.replace(b"d.v1", b"d.v9"), HANDLER, "x", "event.unknown_version"),
        (lambda: delivery_of(large_event(9)).body, HANDLER, "event.routing_key_mismatch", "event.not_subscribed"),
        (lambda: delivery_of(event()).body, "volunteers.dead", "event.rejected", "event.handler_unknown"),
        (lambda: delivery_of(event()).body, HANDLER, "event.id_conflict", "event.id_conflict"),
        (lambda: later(3600), HANDLER, "event.time_in_future", "event.time_in_future"),
    ],
)  # fmt: skip
def test_what_cannot_be_handled_even_now_is_refused_with_the_reason_and_waits(
    db: Database, make: Callable[[], bytes], handler: str, reason: str, code: str
) -> None:
    ladder.bury_message(db, handler, make(), reason, "why")
    chosen = Chosen(handler=handler)
    assert rehearse(db, chosen=chosen) == [("refused", code)]
    (item,) = retry(db, chosen)
    assert (item.outcome, item.code) == ("refused", code)
    assert letter_ids(db) == [item.id]
    assert [a["outcome"] for a in shown(db, item.id)["actions"]] == [f"refused {code}"]
    assert fetch(db, "SELECT 1 FROM parked_events") == []
    assert outcomes(drop(db, Chosen(ids=(item.id,)))) == ["dropped"]


def test_what_can_be_read_by_now_is_handled(db: Database) -> None:
    """As after an upgrade: the letter was unreadable when it died, so that it has no id."""
    one, two, three = (delivery_of(event(word)) for word in ("one", "two", "three"))
    ladder.bury_message(db, HANDLER, one.body, "event.unknown_version", "why")
    ladder.bury_message(db, HANDLER, batch_of(two, three), "event.headers_invalid", "why")
    ladder.bury_message(db, HANDLER, later(-60), "event.time_in_future", "why")
    items = retry(db)
    assert outcomes(items) == ["queued"] * 3
    assert items[0].event_id == one.envelope.id
    work(db, seconds=5)
    assert words(db) == ["one", "two", "three", "later"]
    assert [len(shown(db, item.id)["events"]) for item in items] == [1, 2, 1]
    assert all(shown(db, item.id)["handled_at"] for item in items)


def test_an_id_that_another_body_has_is_never_retried_into_effect(db: Database) -> None:
    first = delivery_of(event("first"))
    second = delivery_of(event("second"), event_id=first.envelope.id)
    ladder.take(db, HANDLER, note_all, [first])
    ladder.take(db, HANDLER, note_all, [second])  # a letter for the conflict
    ladder.bury_message(db, HANDLER, second.body, "event.rejected", "why")
    assert [item.code for item in retry(db)] == ["event.id_conflict"] * 2
    execute(db, "DELETE FROM inbox")
    reasons = {row.id: row.reason for row in fetch(db, "SELECT id, reason FROM dead_letters")}
    again = {reasons[item.id]: item.outcome for item in retry(db)}
    assert again == {"event.id_conflict": "refused", "event.rejected": "queued"}, (
        "the id is free again, not the verdict"
    )


def test_of_two_letters_with_one_id_and_different_bodies_only_one_goes_on(db: Database) -> None:
    first = delivery_of(event("first"))
    second = delivery_of(event("second"), event_id=first.envelope.id)
    copy = delivery_of(event("copy"))
    for body, reason in ((first.body, "event.rejected"), (second.body, "event.rejected"),
                         (copy.body, "event.rejected"), (copy.body, "event.delivery_limit")):  # fmt: skip
        ladder.bury_message(db, HANDLER, body, reason, "why")
    assert outcomes(retry(db)) == ["queued", "refused", "queued", "under_way"]
    work(db, seconds=5)
    assert words(db) == ["first", "copy"]


def test_the_rate_spaces_the_events_and_a_second_retry_queues_behind_the_first(db: Database) -> None:
    bury(db, *"abcde")
    retry(db, rate=2, limit=3)
    retry(db, rate=4)
    waits = [
        row.wait
        for row in fetch(
            db,
            "SELECT extract(epoch FROM next_attempt_at - min(next_attempt_at) OVER ()) AS wait"
            " FROM parked_events ORDER BY next_attempt_at",
        )
    ]
    assert [float(wait) for wait in waits] == [0, 0.5, 1, 1.25, 1.5]
    assert work(db) == 1


def test_those_that_are_sent_again_let_the_others_pass(db: Database) -> None:
    bury(db, *(f"retried{number}" for number in range(30)))
    retry(db, rate=1000)
    execute(db, "UPDATE parked_events SET next_attempt_at = next_attempt_at - interval '1 h'")

    def fails(_session: Session, _envelopes: list[Envelope]) -> None:
        raise ValueError("no")

    ladder.take(db, HANDLER, fails, deliveries("own1", "own2"))
    execute(db, "UPDATE parked_events SET next_attempt_at = now() WHERE retry_of IS NULL")
    assert parked.retry_parked(db, {HANDLER: note_all}, limit=5) == 5
    assert sorted(words(db)[:2]) == ["own1", "own2"]
    assert len(words(db)) == 5


def test_a_round_ends_in_time_even_when_every_event_takes_long(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parked, "BATCH", 1)
    bury(db, *"abc")
    retry(db, rate=1000)
    execute(db, "UPDATE parked_events SET next_attempt_at = now() - interval '1 h'")
    assert parked.retry_parked(db, {HANDLER: note_all}, seconds=0) == 2, "one together, one alone"


def test_retried_events_are_handled_together_and_alone_when_one_of_them_fails(db: Database) -> None:
    sizes: list[int] = []

    def count(session: Session, envelopes: list[Envelope]) -> None:
        sizes.append(len(envelopes))
        note_all(session, envelopes)

    bury(db, "a", "b", "c", "late", "d", "bad", "e", "f")
    first, second = letter_ids(db)[:3], letter_ids(db)[3:]
    retry(db, Chosen(ids=tuple(first)), rate=1000)
    assert work(db, count, 1) == 3
    assert (sizes, words(db)) == ([3], ["a", "b", "c"])
    retry(db, Chosen(ids=tuple(second)), rate=1000)
    assert work(db, count, 1) == 5
    assert sizes == [3, 5, 1, 1, 1, 1, 1]
    assert words(db) == ["a", "b", "c", "d", "e", "f"]
    rows = fetch(db, "SELECT attempts, starts, reason FROM parked_events")
    assert [tuple(row) for row in rows] == [(1, 0, "handler.failed")] * 2


def test_of_retried_events_whose_id_another_body_took_meanwhile_only_that_one_dies(db: Database) -> None:
    batch = bury(db, "a", "b", "c")
    retry(db, rate=1000)
    execute(db, "INSERT INTO inbox (event_id, handler, body_hash) VALUES (:id, :handler, 'x')",
            id=batch[1].envelope.id, handler=HANDLER)  # fmt: skip
    assert work(db, seconds=1) == 3
    assert words(db) == ["a", "c"]
    assert [row.reason for row in fetch(db, "SELECT reason FROM dead_letters WHERE state = 'waiting'")] == [
        "event.id_conflict"
    ]


def test_an_event_that_takes_its_process_down_comes_after_the_others_and_ends_as_a_letter(db: Database) -> None:
    class Crash(BaseException):
        pass

    def crashes(session: Session, envelopes: list[Envelope]) -> None:
        note_all(session, envelopes)
        if envelopes[0].data.category == "deadly":
            raise Crash

    bury(db, "deadly", "innocent")
    retry(db, rate=1000)
    crashed = 0
    for _ in range(parked.STARTS_MAX + 3):
        try:
            work(db, crashes, 300)
        except Crash:
            crashed += 1
            if crashed == 2:
                assert work(db, crashes) == 1, "the innocent one has its turn, though it came later"
                assert words(db) == ["innocent"]
    assert crashed == parked.STARTS_MAX
    (row,) = fetch(db, "SELECT reason, retry_of IS NOT NULL AS again FROM dead_letters WHERE state = 'waiting'")
    assert tuple(row) == ("event.delivery_limit", True)
    assert words(db) == ["innocent"]


@pytest.mark.parametrize("first", ["retry", "drop"])
@pytest.mark.parametrize("second", ["retry", "drop"])
def test_what_is_settled_is_settled(db: Database, first: str, second: str) -> None:
    bury(db, "a")
    (letter,) = letter_ids(db)
    acts = {"retry": retry, "drop": drop}
    acts[first](db, Chosen(ids=(letter,)))
    with pytest.raises(DeadLetterSettled) as caught:
        acts[second](db, Chosen(ids=(letter,)))
    assert caught.value.extra == {"ids": [str(letter)], "states": ["retried" if first == "retry" else "dropped"]}
    assert len(shown(db, letter)["actions"]) == 1
    work(db)
    assert words(db) == (["a"] if first == "retry" else [])


def test_one_of_several_that_is_settled_or_unknown_stops_all(db: Database) -> None:
    bury(db, "a", "b")
    one, two = letter_ids(db)
    drop(db, Chosen(ids=(one,)))
    for chosen, error in (((one, two), DeadLetterSettled), ((two, new_id()), DeadLetterNotFound)):
        for act in (retry, drop):
            with pytest.raises(error):
                act(db, Chosen(ids=chosen))
    assert letter_ids(db) == [two]
    assert len(fetch(db, "SELECT 1 FROM dead_letter_actions")) == 1


def test_of_many_who_decide_at_once_one_does_and_the_others_are_told(db: Database, other_db: Database) -> None:
    for _ in range(5):
        bury(db, "a")
        chosen = Chosen(ids=tuple(letter_ids(db)))
        acts: list[Callable[[], object]] = [
            lambda each=each, act=act, chosen=chosen: act(each, chosen)
            for each in (db, other_db)
            for act in (retry, drop)
        ]
        results = together(*acts)
        done = [result for result in results if isinstance(result, list)]
        assert len(done) == 1, results
        assert sum(isinstance(result, DeadLetterSettled) for result in results) == 3, results
        parked_now = len(fetch(db, "SELECT 1 FROM parked_events"))
        assert parked_now == (1 if outcomes(done[0]) == ["queued"] else 0)
        work(db)
        assert len(words(db)) == parked_now
        execute(db, "DELETE FROM notes")


def test_an_event_that_dies_again_while_its_letter_is_retried_leaves_a_letter(db: Database, other_db: Database) -> None:
    (delivery,) = bury(db, "a")
    execute(
        db,
        "INSERT INTO parked_events (event_id, handler, body, attempts, next_attempt_at, reason, error)"
        " VALUES (:id, :handler, :body, 3, clock_timestamp(), 'handler.failed', 'no')",
        id=delivery.envelope.id, handler=HANDLER, body=delivery.body,
    )  # fmt: skip
    dies = threading.Thread(target=lambda: parked.retry_parked(other_db, {HANDLER: never}), daemon=True)
    with db.transaction() as session:
        assert outcomes(decisions.retry(session, TOPICS, ALL, WHO)) == ["under_way"]
        dies.start()
        waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        wait_for(lambda: fetch(db, waits), what="the burial to wait for the decision")
    dies.join(10)
    assert not dies.is_alive()
    assert len(letter_ids(db)) == 1
    assert fetch(db, "SELECT 1 FROM parked_events") == []


def test_bulk_decisions_at_once_share_the_letters(db: Database, other_db: Database) -> None:
    bury(db, *(f"w{number}" for number in range(30)))
    results = together(*(lambda each=each: retry(each, limit=20, rate=1000) for each in (db, other_db) * 2))
    assert sum(len(result) for result in results if isinstance(result, list)) == 30, results
    assert letter_ids(db) == []
    while work(db, seconds=60):
        continue
    assert len(words(db)) == len(set(words(db))) == 30


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"handler": "volunteers.count"}, "abc"),
        ({"handler": "volunteers.another"}, ""),
        ({"reason": "chassis_test.never_right"}, "abc"),
        ({"reason": "handler.failed"}, ""),
        ({"type": "volunteers.hours_logged.v1"}, "abc"),
        ({"type": "volunteers.hours_logged.v2"}, ""),
        ({"since": "b"}, "bc"),
        ({"until": "b"}, "ab"),
        ({"since": "b", "until": "b"}, "b"),
    ],
)
def test_a_filter_means_the_waiting_letters_that_it_finds_and_no_others(
    db: Database, chosen: dict[str, Any], expected: str
) -> None:
    bury(db, "x", "a", "b", "c")
    died = fetch(db, "SELECT died_at FROM dead_letters ORDER BY 1")
    times = {word: row.died_at for word, row in zip("xabc", died, strict=True)}
    drop(db, Chosen(ids=(letter_ids(db)[0],)))
    meant = Chosen(**{name: times.get(value, value) for name, value in chosen.items()})
    with db.transaction() as session:
        assert choice.count(session, meant) == len(expected)
        assert sum(group["waiting"] for group in lists.groups(session, meant)) == len(expected)
        assert len(lists.letters(session, meant)) == len(expected)
    retry(db, meant)
    work(db, seconds=5)
    assert sorted(words(db)) == sorted(expected)


def test_letters_that_die_after_the_start_are_left_to_the_next_retry(db: Database) -> None:
    bury(db, "a")
    until = fetch(db, "SELECT clock_timestamp() AS now")[0].now
    bury(db, "b")
    assert len(retry(db, Chosen(handler=HANDLER, until=until))) == 1
    assert len(letter_ids(db)) == 1


def test_a_rehearsed_event_finds_what_an_earlier_one_of_the_rehearsal_did(db: Database) -> None:
    def needs_a(session: Session, envelopes: list[Envelope]) -> None:
        if categories(envelopes) == ["b"] and not session.scalar(sa.text("SELECT 1 FROM notes WHERE word = 'a'")):
            raise ValueError("too early")
        note_all(session, envelopes)

    bury(db, "a", "b")
    before = contents(db)
    assert rehearse(db, needs_a) == [("would_take_effect", None)] * 2
    assert contents(db) == before


def test_a_rehearsal_says_what_would_be_and_changes_nothing(db: Database) -> None:
    batch = bury(db, "fine", "bad", "late", "done", "parked", "early")
    done, parked_one = batch[3], batch[4]

    def fickle(session: Session, envelopes: list[Envelope]) -> None:
        note_all(session, envelopes)
        outbox.record(session, event("caused"), caused_by=envelopes[0])
        if envelopes[0].data.category == "early":
            raise RetryEventLater("not yet")

    def fails(_session: Session, _envelopes: list[Envelope]) -> None:
        raise ValueError("no")

    ladder.take(db, HANDLER, note_all, [done])
    ladder.take(db, HANDLER, fails, [parked_one])
    before = contents(db)
    assert rehearse(db, fickle) == [
        ("would_take_effect", None), ("would_fail", "handler.failed"), ("would_fail", "handler.failed"),
        ("done_already", None), ("under_way", None), ("would_fail", "event.too_early"),
    ]  # fmt: skip
    assert contents(db) == before
    assert topics(db) == 0


def test_a_rehearsal_of_what_is_settled_is_refused_like_the_real_thing(db: Database) -> None:
    bury(db, "a")
    ids = tuple(letter_ids(db))
    drop(db)
    with pytest.raises(DeadLetterSettled):
        rehearse(db, chosen=Chosen(ids=ids))
    with pytest.raises(DeadLetterNotFound):
        rehearse(db, chosen=Chosen(ids=(new_id(),)))


def test_when_anything_of_a_retry_fails_nothing_of_it_is_left(db: Database) -> None:
    bury(db, "a", "b")
    before = contents(db)
    with pytest.raises(DBAPIError), db.transaction() as session:
        decisions.retry(session, TOPICS, ALL, Decision("x" * 65, "too long for the record"))
    with Session(db.engine) as session:
        assert outcomes(decisions.retry(session, TOPICS, ALL, WHO)) == ["queued"] * 2
        session.rollback()
    assert contents(db) == before


def test_a_retry_waits_for_nobody_who_handles_events_and_nobody_waits_for_it(db: Database, other_db: Database) -> None:
    bury(db, "a", "slow")
    first, second = letter_ids(db)
    retry(db, Chosen(ids=(second,)))
    began, go_on = threading.Event(), threading.Event()

    def slow(session: Session, envelopes: list[Envelope]) -> None:
        note_all(session, envelopes)
        began.set()
        assert go_on.wait(10)

    worker = threading.Thread(target=work, args=(db, slow), daemon=True)
    worker.start()
    assert began.wait(10)
    assert outcomes(retry(other_db, Chosen(ids=(first,)))) == ["queued"]
    go_on.set()
    worker.join(10)
    work(db)
    assert words(db) == ["slow", "a"]


def test_pages_of_letters_go_on_where_the_page_before_ended(db: Database) -> None:
    bury(db, *"abcdefg")
    with db.transaction() as session:
        everything = lists.letters(session, ALL)
        found: list[Any] = []
        while page := lists.letters(
            session, ALL, limit=3, before=(found[-1]["died_at"], found[-1]["id"]) if found else None
        ):
            found += page
    assert [one["id"] for one in found] == [one["id"] for one in everything] == list(reversed(letter_ids(db)))


def test_a_letter_shows_codes_and_ids_of_its_event_but_no_text(db: Database) -> None:
    (delivery,) = deliveries("王小明 14200010000")
    ladder.take(db, HANDLER, never, [delivery])
    ladder.bury_message(db, HANDLER, "王小明".encode(), "event.undecodable", "why")
    with db.transaction() as session:
        letters = [lists.letter(session, one) for one in letter_ids(db)]
        assert lists.raw_body(session, letters[1]["id"]) == "王小明".encode()
        with pytest.raises(DeadLetterNotFound):
            lists.raw_body(session, new_id())
    assert "王小明" not in str(letters)
    data = letters[0]["events"][0]["data"]
    assert (data["team_code"], data["minutes"], data["category"]) == ("T1", 60, "…(15)")
    assert (letters[1]["events"], letters[1]["unreadable"]) == ([], "event.undecodable")
    assert letters[1]["size"] == 9


def test_the_indexes_are_used(db: Database) -> None:
    with db.transaction() as session:
        session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        for index, statement in {
            "dead_letters_in_order": "SELECT id FROM dead_letters ORDER BY died_at DESC, id DESC LIMIT 5",
            "dead_letters_of_group": "SELECT handler, reason, count(*), min(died_at) FROM dead_letters"
            " WHERE state = 'waiting' GROUP BY handler, reason",
            "parked_events_due": "SELECT event_id FROM parked_events WHERE next_attempt_at <= now()"
            " AND retry_of IS NULL ORDER BY next_attempt_at LIMIT 1",
            "parked_events_retried": "SELECT event_id FROM parked_events WHERE next_attempt_at <= now()"
            " AND retry_of IS NOT NULL ORDER BY next_attempt_at LIMIT 1",
        }.items():
            plan = "\n".join(session.scalars(sa.text(f"EXPLAIN {statement}")))
            assert index in plan, plan

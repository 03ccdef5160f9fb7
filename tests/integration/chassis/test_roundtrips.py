"""Statements sent together keep their order, and live and die with their transaction, as those sent one by one do."""

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from tests.integration.chassis.services import event, execute, fetch, topics, words
from xinhuo.chassis import clock, outbox
from xinhuo.chassis.db import Database, DatabaseUnavailable, ask_with_time
from xinhuo.chassis.roundtrips import ask, at_commit

WRITE = sa.text("INSERT INTO notes (word) VALUES (:word)")
WORDS = sa.text("SELECT word FROM notes ORDER BY number")
LEVEL = sa.text("SHOW transaction_isolation")
TRANSACTIONS = sa.text("SELECT pg_current_xact_id_if_assigned()")


class Stop(Exception):
    """Ends a transaction."""


def said(word: str | None) -> dict[str, Any]:
    return {"word": word}


def ask_and_stop(session: Session) -> None:
    ask(session, (WRITE, said("asked")))
    at_commit(session, WRITE, said("waiting"))
    raise Stop


def wait_and_stop(session: Session) -> None:
    at_commit(session, WRITE, said("within"))
    raise Stop


def note_with_event(session: Session, word: str | None) -> None:
    outbox.record(session, event())
    at_commit(session, WRITE, said(word))


def go_on_after_a_refusal(session: Session) -> None:
    at_commit(session, WRITE, said("a"))
    at_commit(session, WRITE, {"word": ["text", 5]})
    with pytest.raises(DataError):
        session.execute(WORDS)


def write_over_a_cut_line(session: Session, db: Database, *, committing: bool) -> None:
    [[(pid,)]] = ask(session, (sa.text("SELECT pg_backend_pid()"), {}))
    execute(db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid", pid=pid)
    if committing:
        at_commit(session, WRITE, said("a"))
    else:
        ask(session, (WRITE, said("a")))


def test_questions_asked_together_are_answered_in_their_order_and_see_what_those_before_wrote(db: Database) -> None:
    with db.transaction() as session:
        answers = ask(session, (WORDS, {}), (WRITE, said("a")), (WORDS, {}), (WRITE, said("b")), (WORDS, {}))

    assert answers == [[], [], [("a",)], [], [("a",), ("b",)]]
    assert words(db) == ["a", "b"]


def test_a_question_is_part_of_a_transaction_that_reads_what_others_commit(db: Database) -> None:
    with db.transaction() as session:
        [[(level,)], [(before,)]] = ask(session, (LEVEL, {}), (TRANSACTIONS, {}))
        session.execute(WRITE, said("a"))
        [[(after,)]] = ask(session, (TRANSACTIONS, {}))
        execute(db, "INSERT INTO notes (word) VALUES ('of another')")
        [seen] = ask(session, (WORDS, {}))

    assert level == "read committed"
    assert before is None
    assert after is not None
    assert ("of another",) in seen


def test_nothing_that_was_asked_remains_of_a_transaction_that_failed(db: Database) -> None:
    with pytest.raises(Stop), db.transaction() as session:
        ask_and_stop(session)

    assert words(db) == []


def test_what_waits_for_the_commit_is_written_before_whatever_is_executed_after_it(db: Database) -> None:
    with db.transaction() as session:
        at_commit(session, WRITE, said("a"))
        first = session.execute(WORDS).scalars().all()
        at_commit(session, WRITE, said("b"))
        [second] = ask(session, (WORDS, {}))
        at_commit(session, WRITE, said("c"))

    assert first == ["a"]
    assert second == [("a",), ("b",)]
    assert words(db) == ["a", "b", "c"]


def test_what_waits_for_the_commit_outlives_a_savepoint_begun_after_it(db: Database) -> None:
    with db.transaction() as session:
        at_commit(session, WRITE, said("before"))
        with pytest.raises(Stop), session.begin_nested():
            wait_and_stop(session)
        at_commit(session, WRITE, said("after"))

    assert words(db) == ["before", "after"]


def test_an_event_goes_with_what_waits_for_the_same_commit(db: Database) -> None:
    with pytest.raises(IntegrityError), db.transaction() as session:
        note_with_event(session, None)

    assert (words(db), topics(db)) == ([], 0)

    with db.transaction() as session:
        note_with_event(session, "a")

    assert (words(db), topics(db)) == (["a"], 1)


@pytest.mark.parametrize("parameters", [{"word": None}, {}])
def test_a_statement_that_fails_ends_the_transaction_and_leaves_the_connection_of_use(
    db: Database, parameters: dict[str, Any]
) -> None:
    with pytest.raises(Exception, match=r"null value|parameter"), db.transaction() as session:
        ask(session, (WRITE, said("a")), (WRITE, parameters), (WRITE, said("c")))

    assert words(db) == []
    execute(db, "INSERT INTO notes (word) VALUES ('d')")
    assert words(db) == ["d"]


def test_an_error_is_one_of_sqlalchemy_and_holds_none_of_the_values(db: Database) -> None:
    execute(db, "CREATE TABLE once (word text PRIMARY KEY)")
    execute(db, "GRANT INSERT ON once TO xinhuo_volunteers")
    write_once = sa.text("INSERT INTO once VALUES (:word)")

    with pytest.raises(IntegrityError) as caught, db.transaction() as session:
        ask(session, (write_once, said("a")), (write_once, said("a")))

    assert caught.value.params is None
    assert caught.value.statement is None
    assert fetch(db, "SELECT * FROM once") == []
    execute(db, "DROP TABLE once")


@pytest.mark.parametrize("committing", [False, True], ids=["in a question", "in the commit"])
def test_a_connection_that_is_cut_is_an_outage_and_is_replaced(db: Database, committing: bool) -> None:
    with pytest.raises(DatabaseUnavailable), db.transaction() as session:
        write_over_a_cut_line(session, db, committing=committing)

    assert words(db) == []
    execute(db, "INSERT INTO notes (word) VALUES ('b')")
    assert words(db) == ["b"]


def test_a_commit_that_was_answered_with_an_error_is_not_called_uncertain(db: Database) -> None:
    full = sa.text("DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$")

    with pytest.raises(DatabaseUnavailable) as caught, db.transaction() as session:
        at_commit(session, full, {})

    assert caught.value.en == DatabaseUnavailable().en


def test_work_that_goes_on_after_a_waiting_statement_was_refused_cannot_be_committed(db: Database) -> None:
    with pytest.raises(RuntimeError, match="refused"), db.transaction() as session:
        go_on_after_a_refusal(session)

    assert words(db) == []


def test_the_time_comes_with_the_answers_and_the_clock_learns_it(db: Database) -> None:
    with db.transaction() as session:
        now, [answer] = ask_with_time(session, (WORDS, {}))

    assert answer == []
    assert abs((clock.now() - now).total_seconds()) < 1

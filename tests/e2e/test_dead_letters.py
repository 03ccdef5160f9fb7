"""Poison dies, its cause is mended, and the desk sends it again: each event takes effect exactly once, with its id."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from tests.support.installation import Ended, Installation, descendants, xinhuo
from tests.support.messages import Message, publish
from tests.support.waiting import wait_for

POISON, GOOD = 200, 50
HANDLER = "volunteers.follow_units"
WHO = ("--why", "the table takes them now", "--by", "ops-1")
#: The cause: the table refuses these units. Every effect that does happen is written down beside it.
CAUSE = """
CREATE TABLE effects (code text NOT NULL, poison boolean NOT NULL);
CREATE FUNCTION note_effect() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = volunteers AS
$$ BEGIN INSERT INTO effects VALUES (NEW.code, NEW.code LIKE 'E2E-POISON-%'); RETURN NEW; END $$;
CREATE TRIGGER note_effect AFTER INSERT OR UPDATE ON known_units FOR EACH ROW EXECUTE FUNCTION note_effect();
CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '22023'; END $$;
CREATE TRIGGER refuse_poison BEFORE INSERT OR UPDATE ON known_units
    FOR EACH ROW WHEN (NEW.code LIKE 'E2E-POISON-%') EXECUTE FUNCTION refuse_poison();
"""
CLEAN = """
DROP TRIGGER note_effect ON known_units; DROP TRIGGER IF EXISTS refuse_poison ON known_units;
DROP FUNCTION note_effect; DROP FUNCTION refuse_poison; DROP TABLE effects;
DELETE FROM dead_letter_actions; DELETE FROM parked_events; DELETE FROM dead_letters
"""


@pytest.fixture(scope="module")
def empty(install: Callable[[str], Installation]) -> Installation:
    """An installation of its own, without the sample: its workers are killed."""
    installation = install("rabbitmq")
    installation.spawn("--no-sample")
    return installation.serve()


@pytest.fixture
def poisoned(empty: Installation) -> Iterator[Installation]:
    """The installation with the cause of all the trouble in one table."""
    installation = empty
    change(installation, CAUSE)
    yield installation
    change(installation, CLEAN)


def change(installation: Installation, statements: str) -> None:
    with psycopg.connect(installation.sql_url(), options="-csearch_path=volunteers") as connection:
        connection.execute(statements)


def dead(installation: Installation, *arguments: str) -> Ended:
    settings = {**installation.settings, "XINHUO_KEY_FILE": str(installation.data / "master.key")}
    return xinhuo("dead", *arguments, settings=settings)


def json_of(ended: Ended, code: int = 0) -> Any:
    assert ended.code == code, ended
    return json.loads(ended.stdout)


def waiting(installation: Installation) -> int:
    return int(installation.scalar("SELECT count(*) FROM volunteers.dead_letters WHERE state = 'waiting'"))


def effects(installation: Installation, poison: bool) -> list[int]:
    """Return how often each unit took effect."""
    rows = installation.rows("SELECT count(*) FROM volunteers.effects WHERE poison = %s GROUP BY code", poison)
    return [row["count"] for row in rows]


def workers(installation: Installation) -> list[int]:
    assert installation.process is not None
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(installation.process.pid)}
    return [pid for pid, line in lines.items() if b"xinhuo.cli.process\0volunteers\0" in line]


@pytest.mark.timeout(240)
def test_two_hundred_poison_events_take_effect_once_each_after_the_cause_is_mended(poisoned: Installation) -> None:
    poison = [Message(unit_code=f"E2E-POISON-{number}") for number in range(POISON)]
    good = [Message(unit_code=f"E2E-GOOD-{number}") for number in range(GOOD)]
    publish(poisoned.settings["AMQP_URI"], *poison[: POISON // 2], *good, *poison[POISON // 2 :])
    wait_for(lambda: waiting(poisoned) == POISON, 60, "all poison to be dead letters")
    wait_for(lambda: len(effects(poisoned, poison=False)) == GOOD, 60, "the good ones to take effect")
    (group,) = json_of(dead(poisoned, "list", "--json"))["groups"]
    assert (group["handler"], group["reason"], group["waiting"]) == (HANDLER, "event.data_refused", POISON)
    still = json_of(dead(poisoned, "retry", "--handler", HANDLER, *WHO, "--dry-run", "--json"), 1)
    assert still["counts"] == {"would_fail": POISON}

    change(poisoned, "DROP TRIGGER refuse_poison ON known_units")
    mended = json_of(dead(poisoned, "retry", "--handler", HANDLER, *WHO, "--dry-run", "--json"))
    assert mended["counts"] == {"would_take_effect": POISON}
    assert (effects(poisoned, poison=True), waiting(poisoned)) == ([], POISON)

    retry = ("retry", "--handler", HANDLER, *WHO, "--rate", "100", "--yes", "--json")
    with ThreadPoolExecutor(2) as pool:
        both = [answer.result() for answer in [pool.submit(dead, poisoned, *retry) for _ in range(2)]]
    assert sum(json_of(one)["counts"].get("queued", 0) for one in both) == POISON
    wait_for(lambda: len(effects(poisoned, poison=True)) >= 10, 60, "the retry to be under way")
    (victim,) = workers(poisoned)
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(effects(poisoned, poison=True)) == POISON, 90, "all to take effect")
    publish(poisoned.settings["AMQP_URI"], *poison[:20])  # late copies
    last = Message(unit_code="E2E-GOOD-LAST")
    publish(poisoned.settings["AMQP_URI"], last)
    wait_for(lambda: len(effects(poisoned, poison=False)) == GOOD + 1, 30, "what came after the copies")

    assert set(effects(poisoned, poison=True)) == {1}
    ids = poisoned.rows("SELECT event_id FROM volunteers.inbox WHERE handler = %s", HANDLER)
    assert {message.content["id"] for message in poison} <= {str(row["event_id"]) for row in ids}
    assert poisoned.troubles() == {"parked_events": 0, "dead_letters": 0, "outbox": 0}
    records = poisoned.rows("SELECT by, why, outcome, count(*) FROM volunteers.dead_letter_actions GROUP BY 1, 2, 3")
    assert [tuple(row.values()) for row in records] == [("ops-1", WHO[1], "queued", POISON)]


def test_of_retry_and_drop_at_once_one_wins_and_a_second_retry_is_refused(poisoned: Installation) -> None:
    publish(poisoned.settings["AMQP_URI"], *(Message(unit_code=f"E2E-POISON-{number}") for number in range(1000, 1003)))
    wait_for(lambda: waiting(poisoned) == 3, 60, "the dead letters")
    change(poisoned, "DROP TRIGGER refuse_poison ON known_units")
    ids = [row["id"] for row in json_of(dead(poisoned, "list", "--each", "--json"))["letters"]]
    path = "/v1/dead-letters:"

    with ThreadPoolExecutor(4) as pool:
        verbs = ("retry", "drop") * 2
        tried = [pool.submit(send, poisoned, path + verb, ids) for verb in verbs]
        answers = [one.result() for one in tried]
    (winner,) = [verb for verb, (status, _) in zip(verbs, answers, strict=True) if status == 200]
    assert sorted(status for status, _ in answers) == [200, 409, 409, 409]
    assert {body["code"] for status, body in answers if status == 409} == {"dead_letter.settled"}
    assert send(poisoned, path + "retry", ids)[0] == 409
    expected = 3 if winner == "retry" else 0
    wait_for(lambda: poisoned.troubles()["parked_events"] == 0, 30, "the parked events to be done")
    assert effects(poisoned, poison=True) == [1] * expected
    assert len(poisoned.rows("SELECT 1 FROM volunteers.dead_letter_actions")) == 3


def send(installation: Installation, path: str, ids: list[str]) -> tuple[int, Any]:
    body = {"ids": ids, "by": "ops-2", "why": "tried at once"}
    headers = installation.bearing(installation.who_may("POST", path))
    answer = requests.post(installation.url("volunteers") + path, json=body, headers=headers, timeout=60)
    return answer.status_code, answer.json()

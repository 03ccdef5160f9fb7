"""Green threads that wait for PostgreSQL let the others go on, whatever they wait for and however it ends."""

import json
import subprocess
import sys

import pytest
import sqlalchemy as sa


@pytest.fixture(scope="module")
def seen(empty_database):
    """What the program of the waiting threads saw."""
    url = sa.make_url(empty_database).set(drivername="postgresql").render_as_string(hide_password=False)
    command = [sys.executable, "-W", "ignore", "-m", "tests.integration.traps.programs.waiting", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_threads_wait_at_the_same_time_and_the_others_go_on(seen):
    assert 0.5 <= seen["seconds for two that sleep half a second"] < 0.95
    assert seen["ticks meanwhile"] > 10


def test_answers_and_questions_that_no_socket_holds_at_once_come_through(seen):
    assert seen["large answer"] == seen["large question"] == 20_000_000
    assert seen["large pipeline"] == [1_000_000] * 10


def test_who_listens_waits_as_long_as_was_said_or_until_there_is_news(seen):
    assert seen["news"] == []
    assert 0.3 <= seen["seconds without news"] < 3
    assert seen["late news"] == ["come"]


def test_a_connection_that_is_cut_wakes_who_waits(seen):
    assert seen["cut"] in {"AdminShutdown", "OperationalError"}


def test_a_waiting_thread_can_be_interrupted(seen):
    assert 0.3 <= seen["seconds until interrupted"] < 3


def test_who_is_interrupted_in_the_middle_of_several_statements_is_told_so_and_the_next_one_gets_an_answer(seen):
    assert seen["ended in a pipeline"] == ["interrupted", "in order"] * 2

"""Prints, as JSON, what green threads saw that waited for PostgreSQL: ``waiting DATABASE_URL``."""

import os

os.environ["XINHUO_ADAPTER"] = "nameko"

from xinhuo.cli import process

process.prepare()

import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from contextlib import closing  # noqa: E402

import eventlet  # noqa: E402
import psycopg  # noqa: E402
import sqlalchemy as sa  # noqa: E402

from xinhuo.chassis import roles  # noqa: E402
from xinhuo.chassis.db import Database  # noqa: E402
from xinhuo.chassis.roundtrips import ask, at_commit  # noqa: E402

LARGE = 20_000_000


def ticking(ticks):
    """Count, as long as this thread is let."""
    while True:
        ticks.append(time.monotonic())
        eventlet.sleep(0.01)


def ended_in_a_pipeline(db):
    """Interrupt a question that takes long, once while it is asked and once while it goes with the commit."""
    seen = []
    slow = sa.text("SELECT pg_sleep(30)")
    for send in (ask_slowly, wait_slowly):
        try:
            with eventlet.Timeout(0.3), db.transaction() as session:
                send(session, slow)
        except eventlet.Timeout:
            seen.append("interrupted")
        with db.transaction() as session:
            seen += ask(session, (sa.text("SELECT 'in order'"), {}))[0][0]
    return seen


def ask_slowly(session, slow):
    """Ask several things, the last of which takes long."""
    ask(session, (sa.text("SELECT 1"), {}), (slow, {}))


def wait_slowly(session, slow):
    """Leave for the commit what takes long."""
    at_commit(session, slow, {})


def main():
    """Wait in every way there is."""
    found = {}
    ticks = []
    eventlet.spawn(ticking, ticks)
    first, second = (closing(psycopg.connect(sys.argv[1], autocommit=True)) for _ in range(2))
    with first as one, second as other:
        began = time.monotonic()
        both = [eventlet.spawn(each.execute, "SELECT pg_sleep(0.5)") for each in (one, other)]
        for thread in both:
            thread.wait()
        found["seconds for two that sleep half a second"] = time.monotonic() - began
        found["ticks meanwhile"] = len(ticks)
        found["large answer"] = len(one.execute("SELECT repeat('x', %s)", [LARGE]).fetchone()[0])
        found["large question"] = one.execute("SELECT length(%s)", ["x" * LARGE]).fetchone()[0]
        with one.pipeline():
            cursors = [one.execute("SELECT length(%s)", ["x" * 1_000_000]) for _ in range(10)]
        found["large pipeline"] = [cursor.fetchone()[0] for cursor in cursors]
        one.execute("LISTEN news")
        began = time.monotonic()
        found["news"] = [news.payload for news in one.notifies(timeout=0.3)]
        found["seconds without news"] = time.monotonic() - began
        eventlet.spawn_after(0.2, other.execute, "NOTIFY news, 'come'")
        found["late news"] = [news.payload for news in one.notifies(timeout=10, stop_after=1)]
        eventlet.spawn_after(0.2, other.execute, "SELECT pg_terminate_backend(%s)", [one.info.backend_pid])
        try:
            one.execute("SELECT pg_sleep(30)")
        except psycopg.OperationalError as error:
            found["cut"] = type(error).__name__
        began = time.monotonic()
        try:
            with eventlet.Timeout(0.3):
                other.execute("SELECT pg_sleep(30)")
        except eventlet.Timeout:
            found["seconds until interrupted"] = time.monotonic() - began
    db = Database("postgresql+psycopg" + sys.argv[1][10:], "tally")
    with db.as_owner() as owner:
        owner.execute(sa.text("CREATE SCHEMA IF NOT EXISTS tally"))
        roles.allow(owner, "tally")
    found["ended in a pipeline"] = ended_in_a_pipeline(db)
    print(json.dumps(found))


main()

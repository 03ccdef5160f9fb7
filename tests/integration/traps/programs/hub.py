"""Three queries of half a second on three green threads; prints how long all of them took together."""

import eventlet

eventlet.monkey_patch()

import os  # noqa: E402
import time  # noqa: E402

import psycopg  # noqa: E402


def ask():
    """Wait in the database."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("SELECT pg_sleep(0.5)")


def main():
    """Ask three times at once."""
    psycopg.connect(os.environ["DATABASE_URL"]).close()
    started = time.monotonic()
    for thread in [eventlet.spawn(ask) for _ in range(3)]:
        thread.wait()
    print(time.monotonic() - started)


if __name__ == "__main__":
    main()

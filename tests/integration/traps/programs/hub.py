"""Three queries of half a second on three green threads; prints how many ran at once and how long all took."""

import eventlet

eventlet.monkey_patch()

import os  # noqa: E402
import time  # noqa: E402

import psycopg  # noqa: E402

running = []
most = []


def ask():
    """Wait in the database."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        running.append(1)
        most.append(len(running))
        connection.execute("SELECT pg_sleep(0.5)")
        running.pop()


def main():
    """Ask three times at once."""
    psycopg.connect(os.environ["DATABASE_URL"]).close()
    started = time.monotonic()
    for thread in [eventlet.spawn(ask) for _ in range(3)]:
        thread.wait()
    print(max(most), time.monotonic() - started)


if __name__ == "__main__":
    main()

"""What the adapter for one process cannot do, and why; the tests that need it are skipped by that name."""

import importlib.util

ALL = ("nameko", "threads", "inprocess")
#: Those that can run here; the stage `threads` has an environment without nameko and eventlet.
ADAPTERS = tuple(
    name
    for name in ALL
    if name != "nameko" or all(importlib.util.find_spec(module) is not None for module in ("nameko", "eventlet"))
)

#: Also in docs/decisions/0006-threads.md; a test compares the two.
NOT_IN_ONE_PROCESS = {
    "several processes": "kombu's memory broker lives in one process",
    "one role": "api and worker are always together in it",
    "acknowledgements": "the memory broker gives a message away once and for all; the next start publishes again what "
    "has had no effect",
    "the broker's dead-letter queue": "the memory broker has none; what cannot be read is buried at once",
    "delivery limit": "nothing is delivered again while the process lives",
    "unroutable events": "its queues are made at every start: there is nothing to be missing",
    "prefetch ramp": "the memory broker does not push messages",
    "heartbeats": "there is no connection to keep alive",
    "stall watchdog": "a trial on one machine has somebody before it; threads do not keep each other from their turns",
}

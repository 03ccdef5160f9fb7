"""Runs one service of the plain baseline: ``python -m benchmarks.plain_process NAME PORT``."""

import os
import sys

if __name__ == "__main__":
    os.environ["PSYCOPG_WAIT_FUNC"] = "wait_selector"
    import eventlet

    eventlet.monkey_patch()
    import signal

    from nameko.runners import ServiceRunner

    from benchmarks import plain_nameko

    name, port = sys.argv[1:]
    runner = ServiceRunner(
        {
            "AMQP_URI": os.environ["BASELINE_AMQP_URI"],
            "WEB_SERVER_ADDRESS": f"127.0.0.1:{port}",
            "max_workers": int(os.environ["BASELINE_WORKERS"]),
            "prefetch_count": int(os.environ["BASELINE_WORKERS"]),
        }
    )
    runner.add_service(getattr(plain_nameko, name.capitalize()))
    runner.start()
    print("started", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the baseline's own stop may hang; see the trap tests
    while True:
        eventlet.sleep(0.5)

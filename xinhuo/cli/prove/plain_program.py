"""Runs one service of the plain baseline: ``python -m xinhuo.cli.prove.plain_program NAME PORT``."""

import os
import sys

if __name__ == "__main__":
    os.environ["PSYCOPG_WAIT_FUNC"] = "wait_selector"
    import warnings

    warnings.filterwarnings("ignore")
    import eventlet

    eventlet.monkey_patch()
    import signal

    from nameko.runners import ServiceRunner

    from xinhuo.cli.prove import plain_services

    name, port = sys.argv[1:]
    runner = ServiceRunner({"AMQP_URI": os.environ["PLAIN_AMQP_URI"], "WEB_SERVER_ADDRESS": f"127.0.0.1:{port}"})
    runner.add_service(getattr(plain_services, name.capitalize()))
    runner.start()
    print("started", flush=True)
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    waiting = eventlet.spawn(runner.wait)
    while not stopping and not waiting.dead:
        eventlet.sleep(0.2)
    if stopping:
        eventlet.spawn(runner.stop)  # which may hang; handlers at work get their two seconds
        eventlet.sleep(2)
        os._exit(0)
    waiting.wait()

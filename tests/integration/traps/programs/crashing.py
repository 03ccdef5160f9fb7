"""A consumer that is started again whenever it dies: `crashing ours|fixed`; some events kill it."""

import os
import signal
import sys
import threading

from kombu import Connection, Queue

from tests.integration.traps.services import Tally, database
from tests.support.services import KEYS
from xinhuo.chassis import config, logs
from xinhuo.chassis.adapters.amqp import BatchConsumer
from xinhuo.chassis.adapters.dead_letters import dead_letter_receiver
from xinhuo.chassis.service import Runtime
from xinhuo.chassis.worker import Worker
from xinhuo.contracts import codec

QUEUE, DEAD, PREFETCH = "tally.count", "tally.dead", 50


def ours():
    """Consume as our adapters do, and drain the dead letters."""
    logs.configure("debug")
    service, uri = Tally(), os.environ["AMQP_URI"]
    service.runtime = Runtime(config.load({}), database(os.environ["DATABASE_URL"]), KEYS)
    worker = Worker(service)
    works = [
        BatchConsumer(uri, DEAD, dead_letter_receiver(worker), prefetch_max=PREFETCH, window=0.005),
        BatchConsumer(uri, QUEUE, lambda found: worker.receive("count", found), prefetch_max=PREFETCH, window=0.005),
    ]
    threads = [threading.Thread(target=work.run, args=(threading.Event(),)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def fixed():
    """Consume with a prefetch that is always the same."""

    def handle(message):
        if codec.decode(message.body).data.category == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        print("handled", flush=True)
        message.ack()

    with Connection(os.environ["AMQP_URI"]) as connection:
        queue = Queue(QUEUE, no_declare=True)
        with connection.Consumer(queue, on_message=handle, prefetch_count=PREFETCH, accept=None):
            while True:
                connection.drain_events()


def main():
    """Start a child as often as it dies."""
    work = {"ours": ours, "fixed": fixed}[sys.argv[1]]
    while True:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            work()
            os._exit(0)
        signal.signal(signal.SIGTERM, lambda *_, child=child: (os.kill(child, signal.SIGKILL), os._exit(0)))
        os.waitpid(child, 0)
        print("crashed", flush=True)


if __name__ == "__main__":
    main()

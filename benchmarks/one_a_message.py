"""A service whose relay puts each event into a message of its own: ``python -m benchmarks.one_a_message SERVICE …``.

Only the comparison with the broker's own limit needs it: there, too, each message holds one event.
"""

import sys

from xinhuo.cli import process

if __name__ == "__main__":
    process.prepare()
    from xinhuo.contracts import codec

    codec.MAX_BATCH_EVENTS = 1
    sys.exit(process.main(sys.argv[1:]))

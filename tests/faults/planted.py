"""Runs one process of a service with a defect planted in it, to see whether the checker finds what that does.

``python -m tests.faults.planted DEFECT SERVICE --role ROLE --port PORT``; the product has no switch for any of these.
"""

import os
import sys

DEFECTS = ("ack_before_commit", "no_inbox", "publish_after_commit")


def plant(defect: str) -> None:
    """Change the product in this process."""
    {"ack_before_commit": _ack_before_commit, "no_inbox": _no_inbox, "publish_after_commit": _publish_after_commit}[
        defect
    ]()


def _ack_before_commit() -> None:
    """Acknowledge a batch first, and only then let it have its effect, as a handler with `no_ack` would."""
    from xinhuo.chassis.adapters.amqp import BatchConsumer

    settle = BatchConsumer._settle

    def acknowledge_first(self, connection, channel, stop):  # type: ignore[no-untyped-def]
        channel.basic_ack(self._buffer[-1].tag, multiple=True)
        return settle(self, connection, _Deaf(channel), stop)

    BatchConsumer._settle = acknowledge_first  # type: ignore[method-assign]


class _Deaf:
    """A channel on which everything is acknowledged already."""

    def __init__(self, channel):  # type: ignore[no-untyped-def]
        self._channel = channel

    def basic_ack(self, *_arguments: object, **_options: object) -> None:
        """Do nothing."""

    basic_reject = basic_ack


def _no_inbox() -> None:
    """Take every delivery for a new event."""
    from xinhuo.chassis import inbox

    def all_are_new(_session, _handler, offered):  # type: ignore[no-untyped-def]
        return inbox.Claim(frozenset(event_id for event_id, _ in offered), frozenset())

    inbox.claim = all_are_new


def _publish_after_commit() -> None:
    """Publish what was recorded once the transaction is committed, and keep nothing in the outbox to do it again."""
    import threading

    from sqlalchemy import event

    from xinhuo.chassis import db, faultpoints, outbox
    from xinhuo.chassis.adapters.amqp import ConfirmingPublisher
    from xinhuo.chassis.topology import events_exchange, routing_key
    from xinhuo.chassis.wire import Outgoing
    from xinhuo.contracts import codec

    publisher = ConfirmingPublisher(os.environ["AMQP_URI"], name="planted", confirm_seconds=5)
    one_at_a_time = threading.Lock()
    point, reach = "after_commit_before_answer", faultpoints.reach
    # Only between commit and publishing does the defect show: where the product itself reaches the point, all is sent.
    faultpoints.reach = lambda name: None if name == point else reach(name)

    def note(session):  # type: ignore[no-untyped-def]
        pending = session.info.pop(outbox._PENDING, [])
        if not pending:
            return
        outbox._write(session, pending)
        ids = [envelope.id for envelope, _ in pending]
        session.execute(db.sa.text("UPDATE outbox SET published_at = now() WHERE id = ANY(:ids)"), {"ids": ids})
        session.info.setdefault("planted", []).extend(pending)

    def dispatch(session):  # type: ignore[no-untyped-def]
        pending = session.info.pop("planted", [])
        if not pending or session.in_nested_transaction():
            return
        reach(point)
        with one_at_a_time:
            publisher.publish(
                [
                    Outgoing(
                        events_exchange(envelope.data.publisher), routing_key(envelope.type), payload,
                        codec.CONTENT_TYPE, str(envelope.id), envelope.type, False,
                    )
                    for envelope, payload in pending
                ]
            )  # fmt: skip

    outbox.write_pending = outbox.write_at_commit = note
    event.listen(db.Session, "after_commit", dispatch)


if __name__ == "__main__":
    from xinhuo.cli import process

    process.prepare()
    plant(sys.argv[1])
    sys.exit(process.main(sys.argv[2:]))

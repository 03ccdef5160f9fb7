"""``python -m benchmarks.sizes``: the room of a volunteer in the database, and of a waiting message at the broker.

What it prints goes into ``tools/sizing.toml``.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from uuid import UUID

from services.volunteers.service import Volunteers
from tests.support.hours import World
from tests.support.rabbit import RabbitNode
from tests.support.services import make_service
from tools.event_files import sample
from xinhuo.chassis import migrations
from xinhuo.chassis.adapters import amqp_topology
from xinhuo.chassis.adapters.amqp import ConfirmingPublisher
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.topology import events_exchange, routing_key
from xinhuo.chassis.wire import Outgoing
from xinhuo.cli import build
from xinhuo.contracts import codec
from xinhuo.contracts.volunteers import HoursLogged

from .servers import database_of_its_own, servers

_BATCH = 500
_ROOM = (
    "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class AS c"
    " WHERE c.relnamespace = 'volunteers'::regnamespace AND c.relkind = 'r'"
)


def main() -> int:
    """Measure both and print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__)
    parser.add_argument("--volunteers", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=50_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xinhuo-sizes-") as name, servers(Path(name)) as (node, url):
        found = {
            "bytes_of_volunteer": of_volunteer(database_of_its_own(url, "sizes"), options.volunteers),
            **of_message(node, options.messages),
        }
    print(json.dumps(found))
    return 0


def of_volunteer(url: str, count: int) -> int:
    """Register people as an office does and return how many bytes each added to the schema, with indexes and key."""
    service = make_service(Volunteers, url)
    db = service.runtime.db
    migrations.upgrade(db, build.versions_of("volunteers"))
    world = World(service)

    def room() -> int:
        with db.as_owner() as connection:
            return int(connection.exec_driver_sql(_ROOM).scalar_one())

    before = room()
    for _ in range(count // _BATCH):
        world.add_volunteers(_BATCH)
    grown = room() - before
    db.close()
    return round(grown / (count // _BATCH * _BATCH))


def of_message(node: RabbitNode, count: int) -> dict[str, int]:
    """Leave events of records in the queues that want them; return the queues, and the bytes of a message on disk."""
    uri, wanted = node.add_vhost("sizes"), build.full_topology()
    amqp_topology.declare(uri, wanted)
    binding = (events_exchange("volunteers"), routing_key(HoursLogged.topic))
    queues = sum(binding in queue.bindings for queue in wanted.queues)
    before = _room(node.folder)
    publisher = ConfirmingPublisher(uri, name="sizes", confirm_seconds=60)
    size = 0
    for _ in range(count // _BATCH):
        bodies = [codec.encode(_event(new_id())) for _ in range(_BATCH)]
        size = len(bodies[0])
        publisher.publish([_message(body, *binding) for body in bodies])
    publisher.close()
    grown = _room(node.folder) - before
    return {
        "queues": queues,
        "bytes_of_body": size,
        "bytes_of_message": round(grown / (count // _BATCH * _BATCH * queues)),
    }


def _event(event_id: UUID) -> codec.Envelope:
    one = sample(HoursLogged)
    return codec.Envelope(id=event_id, time=one.time, data=one.data, source=one.source, subject=one.subject)


def _message(body: bytes, exchange: str, key: str) -> Outgoing:
    return Outgoing(
        exchange=exchange, routing_key=key, body=body, content_type=codec.CONTENT_TYPE, message_id=new_id().hex,
        type=HoursLogged.topic, mandatory=True,
    )  # fmt: skip


def _room(folder: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    sys.exit(main())

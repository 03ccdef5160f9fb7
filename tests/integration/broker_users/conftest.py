"""A virtual host on a node with the management API, with the users that our commands make."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import fresh_vhost
from tests.support.broker_users import department, done, settings_of, uris_of
from tests.support.rabbit import RabbitNode

HOURS, STARS = "volunteers.hours_logged.v1", "awards.star_earned.v1"


@dataclass
class Installed:
    """The addresses of everybody: the deploy user's, the services', the departments'."""

    node: RabbitNode
    settings: dict[str, str]
    services: dict[str, str]
    traffic: str
    police: str

    @property
    def deploy(self) -> str:
        """The address of the deploy user, who may do everything."""
        return self.settings["AMQP_URI"]

    def of(self, who: str) -> str:
        """Return the address of a service, or of the department of traffic."""
        return self.services.get(who, self.traffic)


@pytest.fixture(scope="module")
def vhost(rabbit_node: RabbitNode) -> Iterator[str]:
    """The deploy user's address of a virtual host of this module's own."""
    yield from fresh_vhost(rabbit_node)


@pytest.fixture(scope="module")
def installed(rabbit_node: RabbitNode, vhost: str, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Everything declared, a user for each service, and two departments, one's code beginning with the other's."""
    data: Path = tmp_path_factory.mktemp("data")
    settings = settings_of(rabbit_node, vhost, data)
    done("topology", "apply", settings=settings)
    traffic = department(settings, "traffic", HOURS)
    police = department(settings, "traffic-police", HOURS, STARS)
    return Installed(rabbit_node, settings, uris_of(data), traffic, police)

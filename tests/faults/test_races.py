"""Fifty clients at the same rows at the same moment: each row is taken back once, the others are told, nobody hangs."""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.test import Client

from services.volunteers.service import Volunteers
from tests.support.hours import World, log
from tests.support.services import client_of, fetch, make_service, recorded
from tests.support.threads import at_once

CLIENTS, ENTRIES = 50, 12


@pytest.fixture
def service(database: str) -> Iterator[Volunteers]:
    made = make_service(Volunteers, database)
    yield made
    made.runtime.db.close()


@pytest.mark.timeout(180)
def test_fifty_clients_reverse_and_log_the_same_time_again(service: Volunteers) -> None:
    world = World(service)
    (volunteer,) = world.add_volunteers(1)
    bodies = [world.body(volunteer, f"2026-03-{day:02d} 09:00", f"2026-03-{day:02d} 11:00") for day in range(1, 13)]
    entries = [log(client_of(service), body)["id"] for body in bodies]
    answers: list[Any] = []

    def work(number: int, client: Client) -> None:
        for index in random.Random(number).sample(range(ENTRIES), ENTRIES):
            path = f"/v1/hours/{entries[index]}:reverse"
            answers.append(("reverse", entries[index], client.post(path, json={"reason_code": "wrong_time"})))
            answers.append(("log", entries[index], client.post("/v1/hours", json=bodies[index])))

    # Made here: werkzeug compiles its rules, and Python 3.11 builds syntax trees in one thread at a time only.
    clients = [client_of(service) for _ in range(CLIENTS)]
    at_once([lambda one=one: work(*one) for one in enumerate(clients)])

    statuses = Counter((what, answer.status_code) for what, _, answer in answers)
    assert statuses["reverse", 201] == ENTRIES
    assert statuses["reverse", 409] == (CLIENTS - 1) * ENTRIES
    assert statuses["log", 201] == ENTRIES, statuses
    assert statuses["log", 200] == (CLIENTS - 1) * ENTRIES, statuses
    refused = [answer.get_json() for what, _, answer in answers if answer.status_code == 409]
    assert all(problem["code"] and problem["trace_id"] for problem in refused)
    [total] = fetch(service, "SELECT sum(minutes) AS minutes, count(*) AS rows FROM ledger_entries")
    assert (total["minutes"], total["rows"]) == (ENTRIES * 120, ENTRIES * 3)
    events = Counter(envelope.type for envelope in recorded(service) if "hours" in envelope.type)
    assert events == {"volunteers.hours_logged.v1": ENTRIES * 2, "volunteers.hours_reversed.v1": ENTRIES}

"""Requests that are a lot of work take turns, so that a rush of them leaves something to the others."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest
from werkzeug.test import Client

from tests.support.identity import for_everybody
from tests.support.services import client_of, make_service
from tests.support.waiting import wait_for
from xinhuo.chassis.errors import RuleError
from xinhuo.chassis.identity.rights import PUBLIC_RIGHT
from xinhuo.chassis.markers import http
from xinhuo.chassis.service import Service

AT_ONCE, ALL = 2, 6


class TooHeavy(RuleError):
    """It cannot be lifted"""

    code = "movers.too_heavy"
    title = "搬不动"


@for_everybody
class Movers(Service):
    """Carries pianos, which takes until somebody opens the door."""

    name = "movers"
    door = threading.Event()
    at_work: ClassVar[list[int]] = []

    @http("POST", "/v1/pianos", right=PUBLIC_RIGHT, at_once=AT_ONCE)
    def carry(self, session):
        self.at_work.append(1)
        try:
            assert self.door.wait(30)
            return {"together": len(self.at_work)}
        finally:
            self.at_work.pop()

    @http("POST", "/v1/safes", right=PUBLIC_RIGHT, at_once=1)
    def drop(self, session):
        raise TooHeavy("搬不动，请分几次搬。", "It is too heavy; carry it in parts.")

    @http("GET", "/v1/boxes", right=PUBLIC_RIGHT)
    def boxes(self, session):
        return {}


@pytest.fixture
def client() -> Client:
    # The routes above ask nothing of the session, so no connection is ever opened.
    Movers.door.clear()
    return client_of(make_service(Movers, "postgresql://nobody@127.0.0.1:1/nothing"))


def test_no_more_are_worked_on_at_once_than_the_route_says_and_all_are_answered(client):
    with ThreadPoolExecutor(ALL) as pool:
        sent = [pool.submit(client.post, "/v1/pianos") for _ in range(ALL)]
        try:
            wait_for(lambda: len(Movers.at_work) == AT_ONCE, what="those whose turn it is")
            assert client.get("/v1/boxes").status_code == 200  # other routes wait for nobody
        finally:
            Movers.door.set()
        answers = [one.result(30) for one in sent]

    assert [answer.status_code for answer in answers] == [200] * ALL
    assert max(answer.json["together"] for answer in answers) <= AT_ONCE


def test_a_refused_request_gives_its_turn_back(client):
    assert [client.post("/v1/safes").status_code for _ in range(3)] == [TooHeavy.status] * 3

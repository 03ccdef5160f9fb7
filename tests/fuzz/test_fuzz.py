"""Each service is fuzzed, and a service with planted faults is found out."""

import os
import random
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from marshmallow import fields as mf
from sqlalchemy.orm import Session

from services.notify.service import Notify
from tests.fuzz.run import fuzz
from tests.fuzz.target import Target
from tests.integration.rights.world import World
from tests.support.identity import verifier
from tests.support.services import make_service
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.errors import NotFound
from xinhuo.chassis.markers import http
from xinhuo.chassis.web.schema import Integer, Schema
from xinhuo.cli.build import make_app

#: How many requests each service gets at least; the nightly stage asks for thousands, and then in all phases.
ASKED = int(os.environ.get("XINHUO_TEST_FUZZ", "300"))
SEED = int(os.environ.get("XINHUO_TEST_FUZZ_SEED", random.randrange(2**31)))

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def world(database: str) -> Iterator[World]:
    """All services, filled."""
    made = World(database)
    yield made
    made.close()


@pytest.mark.parametrize("name", SERVICES)
def test_no_request_that_schemathesis_thinks_of_breaks_a_service_or_its_promises(world: World, name: str) -> None:
    report = fuzz(Target(world, name, SEED), asked=ASKED, quick=ASKED < 1000)
    print(f"seed {SEED}: {report}")  # XINHUO_TEST_FUZZ_SEED makes the same requests again
    assert report.failures == []
    assert report.server_errors == 0
    assert report.requests >= ASKED
    answered = sum(reached > 0 for reached, _ in report.routes.values())
    assert answered >= len(report.routes) / 3, report.routes


class _Answer(Schema):
    number = Integer()


class _Loose(Schema):
    """Takes any number, whatever it says."""

    number = mf.Raw(required=True, metadata={"type": "integer", "minimum": 7})


class _Undocumented(NotFound):
    """An error of the tests that stands in no documentation"""

    code = "fuzz.undocumented"
    title = "测试用错误"


class Broken(Notify):
    """Notify with a route for each kind of fault."""

    name: ClassVar[str] = "notify"

    @http("GET", "/v1/planted/crash", right="statistics:read", returns=_Answer)
    def crash(self, session: Session) -> dict[str, Any]:
        """Fail as no route may."""
        raise ZeroDivisionError

    @http("GET", "/v1/planted/other", right="statistics:read", returns=_Answer)
    def other(self, session: Session) -> dict[str, Any]:
        """Answer what the schema does not say."""
        return {"number": None}

    @http("GET", "/v1/planted/nowhere", right="statistics:read", returns=_Answer)
    def nowhere(self, session: Session) -> dict[str, Any]:
        """Raise an error that is not documented."""
        raise _Undocumented("没有。", "There is none.")

    @http("GET", "/v1/planted/english", right="statistics:read", returns=_Answer, errors=(_Undocumented,))
    def english(self, session: Session) -> dict[str, Any]:
        """Raise an error in one language only."""
        raise _Undocumented("There is none.", "There is none.")

    @http("POST", "/v1/planted/loose", right="statistics:read", accepts=_Loose(), returns=_Answer)
    def loose(self, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        """Take what the schema forbids."""
        return {"number": 1}


def test_planted_faults_are_found(world: World, database: str) -> None:
    service = make_service(Broken, database)
    service.runtime.verifier = verifier()
    report = fuzz(Target(world, "notify", SEED, make_app(service)), asked=300)
    service.runtime.db.close()
    found = {(one.check, one.route) for one in report.failures if "/planted/" in one.route}
    assert ("not_a_server_error", "GET /v1/planted/crash") in found
    assert ("response_schema_conformance", "GET /v1/planted/other") in found
    assert ("documented_problem", "GET /v1/planted/nowhere") in found
    assert ("both_languages", "GET /v1/planted/english") in found
    assert ("negative_data_rejection", "POST /v1/planted/loose") in found
    assert not report.fine


def test_a_run_that_sent_fewer_requests_than_asked_has_failed(world: World) -> None:
    report = fuzz(Target(world, "notify", SEED), asked=1, quick=True)
    assert report.fine
    report.asked = report.requests + 1
    assert not report.fine

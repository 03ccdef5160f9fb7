"""A school with a team, an activity, a volunteer and everybody who claims, decides or looks on; another beside it."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from werkzeug.test import Client, TestResponse

from services.volunteers.service import Volunteers
from tests.support.hours import World, id_number, person
from tests.support.identity import bearing, verifier
from tests.support.services import client_of, fetch, recorded
from xinhuo.chassis.identity.actor import Actor
from xinhuo.cli.build import make_app
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed

EVIDENCE = "签到表第3页，编号 QD-17"
SPAN = ("2026-03-05 09:00", "2026-03-05 11:00")
PARENT = {"guardian_name": "测试家长", "guardian_phone": "14200010000", "relation": "mother"}


def code(answer: TestResponse) -> tuple[int, str]:
    """Return the status of an answer and the code of its problem."""
    return answer.status_code, (answer.json or {}).get("code", "")


class Scene:
    """The school, asked through its door with tokens."""

    def __init__(self, service: Volunteers) -> None:
        service.runtime.verifier = verifier()
        self.service = service
        self.world = World(service)
        self.door = Client(make_app(service))
        self.office = client_of(service)
        unit, team = self.world.unit_code, self.world.team_code
        self.volunteer = self.world.add_volunteers(1)[0]
        self.me = Actor(uuid4(), "volunteer", volunteer=self.volunteer)
        self.parent = Actor(uuid4(), "guardian", wards=(self.volunteer,))
        self.leader = Actor(uuid4(), "team_leader", unit, team)
        self.operator, self.other = Actor(uuid4(), "unit_operator", unit), Actor(uuid4(), "unit_operator", unit)
        self.clerk, self.admin = Actor(uuid4(), "clerk"), Actor(uuid4(), "bureau_admin")
        self.stranger = Actor(uuid4(), "unit_operator", World(service).unit_code)

    # --- Asking -------------------------------------------------------------------------------------------

    def post(self, who: Actor, path: str, body: Any = None, **headers: str) -> TestResponse:
        return self.door.post(path, json=body, headers={**bearing(who), **headers})

    def get(self, who: Actor, path: str) -> dict[str, Any]:
        answer = self.door.get(path, headers=bearing(who))
        assert answer.status_code == 200, answer.text
        return answer.json or {}

    def body(self, *span: Any, one: UUID | None = None, evidence: str = EVIDENCE, **fields: Any) -> dict[str, Any]:
        return self.world.body(one or self.volunteer, *(span or SPAN), evidence=evidence, **fields)

    def claim(self, who: Actor, *span: Any, **fields: Any) -> TestResponse:
        return self.post(who, "/v1/claims", self.body(*span, **fields))

    def claimed(self, who: Actor, *span: Any, **fields: Any) -> dict[str, Any]:
        """Claim hours, which must be new, and return the claim."""
        answer = self.claim(who, *span, **fields)
        assert answer.status_code == 201, answer.text
        return answer.json or {}

    def decide(self, who: Actor, claim: Any, verb: str, **body: Any) -> TestResponse:
        return self.post(who, f"/v1/claims/{claim}:{verb}", body or None)

    def approve(self, who: Actor, claim: dict[str, Any]) -> TestResponse:
        return self.decide(who, claim["id"], "approve")

    def refuse(self, who: Actor, claim: dict[str, Any], reason: str = "签到表上没有本人") -> TestResponse:
        return self.decide(who, claim["id"], "refuse", reason=reason)

    def entry(self, *span: Any, one: UUID | None = None) -> dict[str, Any]:
        """Log hours as the operator and return the entry."""
        answer = self.post(self.operator, "/v1/hours", self.world.body(one or self.volunteer, *(span or SPAN)))
        assert answer.status_code == 201, answer.text
        return answer.json or {}

    def reverse(self, who: Actor, entry: dict[str, Any], reason: str = "wrong_time") -> TestResponse:
        return self.post(who, f"/v1/hours/{entry['id']}:reverse", {"reason_code": reason})

    def child(self, *, consented: bool) -> UUID:
        """Register somebody of twelve years."""
        born = date(datetime.now(UTC).year - 12, 1, 2)
        consent = {"guardian_consent": {**PARENT, "consented_on": "2026-03-01"}} if consented else {}
        made = self.office.post(
            "/v1/volunteers", json=person(self.world.unit_code, id_number=id_number(born), **consent)
        )
        assert made.status_code == 201, made.text
        return UUID((made.json or {})["id"])

    # --- Looking ------------------------------------------------------------------------------------------

    def ledger(self, one: UUID | None = None) -> list[dict[str, Any]]:
        return fetch(
            self.service,
            "SELECT id, kind, minutes, source, recorded_by, approved_by FROM ledger_entries"
            " WHERE volunteer_id = :one ORDER BY id",
            one=one or self.volunteer,
        )

    def told(self, one: UUID | None = None) -> list[str]:
        """Return which events there are about the hours of a volunteer."""
        found = [envelope.data for envelope in recorded(self.service)]
        one = one or self.volunteer
        return [
            type(data).__name__ for data in found
            if isinstance(data, HoursLogged | HoursReversed) and data.volunteer_id == one
        ]  # fmt: skip

    def audited(self, object_id: Any) -> list[tuple[str, Any, str | None]]:
        found = fetch(
            self.service, "SELECT action, subject, reason FROM audit_log WHERE object_id = :id ORDER BY seq",
            id=str(object_id),
        )  # fmt: skip
        return [(row["action"], row["subject"], row["reason"]) for row in found]

    def execute(self, statement: str, **parameters: Any) -> None:
        with self.service.runtime.db.transaction() as session:
            session.execute(sa.text(statement), parameters)

"""Two schools of two districts, each with a team, an activity and people, and everybody who may ask about them."""

import itertools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from werkzeug.test import Client, TestResponse

from services.awards.service import Awards
from services.notices.service import Notices
from services.notify.service import Notify
from services.portal import passwords
from services.portal.service import Portal
from services.volunteers.commands.claims import make_claim
from services.volunteers.domain import OFFICE_ZONE
from services.volunteers.imports_service import XLSX
from services.volunteers.schemas.claims import ClaimHours
from services.volunteers.service import Volunteers
from services.volunteers.workbooks import HoursRow, workbook_of
from tests.support.hours import id_number
from tests.support.identity import SOMEBODY, bearing, verifier
from tests.support.portal import QUICK
from tests.support.services import client_of, deliver, delivery_of, fetch, make_service, recorded
from xinhuo.chassis import audit, ladder
from xinhuo.chassis.db import database_now
from xinhuo.chassis.identity.actor import Access, Actor, Reach, grant
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.service import Service
from xinhuo.cli.build import make_app
from xinhuo.contracts.awards import StarEarned
from xinhuo.contracts.volunteers import HoursLogged

from . import accounts

NAME = "测试员甲"
SERVICES: tuple[type[Service], ...] = (Notices, Volunteers, Awards, Notify, Portal)


@dataclass
class Person:
    """A volunteer, with what a workbook names one by."""

    id: UUID
    number: str
    volunteer_no: str


@dataclass
class Place:
    """A unit under a district, with one of everything; of what is made up, there is nothing anywhere."""

    unit: str
    team: str
    activity: UUID
    activity_number: str
    people: list[Person]
    notice: UUID = field(default_factory=uuid4)
    entry: UUID = field(default_factory=uuid4)
    claim: UUID = field(default_factory=uuid4)
    reversal: UUID = field(default_factory=uuid4)
    hours_import: UUID = field(default_factory=uuid4)
    message: UUID = field(default_factory=uuid4)
    account: UUID = field(default_factory=uuid4)
    made_up: bool = False

    @property
    def volunteer(self) -> UUID:
        return self.people[0].id


@dataclass(frozen=True)
class Ask:
    """A request, without who asks."""

    path: str
    json: Any = None
    data: bytes | None = None
    content_type: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


def made_up() -> Place:
    """Return a place that is nowhere."""
    mark = uuid4().hex[:6].upper()
    person = Person(uuid4(), id_number(), f"V{mark}")
    return Place(f"NO-{mark}", f"NOT-{mark}", uuid4(), f"HD-2026-{mark}", [person], made_up=True)


class World:
    """All services, filled; ``here`` is what most actors are of, ``there`` is foreign to them."""

    def __init__(self, database: str) -> None:
        self._serial, self._long_days = itertools.count(1), itertools.count()
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(passwords, "hasher", QUICK)
        self.services: dict[str, Service] = {}
        self.doors: dict[str, Client] = {}
        self.office: dict[str, Client] = {}
        for service_class in SERVICES:
            service = make_service(service_class, database)
            service.runtime.verifier = verifier()
            self.services[service.name] = service
            self.doors[service.name] = Client(make_app(service))
            self.office[service.name] = client_of(service)
        for district, school in (("QU-1", "XX-1"), ("QU-2", "XX-2")):
            self.add_unit(district)
            self.add_unit(school, district)
        self.hear_of_units()
        # Of fewer than five persons together, nothing is public.
        self.here, self.there = self.place("XX-1", "DUI-1", 5), self.place("XX-2", "DUI-2", 2)
        self.actors = {
            role: [accounts.seated(self.portal, who) for who in them] for role, them in _actors(self.here).items()
        }
        other = accounts.seated(self.portal, actor("unit_operator", unit="XX-2"))
        self.operators = {"XX-1": self.actors["unit_operator"][0], "XX-2": other}
        for place in (self.here, self.there):
            place.hours_import, place.account = self.import_at(place), self.account_at(place)
            for service in self.services:
                self.note(service, SOMEBODY, place.volunteer)
            self.make("volunteers", f"/v1/volunteers/{place.volunteer}:request-erasure")
        self._tell_the_others()

    def close(self) -> None:
        self._patch.undo()
        for service in self.services.values():
            service.runtime.db.close()

    @property
    def portal(self) -> Portal:
        found = self.services["portal"]
        assert isinstance(found, Portal)
        return found

    # --- Asking -------------------------------------------------------------------------------------------

    def ask(self, who: Actor | None, service: str, method: str, ask: Ask, **options: Any) -> TestResponse:
        """Send a request through the door of a service."""
        headers = {**ask.headers, **(bearing(who, **options) if who else {})}
        return self.doors[service].open(
            ask.path, method=method, json=ask.json, data=ask.data, content_type=ask.content_type, headers=headers
        )

    def listed(self, who: Actor, service: str, path: str) -> list[dict[str, Any]]:
        """Return what all pages of a list hold."""
        found: list[dict[str, Any]] = []
        while path:
            answer = self.ask(who, service, "GET", Ask(path))
            assert answer.status_code == 200, answer.text
            found += (answer.json or {})["items"]
            path = answer.headers.get("Link", "").split(">")[0].removeprefix("<")
        return found

    @contextmanager
    def untouched(self, service: str) -> Iterator[None]:
        """Fail if the service so much as asks its database."""

        def transaction() -> None:
            raise AssertionError("the database was asked")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.services[service].runtime.db, "transaction", transaction)
            yield

    def effects(self, service: str) -> list[dict[str, Any]]:
        """Return what differs when a request of a service had an effect: events, rows, and what state these are in."""
        counts = {
            "notices": "outbox, units, notices",
            "volunteers": "outbox, volunteers, teams, team_members, activities, ledger_entries, service_spans",
            "notify": "outbox, messages WHERE read_at IS NOT NULL",
            "awards": "outbox, stars",
            "portal": "outbox, accounts, links, sessions, clients, client_keys",
        }[service]
        ask = [f"(SELECT count(*) FROM {what})" for what in counts.split(", ")]  # noqa: S608 - our own tables
        if service == "volunteers":
            ask.append("(SELECT count(*) FROM volunteers WHERE state = 'verified')")
            ask.append("(SELECT count(*) FROM volunteers WHERE state IN ('suspended', 'left'))")
            ask.append("(SELECT count(*) FROM corrections)")
            ask.append("(SELECT count(*) FROM consent_records)")
            ask.append("(SELECT count(*) FROM erasure_requests WHERE decided_at IS NOT NULL)")
            ask.append("(SELECT count(*) FROM erasure_requests)")
            ask.append("(SELECT count(*) FROM consent_records WHERE withdrawn_at IS NOT NULL)")
            ask.append("(SELECT count(*) FROM imports WHERE state <> 'checked')")
            for table in ("hour_claims", "reversal_requests"):
                ask.append(f"(SELECT count(*) FROM {table})")  # noqa: S608
                ask.append(f"(SELECT count(*) FROM {table} WHERE decided_at IS NOT NULL)")  # noqa: S608
        if service == "portal":
            ask.append("(SELECT sum(revision) FROM accounts)")
        return fetch(self.services[service], f"SELECT ARRAY[{', '.join(ask)}] AS found")

    def account_at(self, place: Place) -> UUID:
        """Return a new account of a leader of a place."""
        return uuid4() if place.made_up else accounts.leader_of(self.portal, place.unit, place.team)

    def note(self, service: str, who: Actor, about: UUID) -> None:
        """Write down in the audit log of a service that somebody did something to a volunteer."""
        with self.services[service].runtime.db.transaction() as session:
            audit.record(session, "volunteer.noted", "volunteer", about, access=Access(who, "test", Reach.ALL))

    # --- Making -------------------------------------------------------------------------------------------

    def serial(self) -> int:
        return next(self._serial)

    def make(self, service: str, path: str, form: dict[str, Any] | None = None) -> dict[str, Any]:
        """Have the office make something."""
        answer = self.office[service].post(path, json=form) if form is not None else self.office[service].post(path)
        assert answer.status_code < 300, answer.text
        made: dict[str, Any] = answer.json  # type: ignore[assignment]
        return made

    def add_unit(self, code: str, parent: str | None = None) -> None:
        form = {"code": code, "name": f"测试单位{code}", "kind": "middle_school"}
        self.make("notices", "/v1/units", form if parent is None else {**form, "parent_code": parent})

    def move_unit(self, code: str, parent: str | None) -> None:
        """Put a unit under another one, and let everybody hear of it."""
        path, form = f"/v1/units/{code}", {"parent_code": parent}
        answer = self.office["notices"].patch(path, json=form, headers={"If-Match": "*"})
        assert answer.status_code == 200, answer.text
        self.hear_of_units()

    def hear_of_units(self) -> None:
        told = [one for one in recorded(self.services["notices"]) if one.type.startswith("notices.unit_")]
        self._tell("volunteers", "follow_units", [(one.data, one.id) for one in told])

    def span(self) -> tuple[datetime, datetime]:
        """Return half an hour in which nobody served yet."""
        days, slot = divmod(self.serial(), 40)
        midnight = datetime.combine(date(2026, 1, 1) + timedelta(days), time(0), OFFICE_ZONE)
        starts = midnight + timedelta(minutes=30 * slot)
        return starts, starts + timedelta(minutes=30)

    def hours(self, place: Place, person: Person | None = None) -> dict[str, Any]:
        """Return a body of hours at the activity of a place; the person is by default of our school."""
        starts, ends = self.span()
        volunteer = (person or self.here.people[0]).id
        span = {"started_at": starts.astimezone(UTC).isoformat(), "ended_at": ends.astimezone(UTC).isoformat()}
        return {"volunteer_id": str(volunteer), "activity_id": str(place.activity), **span}

    def entry_at(self, place: Place) -> UUID:
        """Return a new entry at a place."""
        return uuid4() if place.made_up else UUID(self.make("volunteers", "/v1/hours", self._body_at(place))["id"])

    def claim_at(self, place: Place, who: Actor | None = None) -> UUID:
        """Return a new claim of the first volunteer of a place that waits, by default made by the office."""
        if place.made_up:
            return uuid4()
        form = {**self._body_at(place), "evidence": "签到表第3页"}
        if who is None:
            return UUID(self.make("volunteers", "/v1/claims", form)["id"])
        service = self.services["volunteers"]
        with service.runtime.db.transaction() as session:
            grant(session, Access(who, "hours:claim", Reach.ALL))
            made, _ = make_claim(session, service.runtime.keys, ClaimHours().load(form), now=database_now(session))
        return made

    def reversal_at(self, place: Place) -> UUID:
        """Return a new request to take nine hours of the first volunteer of a place back."""
        if place.made_up:
            return uuid4()
        day = f"{date(2025, 1, 1) + timedelta(days=next(self._long_days))}"
        span = {"started_at": f"{day}T08:00", "ended_at": f"{day}T17:00"}
        entry = self.make("volunteers", "/v1/hours", {**self._body_at(place), **span})
        asked = self.make("volunteers", f"/v1/hours/{entry['id']}:reverse", {"reason_code": "wrong_time"})
        return UUID(asked["id"])

    def person_at(self, place: Place, **fields: Any) -> dict[str, Any]:
        """Return what registers a new person of a unit, in its team."""
        number = id_number(date(1985, 1, 1) + timedelta(self.serial()))
        form = {"name": NAME, "id_number": number, "phone": self.phone()}
        return {**form, "unit_code": place.unit, "team_code": place.team, **fields}

    def pending_at(self, place: Place) -> UUID:
        """Return a new volunteer who waits to be verified."""
        if place.made_up:
            return uuid4()
        return UUID(self.make("volunteers", "/v1/volunteers", self.person_at(place))["id"])

    def phone(self) -> str:
        return f"1420001{self.serial():04d}"

    def suspended_at(self, place: Place) -> UUID:
        """Return a new volunteer who is suspended."""
        one = self.pending_at(place)
        if not place.made_up:
            self.make("volunteers", f"/v1/volunteers/{one}:suspend", {"reason_code": "conduct"})
        return one

    def come_back(self, place: Place) -> UUID:
        """Return the first volunteer of a place, who is brought back if he left."""
        if (
            not place.made_up
            and self.make("volunteers", f"/v1/volunteers/{place.volunteer}:resume")["verified_at"] is None
        ):
            self.make("volunteers", f"/v1/volunteers/{place.volunteer}:verify")
        return place.volunteer

    def consent_at(self, place: Place) -> UUID:
        """Return a new consent of the first volunteer of a place."""
        if place.made_up:
            return uuid4()
        made = self.make("volunteers", f"/v1/volunteers/{place.volunteer}/consents", {"purpose": "publication"})
        return UUID(made["id"])

    def erasure_at(self, place: Place) -> UUID:
        """Return a new request for the erasure of a new volunteer of a place."""
        if place.made_up:
            return uuid4()
        made = self.make("volunteers", f"/v1/volunteers/{self.pending_at(place)}:request-erasure")
        return UUID(made["id"])

    def notice_form(self, *units: str) -> dict[str, Any]:
        plan = {"code": "PLAN", "kind": "plan", "title": "报送方案", "receiver": "测试局", "lateness": "late_flag"}
        return {
            "number": f"测教办〔2021〕{self.serial()}号",
            "title": "关于开展志愿服务活动的通知",
            "issuers": [{"name": "测试区教育局"}],
            "issued_on": "2021-03-01",
            "period": {"starts": "2021-03", "ends": "2021-04"},
            "addressees": {"codes": list(units)},
            "categories": [{"code": "community", "name": "社区服务", "service_class": "0010"}],
            "obligations": [{**plan, "due_on": "2021-03-10", "due_phrase": "3月10日前"}],
        }

    def draft_to(self, *units: str) -> UUID:
        return UUID(self.make("notices", "/v1/notices", self.notice_form(*units))["id"])

    def issued_to(self, *units: str) -> UUID:
        notice = self.draft_to(*units)
        self.make("notices", f"/v1/notices/{notice}:issue")
        return notice

    def row(self, place: Place, person: Person | None = None) -> HoursRow:
        """Return a row of a workbook that names the activity of a place."""
        starts, ends = self.span()
        person = person or self.here.people[0]
        return HoursRow(
            NAME, person.number, "", place.activity_number, starts.date(), starts.time(), ends.time()
        )  # fmt: skip

    def workbook(self, *rows: HoursRow) -> Ask:
        """Return the request that has a workbook checked."""
        return Ask("/v1/imports", data=workbook_of(rows), content_type=XLSX)

    def check(self, who: Actor, *rows: HoursRow) -> dict[str, Any]:
        """Have a workbook checked and return the import."""
        answer = self.ask(who, "volunteers", "POST", self.workbook(*rows))
        assert answer.status_code == 201, answer.text
        shown: dict[str, Any] = answer.json  # type: ignore[assignment]
        return shown

    def confirm(self, who: Actor, import_id: Any) -> TestResponse:
        """Confirm an import and have it entered."""
        ask = Ask(f"/v1/imports/{import_id}:confirm", {"mode": "valid_rows"})
        answer = self.ask(who, "volunteers", "POST", ask)
        self.work()
        return answer

    def import_at(self, place: Place, *, done: bool = False) -> UUID:
        """Return a new import of the operator of a place, entered if so wanted."""
        if place.made_up:
            return uuid4()
        who = self.operators[place.unit]
        import_id = UUID(self.check(who, self.row(place, place.people[0]))["id"])
        if done:
            assert self.confirm(who, import_id).status_code == 202
        return import_id

    def work(self) -> None:
        """Do what a worker of imports does, until nothing waits."""
        service: Any = self.services["volunteers"]
        waiting = "SELECT FROM imports WHERE state IN ('confirmed', 'undoing')"
        while fetch(service, waiting):
            for job in (service.run_confirmed_imports, service.run_requested_undos):
                with service.runtime.db.transaction() as session:
                    job(session)

    def letter(self, name: str) -> UUID:
        """Return a new dead letter of a service."""
        service = self.services[name]
        ladder.bury_message(service.runtime.db, f"{name}.nobody", b"no event", "event.undecodable", "why")
        [newest] = fetch(service, "SELECT id FROM dead_letters ORDER BY died_at DESC LIMIT 1")
        found: UUID = newest["id"]
        return found

    def _body_at(self, place: Place) -> dict[str, Any]:
        return self.hours(place, place.people[0])

    def place(self, unit: str, team: str, persons: int) -> Place:
        self.make("volunteers", "/v1/teams", {"code": team, "name": "测试队", "unit_code": unit})
        form = {"title": "清洁家园", "team_code": team, "category": "community", "place": "社区广场"}
        made = self.make(
            "volunteers", "/v1/activities", {**form, "starts_at": "2025-01-01T00:00", "ends_at": "2026-12-31T00:00"}
        )
        place = Place(unit, team, UUID(made["id"]), made["number"], [])
        for _ in range(persons):
            asked = self.person_at(place)
            shown = self.make("volunteers", "/v1/volunteers", asked)
            self.make("volunteers", f"/v1/volunteers/{shown['id']}:verify")
            person = Person(UUID(shown["id"]), asked["id_number"], shown["volunteer_no"])
            place.people.append(person)
            place.entry = UUID(self.make("volunteers", "/v1/hours", self.hours(place, person))["id"])
        place.entry = self.entry_at(place)
        place.claim, place.reversal = self.claim_at(place), self.reversal_at(place)
        place.notice = self.issued_to(unit)
        return place

    def _tell_the_others(self) -> None:
        """Let the statistics, stars and messages follow, as the events would."""
        logged = recorded(self.services["volunteers"], HoursLogged.topic)
        self._tell("volunteers", "keep_statistics", [(one.data, one.id) for one in logged])
        self._tell("notify", "acknowledge_hours", [(one.data, one.id) for one in logged])
        for place in (self.here, self.there):
            of = {"team_code": place.team, "unit_code": place.unit, "activity_id": place.activity}
            days = [
                HoursLogged(
                    entry_id=new_id(), volunteer_id=place.volunteer, category="community",
                    served_on=date(2026, 2, day), minutes=1440, **of,
                )
                for day in range(1, 6)
            ]  # fmt: skip
            self._tell("awards", "add_to_tally", [(day, None) for day in days])
            own = {"volunteer": place.volunteer}
            found = fetch(self.services["notify"], "SELECT id FROM messages WHERE volunteer_id = :volunteer", **own)
            place.message = found[0]["id"]
        earned = recorded(self.services["awards"], StarEarned.topic)
        assert len(earned) == 2
        self._tell("notify", "acknowledge_star", [(one.data, one.id) for one in earned])

    def _tell(self, service: str, method: str, told: list[tuple[Any, UUID | None]]) -> None:
        deliver(self.services[service], method, [delivery_of(event, event_id=id_) for event, id_ in told])


def actor(role: str, **fields: Any) -> Actor:
    """Return somebody in a role."""
    return Actor(uuid4(), role, **fields)


def _actors(here: Place) -> dict[str, list[Actor]]:
    """Return who asks in each role; what is ``here`` is within the reach of all of them that have one."""
    actors = {role: [actor(role)] for role in ("bureau_admin", "clerk", "auditor", "privacy_officer")}
    actors |= {role: [actor(role)] for role in ("department", "ops", "service")}
    return actors | {
        "unit_operator": [actor("unit_operator", unit=here.unit), actor("unit_operator", unit="QU-1")],
        "team_leader": [actor("team_leader", unit=here.unit, team=here.team)],
        "volunteer": [actor("volunteer", unit=here.unit, team=here.team, volunteer=here.volunteer)],
        "guardian": [actor("guardian", wards=(here.volunteer, uuid4()))],
    }


def said(answer: TestResponse, place: Place) -> tuple[int, str]:
    """Return what an answer says whatever the place and its things are called, to be compared with another one's."""
    text = re.sub(r'"trace_id":"[0-9a-f]*"', "", answer.text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "…", text)
    for name in (place.unit, place.team, place.activity_number):
        text = text.replace(name, "…")
    return answer.status_code, text


def problem(answer: TestResponse) -> dict[str, Any]:
    """Return an answer that is a problem."""
    assert answer.content_type == "application/problem+json", answer.text
    found: dict[str, Any] = json.loads(answer.text)
    return found

"""Every flow that there is, with the canaries in it: what works, what is refused, and what fails."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pyotp

from services.volunteers.imports_service import XLSX
from services.volunteers.workbooks import HoursRow, workbook_of
from tests.support.campaign import notice_to
from tests.support.imports import disposition
from tests.support.installation import SERVICES
from tests.support.waiting import wait_for
from xinhuo.chassis.identity.actor import Actor

from . import people
from .people import ADULT, CHILD, CLERK, ERASED, GUARDIAN, REFUSED, SECOND, STRANGER, TYPED, WAITING
from .places import Watched, routes

UNIT, OTHER_UNIT, TEAM = "CANARY-1", "CANARY-2", "CANARY-T"
WHY = "核对报名材料"
_CUT = "ffffffff-ffff-7fff-bfff-ffffffffffff"
_DECISION = {"by": "ops-1", "why": "原因已排除"}
#: What goes wrong in a service's database, as a fault in the code or the disk would.
_BREAK = """
CREATE FUNCTION {schema}.break_down() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'broken at %', NEW USING ERRCODE = '{code}'; END $$;
CREATE TRIGGER break_down BEFORE INSERT OR UPDATE ON {schema}.{table}
    FOR EACH ROW EXECUTE FUNCTION {schema}.break_down()
"""
_MEND = "DROP TRIGGER break_down ON {schema}.{table}; DROP FUNCTION {schema}.break_down"


@dataclass
class Flows:
    """The canaries' way through the services; the order is that of an office's year."""

    watched: Watched
    folder: Path
    link: str
    """The one-time link of the first administrator, as the start showed it."""
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ask, self.make, self.refuse = self.watched.ask, self.watched.make, self.watched.refuse
        self.office = Actor(UUID(int=0xCA1), "bureau_admin")
        self.clerk = Actor(UUID(int=0xCA2), "clerk")
        self.operator = Actor(UUID(int=0xCA3), "unit_operator", unit=UNIT)
        self.officer = Actor(UUID(int=0xCA4), "privacy_officer")
        self.auditor = Actor(UUID(int=0xCA5), "auditor")
        self.ops = Actor(UUID(int=0xCA6), "ops")
        self.service = Actor(UUID(int=0xCA7), "service")

    def run(self) -> None:
        """Run everything."""
        for flow in (
            self.portal, self.notices, self.registrations, self.hours, self.imports, self.looks, self.failures,
            self.stars_and_messages, self.erasures, self.lists, self.commands, self.anything_typed_anywhere,
            self.watched.settle,
        ):  # fmt: skip
            flow()

    # --- Accounts -----------------------------------------------------------------------------------------

    def portal(self) -> None:
        """Accounts, sign-ins that work and that do not, second factors, clients and their keys."""
        post = "portal", "POST"
        self.refuse(422, *post, "/v1/activations", json={"secret": self.link, "password": CLERK.name})
        self.make(*post, "/v1/activations", None, {"secret": self.link, "password": people.PASSWORD})
        self.refuse(422, *post, "/v1/activations", json={"secret": self.link, "password": people.PASSWORD})
        for login, password in (
            ("admin", people.OTHER_PASSWORD), (people.WRONG_LOGIN, people.PASSWORD), (people.PASSWORD, "x"),
            (TYPED.id_number, TYPED.phone), (TYPED.name, TYPED.id_number),
        ):  # fmt: skip
            self.refuse(401, *post, "/v1/sessions", json={"login": login, "password": password})
        tokens = self._sign_in("admin", people.PASSWORD)
        admin = _bearing(tokens)
        form = {"login": "canary-clerk", "role": "clerk", "display_name": CLERK.name}
        account = self.make(*post, "/v1/accounts", admin, form)
        self.refuse(409, *post, "/v1/accounts", admin, json=form)
        self.refuse(422, *post, "/v1/accounts", admin, json={**form, "login": CLERK.name, "phone": CLERK.phone})
        path = f"/v1/accounts/{account['id']}"
        self.make("portal", "GET", path, admin)
        self.make("portal", "GET", "/v1/accounts", admin)
        self.make("portal", "PATCH", path, admin, {"display_name": CLERK.name}, headers={"If-Match": "*"})
        secret = self.make(*post, f"{path}:reset", admin)["secret"]
        self.make(*post, "/v1/activations", None, {"secret": secret, "password": people.OTHER_PASSWORD})
        me = _bearing(self._sign_in("canary-clerk", people.OTHER_PASSWORD))
        self.make("portal", "GET", "/v1/me", me)
        change = {"old": people.OTHER_PASSWORD, "new": f"{people.PASSWORD} 2"}
        self.refuse(422, *post, "/v1/me/password", me, json={**change, "old": TYPED.name})
        self.make(*post, "/v1/me/password", me, change)
        me = _bearing(tokens := self._sign_in("canary-clerk", change["new"]))
        factor = self.make(*post, "/v1/me/totp", me, {})["secret"]
        self.make(*post, "/v1/me/totp:confirm", me, {"code": pyotp.TOTP(factor).now()})
        self.ask(*post, "/v1/sessions", json={"login": "canary-clerk", "password": change["new"]})
        self.make(*post, "/v1/me/totp:remove", me, {"password": change["new"]})
        tokens = self._sign_in("canary-clerk", change["new"])
        tokens = self.make(*post, "/v1/sessions:refresh", None, {"refresh_token": tokens["refresh_token"]})
        me = _bearing(tokens)
        sessions = self.make("portal", "GET", "/v1/me/sessions", me)["items"]
        self.make(*post, f"/v1/me/sessions/{sessions[-1]['id']}:end", me)
        self.make(*post, "/v1/sessions:end", None, {"refresh_token": tokens["refresh_token"]})
        self.make("portal", "GET", "/v1/keys", None)
        client = {"name": "测试程序", "role": "department", "department_code": "canary", "scopes": ["keys:own"]}
        client_path = f"/v1/clients/{self.make(*post, '/v1/clients', admin, client)['id']}"
        self.make("portal", "GET", "/v1/clients", admin)
        self.make("portal", "PATCH", client_path, admin, {"name": "程序"}, headers={"If-Match": "*"})
        key = self.make(*post, f"{client_path}/keys", admin, {})
        self.make("portal", "GET", client_path, admin)
        program = _bearing(self.make(*post, "/v1/client-tokens", None, {"key": key["key"]}))
        self.make("portal", "GET", "/v1/me/keys", program)
        own = self.make(*post, f"/v1/me/keys/{key['prefix']}:rotate", program, {})
        self.make(*post, f"/v1/me/keys/{own['prefix']}:revoke", program)
        rotated = self.make(*post, f"{client_path}/keys/{key['prefix']}:rotate", admin, {})
        self.make(*post, f"{client_path}/keys/{rotated['prefix']}:revoke", admin)
        self.ask("portal", "GET", "/v1/oidc/start")
        self.ask("portal", "GET", "/v1/oidc/callback?state=canary")
        self.admin = admin

    def _sign_in(self, login: str, password: str) -> dict[str, Any]:
        found: dict[str, Any] = self.make(
            "portal", "POST", "/v1/sessions", None, {"login": login, "password": password}
        )
        return found

    # --- Notices, teams, people ---------------------------------------------------------------------------

    def notices(self) -> None:
        """Units, a notice, a team and an activity: nobody's data, and the ground for all else."""
        for code in (UNIT, OTHER_UNIT):
            form = {"code": code, "name": f"测试小学 {code}", "kind": "central_primary"}
            self.make("notices", "POST", "/v1/units", self.office, form)
        self.make(
            "notices", "PATCH", f"/v1/units/{UNIT}", self.office, {"name": "测试中心小学"}, headers={"If-Match": "*"}
        )
        self.make("notices", "GET", "/v1/units", self.office)
        self.make("notices", "GET", f"/v1/units/{UNIT}", self.office)
        made = self.make("notices", "POST", "/v1/notices", self.office, notice_to([UNIT], "CA7"))
        path = f"/v1/notices/{made['id']}"
        self.make("notices", "PATCH", path, self.office, {"title": "关于活动的通知"}, headers={"If-Match": "*"})
        self.make("notices", "POST", f"{path}:issue", self.office)
        self.make("notices", "GET", "/v1/notices", self.office)
        self.make("notices", "GET", path, self.office)
        self.make("notices", "GET", f"{path}/obligations", self.office)
        known = "SELECT (SELECT count(*) FROM volunteers.known_units) + (SELECT count(*) FROM volunteers.known_notices)"
        wait_for(lambda: self.watched.installation.scalar(known) == 3, 30, "volunteers to hear of them")
        team = {"code": TEAM, "name": "测试队", "unit_code": UNIT}
        self.make("volunteers", "POST", "/v1/teams", self.office, team)
        self.refuse(409, "volunteers", "POST", "/v1/teams", self.office, json=team)
        activity = {
            "title": "整理书屋", "team_code": TEAM, "category": "community", "notice": made["number"],
            "starts_at": "2021-03-01T00:00:00+08:00", "ends_at": "2021-03-31T00:00:00+08:00", "place": "书屋",
        }  # fmt: skip
        shown = self.make("volunteers", "POST", "/v1/activities", self.office, activity)
        self.ids["activity"], self.ids["activity number"] = shown["id"], shown["number"]

    def registrations(self) -> None:
        """Persons who are registered, children with a guardian and without, and those who are refused."""
        path = "/v1/volunteers"
        consent = {**GUARDIAN.guards(), "consented_on": "2026-01-15"}
        for name, form in (
            ("adult", ADULT.form(UNIT, team_code=TEAM)),
            ("second", SECOND.form(UNIT)),
            ("erased", ERASED.form(UNIT, team_code=TEAM)),
            ("child", CHILD.form(UNIT, team_code=TEAM, guardian_consent=consent)),
            ("waiting", WAITING.form(UNIT)),
        ):
            key = {"Idempotency-Key": f"canary-{name}"}
            made = self.make("volunteers", "POST", path, self.operator, form, headers=key)
            assert self.make("volunteers", "POST", path, self.operator, form, headers=key)["id"] == made["id"]
            self.ids[name] = made["id"]
        form = REFUSED.form(UNIT)
        for wrong in (
            {"id_number": people.wrong_digit(REFUSED.id_number)}, {"id_number": REFUSED.id_number[:15]},
            {"born_on": TYPED.born.isoformat()}, {"phone": f"{REFUSED.phone}77"}, {"unit_code": "NOWHERE"},
            {"name": f"{REFUSED.name}<7>"}, {"sex": "3"}, {REFUSED.name: REFUSED.id_number}, {"team_code": "NO-TEAM"},
            {"guardian_consent": {**consent, "guardian_phone": f"{GUARDIAN.phone}7"}},
        ):  # fmt: skip
            self.refuse(422, "volunteers", "POST", path, self.operator, json={**form, **wrong})
        self.refuse(409, "volunteers", "POST", path, self.operator, json=ADULT.form(UNIT))
        key = {"Idempotency-Key": "canary-adult"}
        self.refuse(422, "volunteers", "POST", path, self.operator, json=form, headers=key)
        self.refuse(400, "volunteers", "POST", path, self.operator, json=[form])
        broken = json.dumps(form, ensure_ascii=False).encode()[:-2]
        self.refuse(400, "volunteers", "POST", path, self.operator, data=broken, headers=_JSON)
        self.refuse(
            400, "volunteers", "POST", path, self.operator, data=json.dumps(form).encode("utf-16"), headers=_JSON
        )
        self.refuse(415, "volunteers", "POST", path, self.operator, data=form)
        consents = f"{path}/{self.ids['waiting']}/consents"
        given = {"purpose": "registration", "guardian": GUARDIAN.guards()}
        wrong_guardian = {**GUARDIAN.guards(), "guardian_name": f"{GUARDIAN.name}<"}
        self.refuse(422, "volunteers", "POST", consents, self.clerk, json={**given, "guardian": wrong_guardian})
        self.ids["consent"] = self.make("volunteers", "POST", consents, self.clerk, given)["id"]
        self.make("volunteers", "GET", consents, self.clerk)
        for name in ("adult", "second", "erased", "child", "waiting"):
            self.make("volunteers", "POST", f"{path}/{self.ids[name]}:verify", self.operator)
        self.make("volunteers", "POST", f"/v1/consents/{self.ids['consent']}:withdraw", self.clerk)
        member = {"volunteer_id": self.ids["second"]}
        self.make("volunteers", "POST", f"/v1/teams/{TEAM}/members", self.operator, member)

    # --- Hours --------------------------------------------------------------------------------------------

    def hours(self) -> None:
        """Hours that are logged, refused and taken back."""
        first = self.make("volunteers", "POST", "/v1/hours", self.operator, self._served("adult", 1))
        self.ids["entry"] = first["id"]
        items = [self._served("adult", day) for day in (2, 3, 4, 5)]
        items += [self._served("child", 6), self._served("waiting", 7), self._served("erased", 8)]
        self.make("volunteers", "POST", "/v1/hours:batch", self.operator, {"items": items})
        second = self.make("volunteers", "POST", "/v1/hours", self.operator, self._served("second", 9))
        body = {"reason_code": "wrong_time"}
        self.make("volunteers", "POST", f"/v1/hours/{second['id']}:reverse", self.operator, body)
        overlapping = {**self._served("adult", 1), "minutes": 60}
        self.refuse(409, "volunteers", "POST", "/v1/hours", self.operator, json=overlapping)
        unknown = {**self._served("adult", 1), "volunteer_id": ADULT.id_number, "name": ADULT.name}
        self.refuse(422, "volunteers", "POST", "/v1/hours", self.operator, json=unknown)

    def _served(self, who: str, day: int) -> dict[str, Any]:
        return {
            "volunteer_id": self.ids[who], "activity_id": self.ids["activity"],
            "started_at": f"2021-03-{day:02d}T00:00:00+08:00", "ended_at": f"2021-03-{day + 1:02d}T00:00:00+08:00",
        }  # fmt: skip

    def imports(self) -> None:
        """Workbooks with good and bad rows: checked, confirmed, undone; and files that are none."""
        good, wrong = self._row(SECOND, 11), people.wrong_digit(REFUSED.id_number)
        rows = [
            good, self._row(ADULT, 12), self._row(STRANGER, 13), good,
            HoursRow(REFUSED.name, wrong, "", self.ids["activity number"], "2021-03-14", "09:00", "11:00"),
            HoursRow(ADULT.name, SECOND.id_number, "", TYPED.name, REFUSED.phone, TYPED.name, TYPED.phone, TYPED.phone),
        ]  # fmt: skip
        name = f"{SECOND.name}的时数.xlsx"
        book = workbook_of(rows)
        upload = {"data": book, "headers": {"Content-Type": XLSX, "Content-Disposition": disposition(name)}}
        answer = self.ask("volunteers", "POST", "/v1/imports", self.clerk, **upload)
        assert answer.status_code == 201, answer.text
        path = f"/v1/imports/{answer.json()['id']}"
        self.ids["import"] = answer.json()["id"]
        self.refuse(409, "volunteers", "POST", f"{path}:confirm", self.clerk, json={"mode": "all"})
        self.make("volunteers", "POST", f"{path}:confirm", self.clerk, {"mode": "valid_rows"})
        self._until(path, "done")
        self.make("volunteers", "GET", "/v1/imports", self.clerk)
        self.make("volunteers", "GET", f"{path}/result.xlsx", self.clerk)
        self.refuse(409, "volunteers", "POST", "/v1/imports", self.clerk, **upload)
        self.make("volunteers", "POST", f"{path}:undo", self.clerk)
        self._until(path, "undone")
        self.make("volunteers", "GET", "/v1/imports/template.xlsx", self.clerk)
        names = f"{REFUSED.name},{REFUSED.id_number}".encode()
        for data in (names, book[: len(book) // 2], b"PK\x03\x04" + names):
            self.refuse(422, "volunteers", "POST", "/v1/imports", self.clerk, data=data, headers=upload["headers"])

    def _row(self, who: people.Canary, day: int) -> HoursRow:
        number = self.ids["activity number"]
        return HoursRow(who.name, who.id_number, "", number, date(2021, 3, day), time(9), time(11), None, who.phone)

    def _until(self, path: str, state: str) -> None:
        wait_for(lambda: self.make("volunteers", "GET", path, self.clerk)["state"] == state, 30, f"to be {state}")

    # --- Looking ------------------------------------------------------------------------------------------

    def looks(self) -> None:
        """Personal data in clear, with a reason and without, of children with an approval and without; exports."""
        adult, child = (f"/v1/volunteers/{self.ids[name]}" for name in ("adult", "child"))
        want = {"fields": ["name", "id_number", "phone"]}
        self.refuse(422, "volunteers", "POST", f"{adult}:unmask", self.clerk, json=want)
        self.refuse(403, "volunteers", "POST", f"{adult}:unmask", self.auditor, json={**want, "reason": WHY})
        self.make("volunteers", "POST", f"{adult}:unmask", self.clerk, {**want, "reason": WHY})
        self.refuse(403, "volunteers", "POST", f"{child}:unmask", self.clerk, json={**want, "reason": WHY})
        self.make(
            "volunteers", "POST", f"{child}/unmask-approvals", self.officer,
            {"for_subject": str(self.clerk.subject), "reason": WHY},
        )  # fmt: skip
        self.make("volunteers", "POST", f"{child}:unmask", self.clerk, {**want, "reason": WHY})
        self.refuse(
            409, "volunteers", "POST", f"/v1/volunteers/{self.ids['waiting']}:unmask", self.clerk,
            json={**want, "reason": WHY},
        )  # fmt: skip
        own = Actor(UUID(int=0xCA8), "volunteer", volunteer=UUID(self.ids["adult"]))
        self.make("volunteers", "GET", f"{adult}/export", own)
        guardian = Actor(UUID(int=0xCA9), "guardian", wards=(UUID(self.ids["child"]),))
        self.make("volunteers", "GET", f"{child}/export", guardian)

    def failures(self) -> None:
        """A fault inside a service, and one in a handler: 500, dead letters, the desk, a second try, a replay."""
        database = self.watched.installation.sql_url()
        with _broken(database, "volunteers", "volunteers", "XX000"):
            form = REFUSED.form(UNIT)
            self.refuse(500, "volunteers", "POST", "/v1/volunteers", self.operator, json=form)
        with _broken(database, "awards", "tallies", "22023"), _broken(database, "notify", "messages", "22023"):
            self.make("volunteers", "POST", "/v1/hours", self.operator, self._served("adult", 20))
            self.make("volunteers", "POST", "/v1/hours", self.operator, self._served("second", 21))
            for name in ("awards", "notify"):
                dead = f"SELECT count(*) FROM {name}.dead_letters WHERE state = 'waiting'"  # noqa: S608 - ours
                wait_for(lambda dead=dead: self.watched.installation.scalar(dead) == 2, 30, "the dead letters")
            self.watched.overhear()
        path = "/v1/dead-letters"
        for name in SERVICES:
            self.make(name, "GET", f"{path}/groups", self.ops)
            letters = self.make(name, "GET", path, self.ops)["items"]
            for letter in letters[:1]:
                self.make(name, "GET", f"{path}/{letter['id']}", self.ops)
                self.make(name, "POST", f"{path}:drop", self.ops, {"ids": [letter["id"]], **_DECISION})
            for letter in letters[1:]:
                self.make(name, "POST", f"{path}:retry", self.ops, {"ids": [letter["id"]], **_DECISION})

    def stars_and_messages(self) -> None:
        """What comes of the hours elsewhere."""
        self.watched.settle()
        own = Actor(UUID(int=0xCA8), "volunteer", volunteer=UUID(self.ids["adult"]))
        path = f"/v1/volunteers/{self.ids['adult']}"
        wait_for(
            lambda: self.make("awards", "GET", f"{path}/stars", self.office)["star"], 30, "the star of a hundred hours"
        )
        self.make("awards", "GET", "/v1/stars", self.office)
        self.make("awards", "GET", "/v1/stars/counts", self.office)
        self.make("awards", "GET", "/v1/stars/thresholds", self.office)
        inbox = self.make("notify", "GET", f"{path}/inbox", own)["items"]
        self.make("notify", "POST", f"/v1/messages/{inbox[0]['id']}:read", own)
        self.make("notify", "GET", "/v1/acknowledgements/count", self.office)
        for service, book in (("volunteers", "entries"), ("awards", "stars")):
            self.make(service, "GET", f"/v1/books/{book}/buckets?cut={_CUT}", self.service)
            self.make(service, "GET", f"/v1/books/{book}/facts?cut={_CUT}&suffixes=00", self.service)
            self.make(service, "GET", f"/v1/books/{book}/facts/{self.ids['entry']}/event", self.service)

    def erasures(self) -> None:
        """A person asks to be erased, is refused and then granted it."""
        path = f"/v1/volunteers/{self.ids['erased']}"
        own = Actor(UUID(int=0xCAA), "volunteer", volunteer=UUID(self.ids["erased"]))
        for decision in ({"granted": False, "reason": "记录须依法保存"}, {"granted": True}):
            asked = self.make("volunteers", "POST", f"{path}:request-erasure", own)["id"]
            self.make("volunteers", "POST", f"/v1/erasure-requests/{asked}:decide", self.officer, decision)
        self.make("volunteers", "GET", "/v1/erasure-requests", self.officer)
        self.make("volunteers", "GET", path, self.office)
        self.refuse(409, "volunteers", "GET", f"{path}/export", self.officer)

    def lists(self) -> None:
        """Everything that is listed, counted or exported, and the pages of the system itself."""
        for path in (
            "/v1/volunteers", "/v1/volunteers?limit=1", f"/v1/volunteers/{self.ids['adult']}", "/v1/teams",
            f"/v1/teams/{TEAM}", "/v1/activities", f"/v1/activities/{self.ids['activity']}", "/v1/hours?limit=2",
            f"/v1/hours/{self.ids['entry']}", "/v1/statistics", "/v1/statistics.xlsx",
        ):  # fmt: skip
            self.make("volunteers", "GET", path, self.office)
        for name in SERVICES:
            self.make(name, "GET", "/v1/audit", self.auditor)
            self.make(name, "GET", "/v1/audit.csv", self.auditor)
            for page in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
                self.make(name, "GET", page, None)

    def commands(self) -> None:
        """The command line, as operators and clerks use it."""
        run, one = self.watched.command, self.watched.installation
        for words in (
            ["db", "current"], ["subs", "events"], ["doctor"], ["reconcile"], ["reconcile", "--json"], ["dead", "list"],
            ["dead", "list", "--each"], ["audit", "verify"], ["topology", "apply", "--dry-run"],
            ["rebuild", "statistics", "--dry-run"], ["rebuild", "statistics"], ["key", "rewrap", "--dry-run"],
            ["accounts", "first-admin"], ["retention", "due"], ["retention", "due", "--json"], ["retention", "report"],
        ):  # fmt: skip
            assert run(*words).code in (0, 1), words
        self.watched.settle()
        assert run("events", "replay", "--service", "awards", "--since", "2020-01-01").code == 0
        key = {"XINHUO_API_KEY": one.key_of("clerk"), "XINHUO_PORTAL_URL": one.url("portal")}
        there = ("--url", one.url("volunteers"))
        bad = self.folder / "canary.xlsx"
        bad.write_bytes(workbook_of([self._row(STRANGER, 25)]))
        for words in (["imports"], ["show", self.ids["import"]], ["import", str(bad), "--dry-run"]):
            assert run("hours", *words, *there, **key).code in (0, 1), words
        session = {"XINHUO_SESSION_FILE": str(self.folder / "session"), "XINHUO_PORTAL_URL": one.url("portal")}
        refused = run("login", "admin", "--password-stdin", stdin=f"{people.OTHER_PASSWORD}\n", **session)
        assert refused.code == 1
        assert run("login", "admin", "--password-stdin", stdin=f"{people.PASSWORD}\n", **session).code == 0
        for words in (["whoami"], ["accounts", "list", "--json"], ["keys", "list"], ["logout"]):
            assert run(*words, **session).code == 0, words

    def anything_typed_anywhere(self) -> None:
        """Ask each route with a person's data in all places: nobody may, not found, malformed, unknown fields."""
        typed = {"name": TYPED.name, "id_number": TYPED.id_number, TYPED.name: TYPED.phone, TYPED.phone: [TYPED.name]}
        nobody = Actor(uuid4(), "department")
        for name, of_service in routes().items():
            for method, path in of_service:
                absent = path.replace("{id:uuid}", str(uuid4())).replace("{name}", "entries")
                named = absent.replace("{code}", "NONE").replace("{prefix}", "xhk_none")
                body: dict[str, Any] = {} if method == "GET" else {"json": typed}
                for who in (None, nobody, *self._may(path)):
                    self.ask(name, method, named, who, **body)
                forged = {"Authorization": f"Bearer {TYPED.id_number}.{TYPED.phone}.x", "Cookie": f"a={TYPED.phone}"}
                self.ask(name, method, named, forged, **body)
                if body:
                    twice = f'{{"{TYPED.name}": 1, "{TYPED.name}": 2, "x": "{TYPED.id_number}"}}'.encode()
                    self.ask(name, method, named, *self._may(path), data=twice, headers=_JSON)
                self.ask(name, method, f"{named}?{TYPED.phone}={TYPED.name}&limit={TYPED.id_number}", *self._may(path))
                wild = path.replace("{id:uuid}", TYPED.id_number).replace("{code}", TYPED.name)
                wild = wild.replace("{name}", TYPED.name).replace("{prefix}", TYPED.phone)
                self.ask(name, method, wild, *self._may(path), headers={"If-Match": "*"}, **body)

    def _may(self, path: str) -> Iterator[Actor]:
        yield self.ops if "dead-letters" in path else self.auditor if "audit" in path else self.clerk


_JSON = {"Content-Type": "application/json"}


def _bearing(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


class _broken:
    """A table into which nothing can be written while the block lasts."""

    def __init__(self, database: str, schema: str, table: str, code: str) -> None:
        self._database = database
        self._names = {"schema": schema, "table": table, "code": code}

    def __enter__(self) -> None:
        self._run(_BREAK)

    def __exit__(self, *_: object) -> None:
        self._run(_MEND)

    def _run(self, script: str) -> None:
        with psycopg.connect(self._database) as connection:
            connection.execute(script.format(**self._names))

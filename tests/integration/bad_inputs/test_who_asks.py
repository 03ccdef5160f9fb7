"""38-43, 47, 48, 51: who asks, what he may, how often, and whether what he sends makes us ask somebody else."""

import base64
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import marshmallow as ma
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from marshmallow import fields as mf
from werkzeug.test import Client, TestResponse

from tests.integration.bad_inputs.problems import check_problem
from tests.integration.bad_inputs.scene import Scene, answer_of
from tests.support.hours import World
from tests.support.identity import KEY, bearing, token_of
from tests.support.identity import verifier as knows_our_key
from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.identity import tokens
from xinhuo.chassis.identity.actor import Actor
from xinhuo.chassis.identity.rights import PUBLIC_RIGHT
from xinhuo.chassis.identity.tokens import new_key
from xinhuo.chassis.markers import Http, marked
from xinhuo.chassis.web import schema
from xinhuo.chassis.web.app import routes_of
from xinhuo.cli.build import make_app, service_class

NOBODY_HAS = "0195630c-a000-7abc-8def-0123456789ab"
ADMIN = Actor(UUID(int=0xAD), "bureau_admin")


@dataclass
class Doors:
    """The services of the scene, entered by their doors."""

    scene: Scene
    clients: dict[str, Client]

    def send(
        self, who: Actor | str | None, service: str, method: str, path: str, body: Any = None, **headers: str
    ) -> TestResponse:
        """Send a request of somebody, with an Authorization header written by hand, or with none."""
        shown = bearing(who) if isinstance(who, Actor) else {} if who is None else {"Authorization": who}
        return self.clients[service].open(path, method=method, json=body, headers={**shown, **headers})

    def routes(self) -> Iterator[tuple[str, str, str]]:
        """Yield service, method and address of every route that is not public."""
        for name, service in self.scene.services.items():
            for mark in marked(type(service), Http).values():
                if mark.right != PUBLIC_RIGHT:
                    yield name, mark.method, re.sub(r"\{[^}]*\}", NOBODY_HAS, mark.path)


@pytest.fixture(scope="module")
def doors(scene: Scene) -> Doors:
    for service in scene.services.values():
        service.runtime.verifier = knows_our_key()
    return Doors(scene, {name: Client(make_app(service)) for name, service in scene.services.items()})


def refused(
    answer: TestResponse, status: int, code: str, says: tuple[str, ...] = (), hidden: tuple[str, ...] = ()
) -> dict[str, Any]:
    return check_problem(
        answer.status_code, answer.headers["Content-Type"], answer.get_data(as_text=True),
        expected=status, code=code, says=says, hidden=hidden,
    )  # fmt: skip


# --- 38-40: who asks ------------------------------------------------------------------------------------------


def forged(
    claims: Mapping[str, Any] | None = None, header: Mapping[str, Any] | None = None,
    key: Any = KEY.key, algorithm: str = tokens.ALGORITHM,
) -> str:  # fmt: skip
    """Return a token as the portal signs them for an administrator, but for what is given."""
    now = int(time.time())
    sound = {
        "iss": tokens.ISSUER, "aud": tokens.AUDIENCE, "sub": str(UUID(int=1)), "iat": now, "exp": now + 600,
        "role": "bureau_admin",
    }  # fmt: skip
    head = {"alg": algorithm, "kid": KEY.kid, "typ": tokens.TYPE, **(header or {})}
    return jwt.encode(head, {**sound, **(claims or {})}, key, algorithms=[algorithm])


def unsigned(algorithm: str) -> str:
    head = json.dumps({"alg": algorithm, "kid": KEY.kid, "typ": tokens.TYPE}).encode()
    return f"{base64.urlsafe_b64encode(head).rstrip(b'=').decode()}.{forged().split('.')[1]}."


OTHER = new_key()
METADATA = "http://169.254.169.254/keys"
#: A number of the list, what is shown in place of a good token, and the code of the refusal.
SHOWN: dict[str, tuple[int, str | None, str]] = {
    "no header": (38, None, "token.missing"),
    "an empty header": (38, "", "token.missing"),
    "a password": (38, "Basic YWRtaW46YWRtaW4=", "token.invalid"),
    "no token after the word": (38, "Bearer ", "token.invalid"),
    "a word for a token": (38, "Bearer null", "token.invalid"),
    "a key in place of a token": (38, "Bearer xhk_" + "A" * 43, "token.invalid"),
    "a token that ended": (39, "Bearer " + token_of(ADMIN, seconds=-tokens.LEEWAY_SECONDS - 1), "token.expired"),
    "alg none": (40, "Bearer " + unsigned("none"), "token.invalid"),
    "alg None": (40, "Bearer " + unsigned("None"), "token.invalid"),
    "our alg, no signature": (40, "Bearer " + unsigned(tokens.ALGORITHM), "token.invalid"),
    "our public key as a secret": (
        40, "Bearer " + forged(key=OctKey.import_key(KEY.public()["x"]), algorithm="HS256"), "token.invalid",
    ),
    "another audience": (40, "Bearer " + forged({"aud": "elsewhere"}), "token.invalid"),
    "another issuer": (40, "Bearer " + forged({"iss": "elsewhere"}), "token.invalid"),
    "another key by our name": (40, "Bearer " + forged(key=OTHER.key), "token.invalid"),
    "another key by its name": (40, "Bearer " + forged(header={"kid": OTHER.kid}, key=OTHER.key), "token.invalid"),
    "a key that it brings itself": (
        40, "Bearer " + forged(header={"jwk": OTHER.public()}, key=OTHER.key), "token.invalid",
    ),
    "an address to fetch the key from": (
        40, "Bearer " + forged(header={"jku": METADATA, "x5u": METADATA}, key=OTHER.key), "token.invalid",
    ),
    "a token for something else": (40, "Bearer " + forged(header={"typ": "JWT"}), "token.invalid"),
    "a role that there is not": (40, "Bearer " + forged({"role": "root"}), "token.invalid"),
    "times to come": (40, "Bearer " + forged({"iat": int(time.time()) + 900}), "token.invalid"),
}  # fmt: skip


NUMBERS = {number for number, _, _ in SHOWN.values()} | {41, 42, 43, 47, 48, 51}


@pytest.mark.parametrize("what", SHOWN)
def test_38_39_40_who_does_not_show_a_good_token_is_nobody_at_every_route(doors: Doors, what: str) -> None:
    _, header, code = SHOWN[what]
    asked = 0
    with doors.scene.tables.unchanged():
        for service, method, path in doors.routes():
            answer = doors.send(header, service, method, path, {} if method != "GET" else None)
            refused(answer, 401, code, hidden=(header,) if header else ())
            assert answer.headers["WWW-Authenticate"].startswith("Bearer "), path
            asked += 1
    assert asked > 50


def test_40_the_same_token_unforged_is_good(doors: Doors) -> None:
    assert doors.send(f"Bearer {forged()}", "volunteers", "GET", "/v1/volunteers").status_code == 200


# --- 41, 42: what he may --------------------------------------------------------------------------------------


def test_41_the_object_of_another_unit_is_answered_like_one_that_there_is_not(doors: Doors) -> None:
    scene = doors.scene
    here, away = Actor(uuid4(), "unit_operator", scene.world.unit_code), World(scene.services["volunteers"])
    stranger = Actor(uuid4(), "unit_operator", away.unit_code)
    claim = answer_of(doors.send(here, "volunteers", "POST", "/v1/claims", claimed(scene, 9)), 201)["id"]
    foreign = [
        ("GET", "/v1/volunteers/{}", scene.volunteer, None), ("POST", "/v1/volunteers/{}:verify", scene.pending, None),
        ("GET", "/v1/hours/{}", scene.entry, None),
        ("POST", "/v1/hours/{}:reverse", scene.entry, {"reason_code": "wrong_time"}),
        ("GET", "/v1/claims/{}", claim, None), ("POST", "/v1/claims/{}:approve", claim, None),
        ("POST", "/v1/claims/{}:refuse", claim, {"reason": "不在签到表上"}),
        ("GET", "/v1/activities/{}", scene.world.activity_id, None),
    ]  # fmt: skip
    with scene.tables.unchanged():
        for method, path, identifier, body in foreign:
            found, missing = (
                doors.send(stranger, "volunteers", method, path.format(one), body) for one in (identifier, NOBODY_HAS)
            )
            code = (found.json or {})["code"]
            assert code.endswith(".not_found"), path
            assert told(refused(found, 404, code), identifier) == told(refused(missing, 404, code), NOBODY_HAS), path


def told(problem: dict[str, Any], identifier: object) -> str:
    """Return an answer without what names the request: its trace and the id that it asked for."""
    return json.dumps({**problem, "trace_id": ""}, sort_keys=True).replace(str(identifier), "ID")


LACKED = [
    (Actor(UUID(int=1), "volunteer", volunteer=UUID(int=2)), "volunteers", "POST", "/v1/hours", "hours:log"),
    (Actor(UUID(int=1), "clerk"), "volunteers", "POST", "/v1/hours", "hours:log"),
    (Actor(UUID(int=1), "team_leader", "U-1", "T-1"), "volunteers", "POST", f"/v1/claims/{NOBODY_HAS}:approve",
     "hours:approve"),
    (Actor(UUID(int=1), "unit_operator", "U-1"), "notices", "POST", "/v1/notices", "notices:write"),
    (Actor(UUID(int=1), "department"), "volunteers", "GET", "/v1/volunteers", "people:read"),
    (Actor(UUID(int=1), "ops"), "awards", "GET", f"/v1/volunteers/{NOBODY_HAS}/stars", "stars:read"),
    (Actor(UUID(int=1), "clerk"), "notify", "GET", "/v1/audit", "audit:read"),
    (Actor(UUID(int=1), "bureau_admin", scopes=frozenset({"units:read"})), "notices", "POST", "/v1/units",
     "units:write"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("who", "service", "method", "path", "right"), LACKED, ids=[f"{who.role} {path}" for who, _, _, path, _ in LACKED]
)
def test_42_a_role_without_the_right_is_told_which_one(
    doors: Doors, who: Actor, service: str, method: str, path: str, right: str
) -> None:
    with doors.scene.tables.unchanged():
        answer = doors.send(who, service, method, path, {} if method == "POST" else None)
    found = refused(answer, 403, "right.missing", says=(right,))
    assert found["right"] == right
    assert found["roles"]


# --- 43, 47: two persons --------------------------------------------------------------------------------------


def claimed(scene: Scene, day: int) -> dict[str, Any]:
    """Return an hour to claim."""
    span = f"2026-03-{day:02} 14:00", f"2026-03-{day:02} 15:00"
    return scene.world.body(scene.volunteer, *span, evidence="签到表第3页")


def test_43_nobody_approves_the_hours_that_he_claimed(doors: Doors) -> None:
    scene = doors.scene
    who = Actor(uuid4(), "unit_operator", scene.world.unit_code)
    claim = answer_of(doors.send(who, "volunteers", "POST", "/v1/claims", claimed(scene, 10)), 201)["id"]
    with scene.tables.unchanged():
        for one in (who, replace(who, role="bureau_admin", unit=None)):
            answer = doors.send(one, "volunteers", "POST", f"/v1/claims/{claim}:approve")
            refused(answer, 409, "claim.own", says=("另一位",))


def test_47_who_approves_twice_gets_the_first_answer_and_enters_nothing(doors: Doors) -> None:
    scene, unit = doors.scene, doors.scene.world.unit_code
    one, other, third = (Actor(uuid4(), "unit_operator", unit) for _ in range(3))
    claim = answer_of(doors.send(one, "volunteers", "POST", "/v1/claims", claimed(scene, 11)), 201)["id"]
    path = f"/v1/claims/{claim}:approve"
    first = doors.send(other, "volunteers", "POST", path)
    assert answer_of(first, 200)["state"] == "approved"
    with scene.tables.unchanged():
        for who in (other, third):
            again = doors.send(who, "volunteers", "POST", path)
            assert (again.status_code, again.json) == (200, first.json)


# --- 48: how often --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_48_who_asks_too_often_is_told_when_to_come_again(
    doors: Doors, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    service = doors.scene.services["volunteers"]
    strict = replace(service.runtime.settings, rate_of_callers=1, rate_of_strangers=1)
    monkeypatch.setattr(service.runtime, "settings", strict)
    door = Client(make_app(service))
    shown = bearing(Actor(uuid4(), "clerk")) if known else {"Authorization": "Bearer wrong"}
    with doors.scene.tables.unchanged():
        answers = [door.get("/v1/teams", headers=shown) for _ in range(10)]
        while (last := door.get("/v1/teams", headers=shown)).status_code != 429 and len(answers) < 1000:
            answers.append(last)  # one more for each second that the others took
    assert {answer.status_code for answer in answers} == {200 if known else 401}
    found = refused(last, 429, "rate.exceeded")
    assert int(last.headers["Retry-After"]) == found["seconds"] >= 1


# --- 51: addresses --------------------------------------------------------------------------------------------

#: What a field for an address would be called.
_ADDRESS = re.compile(r"ur[il]|href|link|webhook|callback|redirect|endpoint|host\b|proxy", re.IGNORECASE)


def addresses(found: ma.Schema, above: str = "") -> Iterator[str]:
    """Yield every field of a schema, at any depth, that is for an address in the network."""
    for name, field in found.fields.items():
        place = f"{above}/{field.data_key or name}"
        if isinstance(field, mf.Url | mf.Email | mf.IP | mf.IPInterface) or _ADDRESS.search(place.rpartition("/")[2]):
            yield place
        inner = field.inner if isinstance(field, mf.List) else field
        if isinstance(inner, mf.Nested):
            yield from addresses(inner.schema, place)


def test_51_no_request_of_any_service_has_room_for_an_address() -> None:
    looked_at = 0
    for name in SERVICES:
        for route in routes_of(service_class(name)):
            for taken in (route.accepts, route.query):
                if taken is not None:
                    assert list(addresses(taken)) == [], f"{name} {route.mark.method} {route.mark.path}"
                    looked_at += 1
    assert looked_at > 50


def test_51_a_field_for_an_address_would_be_found() -> None:
    class Inner(schema.Schema):
        target = mf.Url()
        name = schema.Text()

    class Planted(schema.Schema):
        webhook_url = schema.Text()
        parts = schema.ListOf(schema.Nested(Inner))
        place = schema.Text()

    assert list(addresses(Planted())) == ["/webhook_url", "/parts/target"]

"""How each route is asked for the things of a place, and by what one sees that it worked."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import Any
from uuid import UUID, uuid4

import openpyxl
from werkzeug.test import TestResponse

from xinhuo.chassis.identity.actor import Actor

from . import accounts
from .own import OWN
from .world import Ask, Person, Place, World, said

Route = tuple[str, str, str]
_WHY = {"reason": "与签到表不符"}
_BURIED = {"by": "ops-1", "why": "原因已排除"}
_LAST = "ffffffff-ffff-7fff-bfff-ffffffffffff"


def _fine(answer: TestResponse) -> bool:
    return answer.status_code < 300


@dataclass(frozen=True)
class Way:
    """The request of a route about a place; a list is asked for as it stands."""

    ask: Callable[[World, Place], Ask]
    refused: int = 404
    """How it answers about what is out of reach, as about what there is not: 404, or 422 when a body names it."""
    worked: Callable[[TestResponse], bool] = _fine
    listed: tuple[str, str] | None = None
    """Of a list: the field of its items, and the attribute of a place that is to be found there."""
    file: Callable[[TestResponse], list[str]] | None = None
    """Of a list that comes as a file: what is to be found in it."""
    owner: str = "volunteer_id"
    """Of a list: the field that names the volunteer whom an item is about."""
    of_many: bool = False
    """Of a list of statistics: in public, only what five persons did together."""
    of_nobody: bool = False
    """Nothing in it belongs to anybody."""
    said: Callable[[TestResponse, Place], Any] = said
    """What is compared with the answer about what there is not."""
    in_public: Callable[[TestResponse], bool] = _fine
    """Whether what everybody may see tells of nobody."""
    own: Callable[[World, Place, Actor], Ask] | None = None
    """The request where it is about what somebody made himself, or differs by role."""

    def asked_by(self, world: World, place: Place, who: Actor) -> Ask:
        """Return the request of somebody about a place."""
        return self.own(world, place, who) if self.own else self.ask(world, place)


def _at(path: str, **body: Any) -> Callable[[World, Place], Ask]:
    """Return a request whose path, and body, take what they name from the place."""

    def ask(_world: World, place: Place) -> Ask:
        filled = {name: getattr(place, value) for name, value in body.items()}
        json = {name: str(value) for name, value in filled.items()}
        return Ask(path.format(**_shown(place)), json or None)

    return ask


def _shown(place: Place) -> dict[str, Any]:
    return {**vars(place), "volunteer": place.volunteer}


def _fresh(make: Callable[[World, Place], UUID], path: str, json: Any = None, **headers: str) -> Any:
    """Return a request about something made for it."""
    return lambda world, place: Ask(path.format(make(world, place)), json, headers=headers)


def _draft(world: World, place: Place) -> UUID:
    return uuid4() if place.made_up else world.draft_to(place.unit)


def _activity(_world: World, place: Place) -> Ask:
    when = {"starts_at": "2026-01-01T00:00", "ends_at": "2026-01-02T00:00"}
    form = {"title": "敬老", "team_code": place.team, "category": "care", "place": "敬老院"}
    return Ask("/v1/activities", {**form, **when})


def _new_unit(world: World, place: Place) -> Ask:
    form = {"code": f"XX-N{world.serial()}", "name": "新单位", "kind": "town"}
    return Ask("/v1/units", {**form, "parent_code": place.unit})


def _renamed(world: World, place: Place) -> Ask:
    return Ask(f"/v1/units/{place.unit}", {"name": f"新名{world.serial()}"}, headers={"If-Match": "*"})


def _claim(world: World, place: Place, person: Person | None = None) -> Ask:
    return Ask("/v1/claims", {**world.hours(place, person), "evidence": "签到表第3页"})


def _own_claim(world: World, place: Place, who: Actor) -> Ask:
    # Where one serves is one's own affair: of somebody else's, it is the person who is foreign.
    return _claim(world, place, place.people[0] if who.role in {"volunteer", "guardian"} else None)


def _withdrawn(world: World, place: Place, who: Actor | None = None) -> Ask:
    return Ask(f"/v1/claims/{world.claim_at(place, who)}:withdraw")


def _notice(world: World, place: Place) -> Ask:
    return Ask("/v1/notices", world.notice_form(place.unit))


def _new_team(world: World, place: Place) -> Ask:
    return Ask("/v1/teams", {"code": f"DUI-N{world.serial()}", "name": "新队", "unit_code": place.unit})


def _person(world: World, place: Place) -> Ask:
    return Ask("/v1/volunteers", world.person_at(place))


def _new_account(_world: World, place: Place) -> Ask:
    form = {"login": f"new-{uuid4().hex[:12]}", "role": "team_leader", "team_code": place.team}
    return Ask("/v1/accounts", {**form, "unit_code": place.unit})


def _new_client(_world: World, _place: Place) -> Ask:
    form = {"name": "新程序", "role": "department", "department_code": "demo", "scopes": ["statistics:read"]}
    return Ask("/v1/clients", form)


def _client(world: World, _place: Place) -> UUID:
    return accounts.client_of_role(world.portal, "department")


def _key(verb: str, json: Any = None) -> Callable[[World, Place], Ask]:
    def ask(world: World, _place: Place) -> Ask:
        client, prefix = accounts.key_of_client(world.portal)
        return Ask(f"/v1/clients/{client}/keys/{prefix}:{verb}", json)

    return ask


def _one_entered(answer: TestResponse) -> bool:
    return _fine(answer) and (answer.json or {})["entered"] == 1


def _one_valid(answer: TestResponse) -> bool:
    return _fine(answer) and (answer.json or {})["valid"] == 1


def _mistakes(answer: TestResponse, place: Place) -> Any:
    if answer.status_code != 201:
        return said(answer, place)
    found = answer.json or {}
    of_answer = {name: found[name] for name in ("rows", "valid", "invalid", "counts", "errors", "warnings")}
    return answer.status_code, str(of_answer).replace(place.activity_number, "…")


def _has_items(answer: TestResponse) -> bool:
    return _fine(answer) and bool((answer.json or {})["items"])


def _no_stars_of_two(answer: TestResponse) -> bool:
    found = answer.json or {}
    return _fine(answer) and [(one["earned"], one["held"]) for one in found["stars"]] == [(None, None)]


def _thanks_only(answer: TestResponse) -> bool:
    found = answer.json or {}
    return _fine(answer) and set(found["by_occasion"]) == {"hours_logged"} and found["total"] == 11


def units_of_workbook(answer: TestResponse) -> list[str]:
    """Return the first column of the statistics as a workbook, without its head and sum."""
    assert answer.status_code == 200, answer.text
    sheet = openpyxl.load_workbook(BytesIO(answer.get_data()))["统计"]
    return [str(cell.value) for cell in sheet["A"]][1:-1]


def objects_of_file(answer: TestResponse) -> list[str]:
    """Return what the rows of an audit log are about that came as a file."""
    assert answer.status_code == 200, answer.text
    rows = csv.DictReader(StringIO(answer.get_data().decode("utf-8-sig")))
    return [row["对象"] for row in rows]


def _audit(service: str) -> dict[Route, Way]:
    """Return how a service is asked for its audit log."""
    about = ("object_id", "volunteer")
    return {
        (service, "GET", "/v1/audit"): Way(_at("/v1/audit"), listed=about, owner="object_id"),
        (service, "GET", "/v1/audit.csv"): Way(_at("/v1/audit.csv"), listed=about, file=objects_of_file),
    }


def _letters(service: str) -> dict[Route, Way]:
    """Return how the desk of a service is asked for its dead letters."""

    def letter(world: World, _place: Place) -> UUID:
        return world.letter(service)

    def decide(world: World, _place: Place) -> dict[str, Any]:
        return {"ids": [str(world.letter(service))], **_BURIED}

    return {
        (service, "GET", "/v1/dead-letters/groups"): Way(_at("/v1/dead-letters/groups"), of_nobody=True),
        (service, "GET", "/v1/dead-letters"): Way(_at("/v1/dead-letters"), of_nobody=True),
        (service, "GET", "/v1/dead-letters/{id:uuid}"): Way(_fresh(letter, "/v1/dead-letters/{}"), of_nobody=True),
        (service, "POST", "/v1/dead-letters:retry"): Way(
            lambda world, place: Ask("/v1/dead-letters:retry", decide(world, place)), of_nobody=True
        ),
        (service, "POST", "/v1/dead-letters:drop"): Way(
            lambda world, place: Ask("/v1/dead-letters:drop", decide(world, place)), of_nobody=True
        ),
    }


def _books(service: str, name: str) -> dict[Route, Way]:
    """Return how a service is asked for its books."""
    path = f"/v1/books/{name}"
    return {
        (service, "GET", "/v1/books/{name}/buckets"): Way(_at(f"{path}/buckets?cut={_LAST}"), of_nobody=True),
        (service, "GET", "/v1/books/{name}/facts"): Way(_at(f"{path}/facts?cut={_LAST}&suffixes=00"), of_nobody=True),
        (service, "GET", "/v1/books/{name}/facts/{id:uuid}/event"): Way(
            _at(f"{path}/facts/{{entry}}/event"), of_nobody=True
        ),
    }


_NOTICES: dict[tuple[str, str], Way] = {
    ("POST", "/v1/units"): Way(_new_unit),
    ("PATCH", "/v1/units/{code}"): Way(_renamed),
    ("GET", "/v1/units"): Way(_at("/v1/units"), listed=("code", "unit")),
    ("GET", "/v1/units/{code}"): Way(_at("/v1/units/{unit}")),
    ("POST", "/v1/notices"): Way(_notice),
    ("PATCH", "/v1/notices/{id:uuid}"): Way(_fresh(_draft, "/v1/notices/{}", {"title": "新标题"}, **{"If-Match": "*"})),
    ("POST", "/v1/notices/{id:uuid}:issue"): Way(_fresh(_draft, "/v1/notices/{}:issue")),
    ("GET", "/v1/notices"): Way(_at("/v1/notices"), listed=("id", "notice")),
    ("GET", "/v1/notices/{id:uuid}"): Way(_at("/v1/notices/{notice}")),
    ("GET", "/v1/notices/{id:uuid}/obligations"): Way(_at("/v1/notices/{notice}/obligations"), worked=_has_items),
}

_PEOPLE: dict[tuple[str, str], Way] = {
    ("POST", "/v1/volunteers"): Way(_person, 422),
    ("POST", "/v1/volunteers/{id:uuid}:verify"): Way(_fresh(World.pending_at, "/v1/volunteers/{}:verify")),
    ("POST", "/v1/volunteers/{id:uuid}:suspend"): Way(
        _fresh(World.pending_at, "/v1/volunteers/{}:suspend", {"reason_code": "conduct"})
    ),
    ("POST", "/v1/volunteers/{id:uuid}:resume"): Way(_fresh(World.suspended_at, "/v1/volunteers/{}:resume")),
    ("POST", "/v1/volunteers/{id:uuid}:leave"): Way(
        _fresh(World.come_back, "/v1/volunteers/{}:leave", {"reason_code": "own_wish"})
    ),
    ("POST", "/v1/volunteers/{id:uuid}:correct"): Way(
        lambda world, place: Ask(
            f"/v1/volunteers/{place.volunteer}:correct", {"phone": world.phone(), "reason_code": "changed"}
        )
    ),
    ("GET", "/v1/volunteers/{id:uuid}/corrections"): Way(_at("/v1/volunteers/{volunteer}/corrections")),
    ("GET", "/v1/person-tags"): Way(_at("/v1/person-tags"), of_nobody=True),
    ("POST", "/v1/volunteers/{id:uuid}:unmask"): Way(
        lambda _world, place: Ask(
            f"/v1/volunteers/{place.volunteer}:unmask", {"fields": ["phone"], "reason": "联系志愿者"}
        )
    ),
    ("POST", "/v1/volunteers/{id:uuid}/consents"): Way(
        lambda _world, place: Ask(f"/v1/volunteers/{place.volunteer}/consents", {"purpose": "photo"})
    ),
    ("GET", "/v1/volunteers/{id:uuid}/consents"): Way(_at("/v1/volunteers/{volunteer}/consents")),
    ("POST", "/v1/consents/{id:uuid}:withdraw"): Way(_fresh(World.consent_at, "/v1/consents/{}:withdraw")),
    ("GET", "/v1/volunteers/{id:uuid}/export"): Way(_at("/v1/volunteers/{volunteer}/export")),
    ("POST", "/v1/volunteers/{id:uuid}:request-erasure"): Way(_at("/v1/volunteers/{volunteer}:request-erasure")),
    ("GET", "/v1/erasure-requests"): Way(_at("/v1/erasure-requests"), listed=("volunteer_id", "volunteer")),
    ("POST", "/v1/erasure-requests/{id:uuid}:decide"): Way(
        _fresh(World.erasure_at, "/v1/erasure-requests/{}:decide", {"granted": False, "reason": "依法须保存记录"})
    ),
    ("POST", "/v1/volunteers/{id:uuid}/unmask-approvals"): Way(
        lambda _world, place: Ask(
            f"/v1/volunteers/{place.volunteer}/unmask-approvals", {"for_subject": str(uuid4()), "reason": "家访核对"}
        )
    ),
    ("GET", "/v1/volunteers/{id:uuid}"): Way(_at("/v1/volunteers/{volunteer}")),
    ("GET", "/v1/volunteers"): Way(_at("/v1/volunteers"), listed=("id", "volunteer"), owner="id"),
    ("POST", "/v1/teams"): Way(_new_team, 422),
    ("GET", "/v1/teams/{code}"): Way(_at("/v1/teams/{team}")),
    ("GET", "/v1/teams"): Way(_at("/v1/teams"), listed=("code", "team")),
    ("POST", "/v1/teams/{code}/members"): Way(_at("/v1/teams/{team}/members", volunteer_id="volunteer")),
    ("POST", "/v1/activities"): Way(_activity, 422),
    ("GET", "/v1/activities/{id:uuid}"): Way(_at("/v1/activities/{activity}")),
    ("GET", "/v1/activities"): Way(_at("/v1/activities"), listed=("id", "activity")),
}

_HOURS: dict[tuple[str, str], Way] = {
    ("POST", "/v1/hours"): Way(lambda world, place: Ask("/v1/hours", world.hours(place)), 422),
    ("POST", "/v1/hours:batch"): Way(
        lambda world, place: Ask("/v1/hours:batch", {"items": [world.hours(place)]}), 200, worked=_one_entered
    ),
    ("POST", "/v1/hours/{id:uuid}:reverse"): Way(
        _fresh(World.entry_at, "/v1/hours/{}:reverse", {"reason_code": "wrong_time"})
    ),
    ("GET", "/v1/hours/{id:uuid}"): Way(_at("/v1/hours/{entry}")),
    ("GET", "/v1/hours"): Way(_at("/v1/hours"), listed=("id", "entry")),
    ("POST", "/v1/claims"): Way(_claim, 422, own=_own_claim),
    ("POST", "/v1/claims/{id:uuid}:withdraw"): Way(_withdrawn, own=_withdrawn),
    ("POST", "/v1/claims/{id:uuid}:approve"): Way(_fresh(World.claim_at, "/v1/claims/{}:approve")),
    ("POST", "/v1/claims/{id:uuid}:refuse"): Way(_fresh(World.claim_at, "/v1/claims/{}:refuse", _WHY)),
    ("GET", "/v1/claims/{id:uuid}"): Way(_at("/v1/claims/{claim}")),
    ("GET", "/v1/claims"): Way(_at("/v1/claims"), listed=("id", "claim")),
    ("POST", "/v1/reversal-requests/{id:uuid}:approve"): Way(
        _fresh(World.reversal_at, "/v1/reversal-requests/{}:approve")
    ),
    ("POST", "/v1/reversal-requests/{id:uuid}:refuse"): Way(
        _fresh(World.reversal_at, "/v1/reversal-requests/{}:refuse", _WHY)
    ),
    ("GET", "/v1/reversal-requests"): Way(_at("/v1/reversal-requests"), listed=("id", "reversal")),
    ("GET", "/v1/statistics"): Way(_at("/v1/statistics"), listed=("unit_code", "unit"), of_many=True),
    ("GET", "/v1/statistics.xlsx"): Way(
        _at("/v1/statistics.xlsx"), listed=("unit_code", "unit"), of_many=True, file=units_of_workbook
    ),
    ("GET", "/v1/imports/template.xlsx"): Way(_at("/v1/imports/template.xlsx"), of_nobody=True),
    ("POST", "/v1/imports"): Way(
        lambda world, place: world.workbook(world.row(place)), 201, worked=_one_valid, said=_mistakes
    ),
    ("POST", "/v1/imports/{id:uuid}:confirm"): Way(_fresh(World.import_at, "/v1/imports/{}:confirm", {"mode": "all"})),
    ("POST", "/v1/imports/{id:uuid}:undo"): Way(
        lambda world, place: Ask(f"/v1/imports/{world.import_at(place, done=True)}:undo")
    ),
    ("GET", "/v1/imports/{id:uuid}"): Way(_at("/v1/imports/{hours_import}")),
    ("GET", "/v1/imports"): Way(_at("/v1/imports"), listed=("id", "hours_import")),
    ("GET", "/v1/imports/{id:uuid}/result.xlsx"): Way(_at("/v1/imports/{hours_import}/result.xlsx")),
}

_AWARDS: dict[tuple[str, str], Way] = {
    ("GET", "/v1/volunteers/{id:uuid}/stars"): Way(_at("/v1/volunteers/{volunteer}/stars")),
    ("GET", "/v1/stars"): Way(_at("/v1/stars"), listed=("volunteer_id", "volunteer")),
    ("GET", "/v1/stars/counts"): Way(_at("/v1/stars/counts"), of_nobody=True, in_public=_no_stars_of_two),
    ("GET", "/v1/stars/thresholds"): Way(_at("/v1/stars/thresholds"), of_nobody=True),
}

_NOTIFY: dict[tuple[str, str], Way] = {
    # Who there is, is not known here: whose messages cannot be seen has none, like whoever there is not.
    ("GET", "/v1/volunteers/{id:uuid}/inbox"): Way(_at("/v1/volunteers/{volunteer}/inbox"), 200, worked=_has_items),
    ("POST", "/v1/messages/{id:uuid}:read"): Way(_at("/v1/messages/{message}:read")),
    ("GET", "/v1/acknowledgements/count"): Way(
        _at("/v1/acknowledgements/count"), of_nobody=True, in_public=_thanks_only
    ),
}

_ACCOUNTS: dict[tuple[str, str], Way] = {
    ("POST", "/v1/accounts"): Way(_new_account, 403),
    ("GET", "/v1/accounts"): Way(_at("/v1/accounts"), listed=("id", "account")),
    ("GET", "/v1/accounts/{id:uuid}"): Way(_at("/v1/accounts/{account}")),
    ("PATCH", "/v1/accounts/{id:uuid}"): Way(
        _fresh(World.account_at, "/v1/accounts/{}", {"display_name": "新名"}, **{"If-Match": "*"})
    ),
    ("POST", "/v1/accounts/{id:uuid}:reset"): Way(_fresh(World.account_at, "/v1/accounts/{}:reset")),
    ("POST", "/v1/clients"): Way(_new_client, of_nobody=True),
    ("GET", "/v1/clients"): Way(_at("/v1/clients"), of_nobody=True, worked=_has_items),
    ("GET", "/v1/clients/{id:uuid}"): Way(_fresh(_client, "/v1/clients/{}"), of_nobody=True),
    ("PATCH", "/v1/clients/{id:uuid}"): Way(
        _fresh(_client, "/v1/clients/{}", {"name": "新名"}, **{"If-Match": "*"}), of_nobody=True
    ),
    ("POST", "/v1/clients/{id:uuid}/keys"): Way(_fresh(_client, "/v1/clients/{}/keys", {}), of_nobody=True),
    ("POST", "/v1/clients/{id:uuid}/keys/{prefix}:revoke"): Way(_key("revoke"), of_nobody=True),
    ("POST", "/v1/clients/{id:uuid}/keys/{prefix}:rotate"): Way(_key("rotate", {}), of_nobody=True),
}


def _not_of_places(_world: World, _place: Place) -> Ask:
    raise AssertionError("asked about the own account only")


_NAMES = ("notices", "volunteers", "awards", "notify", "portal")
WAYS: dict[Route, Way] = {
    **{("notices", *route): way for route, way in _NOTICES.items()},
    **{("volunteers", *route): way for route, way in (_PEOPLE | _HOURS).items()},
    **{("awards", *route): way for route, way in _AWARDS.items()},
    **{("notify", *route): way for route, way in _NOTIFY.items()},
    **{("portal", *route): way for route, way in _ACCOUNTS.items()},
    **dict.fromkeys(OWN, Way(_not_of_places)),
    **_books("volunteers", "entries"),
    **_books("awards", "stars"),
    **{route: way for name in _NAMES for route, way in (_letters(name) | _audit(name)).items()},
}

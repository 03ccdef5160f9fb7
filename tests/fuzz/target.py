"""One service that is fuzzed: counts what reaches it, shows tokens of everybody, and names what there is."""

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import schemathesis
from schemathesis.generation.meta import TestPhase

from tests.integration.rights import accounts
from tests.integration.rights.world import NAME, World, _actors
from tests.support.hours import id_number
from tests.support.identity import token_of
from tests.support.portal import PASSWORD
from tests.support.services import fetch
from xinhuo.chassis.identity.rights import PUBLIC_RIGHT, reach_of
from xinhuo.chassis.identity.tokens import new_key, sign
from xinhuo.chassis.web.pages import cursor_of

#: What there is, by the word of a path after which it is named; the newest first.
_NAMED = {
    "notices": {"units": "SELECT code FROM units ORDER BY registered_at DESC", "notices": "SELECT id FROM notices"},
    "volunteers": {
        "volunteers": "SELECT id FROM volunteers", "teams": "SELECT code FROM teams ORDER BY created_at DESC",
        "activities": "SELECT id FROM activities", "hours": "SELECT id FROM ledger_entries",
        "imports": "SELECT id FROM imports", "consents": "SELECT id FROM consent_records",
        "erasure-requests": "SELECT id FROM erasure_requests", "facts": "SELECT id FROM ledger_entries",
        "books": "SELECT unnest(ARRAY['ledger', 'entries'])",
    },
    "awards": {
        "volunteers": "SELECT DISTINCT volunteer_id AS id FROM stars", "facts": "SELECT award_id AS id FROM stars",
        "books": "SELECT unnest(ARRAY['stars', 'awards'])",
    },
    "notify": {
        "volunteers": "SELECT DISTINCT volunteer_id AS id FROM messages", "messages": "SELECT id FROM messages",
    },
    "portal": {
        "accounts": "SELECT id FROM accounts WHERE role = 'team_leader'", "clients": "SELECT id FROM clients",
        "keys": "SELECT prefix FROM client_keys ORDER BY created_at DESC", "sessions": "SELECT id FROM sessions",
    },
}  # fmt: skip
_LETTERS = "SELECT id FROM dead_letters ORDER BY died_at DESC"
_MOST = 12
#: Characters that texts may not hold, roughly: most of what is generated would be refused for them alone.
_ODD = re.compile(r"[^\w \u4e00-\u9fff〔〕.,:+/-]")
_OTHER_KEY = new_key()


class Target:
    """A WSGI application around that of a service of the world."""

    def __init__(self, world: World, service: str, seed: int, app: Any = None) -> None:
        self.world, self.service, self.seed = world, service, seed
        self._app = app or world.doors[service].application
        #: How many requests came here, by the status of the answer.
        self.statuses: Counter[int] = Counter()
        self._rights = {
            (route.mark.method, route.mark.path.replace(":uuid}", "}")): route.mark.right for route in self._app.routes
        }
        self._rounds = 0
        self.prepare()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer as the service does."""

        def counted(status: str, *rest: Any) -> Any:
            self.statuses[int(status[:3])] += 1
            return start_response(status, *rest)

        found: Iterable[bytes] = self._app(environ, counted)
        return found

    @property
    def routes(self) -> list[Any]:
        """The routes of the service."""
        found: list[Any] = self._app.routes
        return found

    @property
    def requests(self) -> int:
        """How many requests came here."""
        return self.statuses.total()

    def prepare(self) -> None:
        """Make new things of every kind and people who may ask for them: a round may undo what it finds."""
        world, self._rounds = self.world, self._rounds + 1
        place = world.place("XX-1", f"DUI-F{world.serial()}", 3)
        self._place = place
        self._actors = [accounts.seated(world.portal, who) for them in _actors(place).values() for who in them]
        self._actors += [them[0] for them in world.actors.values()]
        world.draft_to(place.unit)
        world.entry_at(place), world.pending_at(place), world.consent_at(place), world.erasure_at(place)
        world.import_at(place), world.import_at(place, done=True)
        for who in self._actors:
            if accounts.is_of(world.portal, who):
                accounts.session_of(world.portal, who.subject)
        for _ in range(3):
            world.letter(self.service)
            world.account_at(place)
        self._look()

    def _look(self) -> None:
        """Find out what there is."""
        self._named: dict[str, list[str]] = {}
        for name, service in self.world.services.items():
            for word, statement in {**_NAMED[name], "dead-letters": _LETTERS}.items():
                ordered = (
                    statement if "ORDER BY" in statement or "unnest" in statement else f"{statement} ORDER BY 1 DESC"
                )
                found = [str(next(iter(row.values()))) for row in fetch(service, f"{ordered} LIMIT {_MOST}")]
                self._named[word] = found if name == self.service else self._named.get(word, found)
        own = [str(self._place.volunteer), str(self.world.here.volunteer)]
        self._named["volunteers"] = own + self._named["volunteers"]
        keys = "SELECT client_id, prefix FROM client_keys WHERE revoked_at IS NULL ORDER BY created_at DESC LIMIT 5"
        self._keys = [(str(row["client_id"]), row["prefix"]) for row in fetch(self.world.portal, keys)]
        logins = [row["login"] for row in fetch(self.world.portal, "SELECT login FROM accounts LIMIT 20")]
        named, place, portal = self._named, self._place, self.world.portal
        #: What a client would write into a field of the name.
        self._plausible: dict[str, list[Any]] = {
            "volunteer_id": named["volunteers"], "volunteer": named["volunteers"], "activity_id": [str(place.activity)],
            "activity": named["activities"], "team_code": [place.team, *named["teams"]], "team": named["teams"],
            "unit_code": ["XX-1", "XX-2", "QU-1"], "unit": ["XX-1", "QU-1"], "parent_code": ["QU-1", "QU-2"],
            "parent": ["QU-1"], "codes": ["XX-1", "XX-2", "QU-1"], "excluded": ["XX-2"], "kinds": ["middle_school"],
            "ids": named["dead-letters"], "for_subject": [str(who.subject) for who in self._actors],
            "wards": named["volunteers"], "subject": [str(who.subject) for who in self._actors],
            "import": named["imports"], "notice": ["测教办〔2021〕1号"],
            "number": ["试教办〔2024〕1号", "试教办〔2024〕2号"],
            "category": ["community", "care"], "service_class": ["0010"], "kind": ["middle_school", "plan"],
            "name": [NAME, "青禾镇中心小学"], "guardian_name": [NAME], "phone": ["14200019999"],
            "guardian_phone": ["14200019998"], "id_number": [id_number() for _ in range(20)],
            "started_at": ["2026-01-05T08:00:00+08:00", "2026-02-05T08:00:00Z"],
            "ended_at": ["2026-01-05T09:00:00+08:00", "2026-02-05T12:00:00Z"],
            "starts_at": ["2025-12-01T00:00:00Z", "2026-01-01T00:00:00Z"], "ends_at": ["2026-06-30T00:00:00Z"],
            "issued_on": ["2021-03-01", "2024-02-29"], "starts": ["2021-03", "2024-02-29"], "ends": ["2022-04", None],
            "login": [*logins, *(f"fuzz-{self.seed}-{number}" for number in range(30))],
            "password": [PASSWORD], "old": [PASSWORD], "new": [PASSWORD],
            "scopes": ["statistics:read", "units:read"], "minutes": [30, 60, 90],
            "key": [accounts.key_of_role(portal, "department")], "cut": ["ffffffff-ffff-7fff-bfff-ffffffffffff"],
            "refresh_token": [accounts.session_of(portal, self._actors[0].subject)[1] for _ in range(3)],
            "suffixes": ["00", "0a-ff"], "after": self._cursors(), "filter": [{"reason": "event.undecodable"}],
        }  # fmt: skip

    def _cursors(self) -> list[str]:
        """Return cursors of the right form, with what no list would have put there too."""
        some = [word for word in ("units", "accounts", "hours", "dead-letters") if self._named.get(word)]
        ids = [self._named[word][0] for word in some]
        times = ["2026-01-01T00:00:00+00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01"]
        numbers = ["5", "0", "-1", "9" * 30, "1_0"]
        pairs = [(left, right) for left in (*times, *ids[:1]) for right in ids]
        return [cursor_of(*key) for key in (*[(one,) for one in (*ids, *numbers)], *pairs)]

    # --- What schemathesis asks before each request --------------------------------------------------------

    def token_for(self, case: Any) -> str | None:
        """Return the header by which a request is asked: mostly of somebody who may, or of others, or a broken one."""
        chance, right = self._chance(case, "who"), self._rights.get((case.operation.method.upper(), case.path))
        draw = chance.random()
        if not (case.path_parameters or case.query or case.operation.body):
            draw = 1.0  # there is one such request only: it should get in
        if draw < 0.06:
            return None
        if draw < 0.14:
            return chance.choice(self._broken())
        if right == PUBLIC_RIGHT:
            return None
        may = [who for who in self._actors if draw > 0.24 and right and reach_of(who, right) is not None]
        return f"Bearer {token_of(chance.choice(may or self._actors), seconds=7200)}"

    def _broken(self) -> list[str]:
        somebody = self._actors[0]
        ours, forged = token_of(somebody, seconds=7200), sign(somebody, _OTHER_KEY, now=1_700_000_000, seconds=10**9)
        return [
            f"Bearer {token_of(somebody, seconds=-3600)}", f"Bearer {forged}", f"Bearer {ours[:-3]}AAA",
            "Bearer ", "Bearer a.b.c", "Basic eDp5", f"bearer  {ours}x", "Bearer " + "é" * 30, ours,
            "Bearer " + "x" * 9000,
        ]  # fmt: skip

    def settle(self, case: Any) -> None:
        """Let a request that is meant to be right be about what there is, so that not all end at 404."""
        meta, chance = case.meta, self._chance(case, "what")
        if meta is None or meta.phase.name is TestPhase.STATEFUL:
            return
        right = {str(location.value): info.mode.is_positive for location, info in meta.components.items()}
        if right.get("path", True):
            for name in case.path_parameters:
                word = case.path.split("{" + name)[0].rstrip("/").split("/")[-1]
                if self._named.get(word) and chance.random() < 0.85:
                    newest = self._named[word][: chance.choice((2, _MOST))]
                    case.path_parameters[name] = chance.choice(newest)
            if "prefix" in case.path_parameters and chance.random() < 0.7:
                owner, case.path_parameters["prefix"] = chance.choice(self._keys)
                if "id" in case.path_parameters:  # of one's own keys the address names no owner
                    case.path_parameters["id"] = owner
        if right.get("query", True):
            for name, value in case.query.items():
                if self._plausible.get(name) and isinstance(value, str) and chance.random() < 0.6:
                    case.query[name] = chance.choice(self._plausible[name])
        if "If-Match" in case.headers and right.get("header", True) and chance.random() < 0.7:
            case.headers["If-Match"] = "*"
        if right.get("body", True) and isinstance(case.body, dict):
            case.body = self._settled(case.body, chance)
            if {"ids", "filter"} <= case.body.keys() and chance.random() < 0.8:  # one or the other
                for name in chance.choice((("ids",), ("filter", "limit"))):
                    case.body.pop(name, None)

    def _settled(self, value: Any, chance: random.Random, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: self._settled(item, chance, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self._settled(item, chance, name) for item in value]
        plausible = self._plausible.get(name, [])
        fitting = [one for one in plausible if type(one) is type(value)]
        if fitting and chance.random() < 0.8:
            return chance.choice(fitting)
        if isinstance(value, str) and chance.random() < 0.7:
            return _ODD.sub("字", value)
        return value

    def _chance(self, case: Any, what: str) -> random.Random:
        """Return the dice of a request: the same request, the same fall."""
        told = (case.method, case.path, case.path_parameters, case.query, str(case.body), what, self.seed, self._rounds)
        return random.Random(hashlib.blake2b(repr(told).encode("utf-8", "replace")).digest())

    # --- What no error may tell ---------------------------------------------------------------------------

    def persons(self) -> list[str]:
        """Return the numbers of people that are registered."""
        places = (self.world.here, self.world.there, self._place)
        return [person.number for place in places for person in place.people]


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Settle each request just before it is sent (schemathesis calls this)."""
    if isinstance(target := case.operation.app, Target):
        target.settle(case)


def bearer_of(target: Target) -> type:
    """Return what shows schemathesis the tokens of a target."""

    class Shown:
        def get(self, case: Any, _context: Any) -> str | None:
            return target.token_for(case)

        def set(self, case: Any, shown: str, _context: Any) -> None:
            case.headers["Authorization"] = shown

    return Shown

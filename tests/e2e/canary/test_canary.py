"""Personal data stay where they belong: canaries go through every flow, and then everything is searched for them."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.support.installation import Installation
from tests.support.servers import Servers

from . import people
from .flows import Flows
from .needles import Hit, Needles, Spot
from .places import Watched, routes
from .planted import PLANTED

LINK = re.compile(r"xhl_[\w-]{43}")

_PERSON = ("name", "id_number", "phone", "born, in one")


def _all_of(*who: str) -> set[str]:
    return {f"{one}: {what}" for one in who for what in _PERSON}


_CLERK, _FILE = {"clerk: name"}, {"second: name"}
#: Where personal data are meant to be in clear, and which; written by hand. Nowhere else is any: in no table at all.
MEANT: dict[tuple[str, str], set[str]] = {
    # Who looks with a reason, and with an approval at a child; the person himself, and the guardian, whom a child's
    # own copy names with the consent.
    ("answer", "volunteers POST /v1/volunteers/{id:uuid}:unmask 200"): _all_of("adult", "child"),
    ("answer", "volunteers GET /v1/volunteers/{id:uuid}/export 200"): {
        *_all_of("adult", "child"), "guardian: name", "guardian: phone",
    },
    # The clerk's own file, given back to him for a month; of it only the name is shown.
    ("answer", "volunteers GET /v1/imports/{id:uuid}/result.xlsx 200"): {
        *_all_of("adult", "second", "stranger"), "refused: name", "refused: number with a wrong digit",
        "refused: born, in one", "refused: phone", "typed: name", "typed: phone",
    },
    **{
        ("answer", f"volunteers {what}"): _FILE
        for what in (
            "POST /v1/imports 201", "GET /v1/imports 200", "GET /v1/imports/{id:uuid} 200",
            "POST /v1/imports/{id:uuid}:confirm 202", "POST /v1/imports/{id:uuid}:undo 202",
        )
    },
    ("command", "xinhuo hours imports"): _FILE,
    ("command", "xinhuo hours show"): _FILE,
    # The names of the staff, for those who manage accounts, and for oneself.
    **{
        ("answer", f"portal {what}"): _CLERK
        for what in (
            "POST /v1/accounts 201", "GET /v1/accounts 200", "GET /v1/accounts/{id:uuid} 200",
            "PATCH /v1/accounts/{id:uuid} 200", "GET /v1/me 200",
        )
    },
    ("command", "xinhuo accounts list"): _CLERK,
}  # fmt: skip


@dataclass
class Searched:
    """What was found after all flows, and what is needed to search again."""

    watched: Watched
    needles: Needles
    spots: list[Spot]
    hits: list[Hit]

    def leaks(self, hits: list[Hit]) -> list[Hit]:
        """Return the hits that are not meant."""
        return [hit for hit in hits if hit.secret not in MEANT.get((hit.kind, hit.name), ())]


@pytest.fixture(scope="module")
def searched(
    install: Callable[[str], Installation], servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Searched]:
    started = time.monotonic()
    installation = install("rabbitmq")
    installation.settings |= {"XINHUO_LOG_LEVEL": "debug", "XINHUO_RATE_OF_STRANGERS": "0"}
    watched = Watched(installation, servers.rabbit())
    made = watched.command("topology", "apply", "--json")
    assert made.code == 0, made.stderr
    watched.spy()
    installation.spawn("--no-sample")
    installation.serve()
    (link,) = LINK.findall(installation.output.read_text(encoding="utf-8"))
    Flows(watched, tmp_path_factory.mktemp("canary"), link).run()
    flowed = time.monotonic()
    needles = Needles(people.secrets())
    spots = list(watched.all())
    hits = needles.hits(spots)
    took = f"flows {flowed - started:.1f} s, search {time.monotonic() - flowed:.1f} s"
    print(f"{took}: {len(spots)} spots, {sum(len(spot.data) for spot in spots) / 1e6:.1f} MB")
    yield Searched(watched, needles, spots, hits)
    installation.end()


@pytest.mark.timeout(180)
def test_after_all_flows_nothing_personal_is_where_it_is_not_meant_to_be(searched: Searched) -> None:
    assert searched.leaks(searched.hits) == []


@pytest.mark.timeout(180)
def test_what_is_meant_to_be_in_clear_is_and_the_list_holds_nothing_else(searched: Searched) -> None:
    found: dict[tuple[str, str], set[str]] = {}
    for hit in searched.hits:
        found.setdefault((hit.kind, hit.name), set()).add(hit.secret)
    assert {place: found.get(place, set()) for place in MEANT} == MEANT


@pytest.mark.timeout(180)
def test_every_route_was_asked_and_every_kind_of_place_searched(searched: Searched) -> None:
    all_routes = {(name, method, path) for name, of_service in routes().items() for method, path in of_service}
    assert all_routes - searched.watched.asked == set()
    statuses = {int(spot.name.rpartition(" ")[2]) for spot in searched.spots if spot.kind == "answer"}
    assert {200, 201, 400, 401, 403, 404, 409, 415, 422, 500} <= statuses
    kinds = {spot.kind for spot in searched.spots}
    assert kinds == {"answer", "url", "message", "command", "column", "metric", "file", "log"}
    names = {spot.name for spot in searched.spots}
    # Ciphertext, the event log, dead letters, the broker's public exchange, the logs of all processes.
    assert {
        "volunteers.volunteers.name", "volunteers.imports.outcomes", "volunteers.outbox.payload",
        "awards.dead_letters.body", "volunteers.events", "pub.events", "awards.events",
        *(f"{name}.log" for name in routes()),
    } <= names  # fmt: skip


@pytest.mark.timeout(180)
@pytest.mark.parametrize("what", PLANTED)
def test_a_leak_that_is_planted_is_found(searched: Searched, what: str) -> None:
    plant, kind, name = PLANTED[what]
    watched = searched.watched
    kept = len(watched.answers), len(watched.messages), len(watched.outputs)
    with plant(watched):
        hits = searched.needles.hits(watched.of_kind(kind))
    del watched.answers[kept[0] :], watched.messages[kept[1] :], watched.outputs[kept[2] :]
    leaks = set(searched.leaks(hits)) - set(searched.hits)
    assert [leak for leak in leaks if (leak.kind, leak.name) == (kind, name)], leaks

"""Every comparison finds what is planted for it, names it with its cause, and is silent while all is well."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from werkzeug.serving import make_server

from tests.support.hours import NOW
from tests.support.identity import FixedBearer, verifier
from tests.support.postgres import create_database, drop_database, migrated_template
from tests.support.reconciled import NO_PATIENCE, Three, deliveries, three_services
from tests.support.services import client_of, fetch
from xinhuo.chassis.config import load
from xinhuo.chassis.errors import Unavailable
from xinhuo.chassis.identity.actor import Actor
from xinhuo.chassis.identity.bearer import NoBearer
from xinhuo.chassis.reconcile import books, compare, results
from xinhuo.chassis.reconcile.remote import HttpSource, PeerAway
from xinhuo.chassis.reconcile.results import CAUSES
from xinhuo.chassis.web.app import HttpApp
from xinhuo.cli.reconcile import TITLES


@pytest.fixture(scope="module")
def template(postgres_url: str) -> Iterator[str]:
    """The name of a database in which everybody agrees on six people's hours, stars and messages."""
    url = create_database(postgres_url, migrated_template(postgres_url))
    with three_services(url) as three:
        three.log(people=6)
        three.deliver_everything()
    yield urlsplit(url).path.lstrip("/")
    drop_database(url)


@pytest.fixture
def url(postgres_url: str, template: str) -> Iterator[str]:
    made = create_database(postgres_url, template)
    yield made
    drop_database(made)


@pytest.fixture
def three(url: str) -> Iterator[Three]:
    with three_services(url) as made:
        yield made


def test_every_comparison_is_made_and_silent_while_all_agree(three: Three) -> None:
    made = three.results()

    assert made.keys() == TITLES.keys()
    assert {name: result.differences for name, result in made.items() if result.differences} == {}
    assert {name: (result.expected, result.found) for name, result in made.items()} == {
        "ledger_statistics": (1, 1),
        "ledger_volunteer_months": (6, 6),
        "ledger_counted": (33, 33),
        "tally_entries_tallies": (6, 6),
        "tallies_stars": (3, 3),
        "ledger_tally_entries": (30, 30),
        "ledger_tally_reversals": (3, 3),
        "ledger_acknowledgements": (30, 30),
        "stars_acknowledgements": (6, 6),
    }


@dataclass(frozen=True)
class Case:
    """Something planted, and what must be said of it."""

    name: str
    service: str
    statement: str
    comparison: str
    kind: str
    cause: str
    also: tuple[str, ...] = ()
    differences: int = 1


FIRST_ENTRY = "(SELECT min(id::text) FROM ledger_entries WHERE kind = 'entry')"
CASES = (
    Case("cell missing", "volunteers", "DELETE FROM statistics_cells", "ledger_statistics", "missing", "handled"),
    Case(
        "cell with other minutes", "volunteers", "UPDATE statistics_cells SET minutes = minutes + 1",
        "ledger_statistics", "different", "changed",
    ),
    Case(
        "cell with another count", "volunteers", "UPDATE statistics_cells SET entries = entries - 1",
        "ledger_statistics", "different", "changed",
    ),
    Case(
        "cell of another category", "volunteers", "UPDATE statistics_cells SET category = 'culture'",
        "ledger_statistics", "missing", "handled", differences=2,
    ),
    Case(
        "cell of another month", "volunteers", "UPDATE statistics_cells SET month = '2026-01-01'",
        "ledger_statistics", "extra", "unfounded", differences=2,
    ),
    Case(
        "cell too many", "volunteers",
        "INSERT INTO statistics_cells VALUES ('2026-01-01', 'U', 'T', 'culture', 60, 1)",
        "ledger_statistics", "extra", "unfounded",
    ),
    Case(
        "person's month missing", "volunteers",
        "DELETE FROM volunteer_months"
        " WHERE volunteer_id = (SELECT min(volunteer_id::text)::uuid FROM volunteer_months)",
        "ledger_volunteer_months", "missing", "handled",
    ),
    Case(
        "person's month with other minutes", "volunteers",
        "UPDATE volunteer_months SET minutes = 1"
        " WHERE volunteer_id = (SELECT min(volunteer_id::text)::uuid FROM volunteer_months)",
        "ledger_volunteer_months", "different", "changed",
    ),
    Case(
        "person's month too many", "volunteers",
        "INSERT INTO volunteer_months VALUES (gen_random_uuid(), '2026-01-01', 'U', 'T', 'culture', 60, 1)",
        "ledger_volunteer_months", "extra", "unfounded",
    ),
    Case(
        "entry never counted", "volunteers",
        "DELETE FROM inbox WHERE handler = 'volunteers.keep_statistics'"  # noqa: S608
        " AND event_id = (SELECT id FROM outbox WHERE aggregateid = " + FIRST_ENTRY + ")",
        "ledger_counted", "missing", "unhandled", also=("ledger_statistics", "ledger_volunteer_months"),
    ),
    Case(
        "tally with other minutes", "awards",
        "UPDATE tallies SET minutes = minutes + 1"
        " WHERE volunteer_id = (SELECT min(volunteer_id::text)::uuid FROM tallies)",
        "tally_entries_tallies", "different", "changed",
    ),
    Case(
        "tally too many", "awards", "INSERT INTO tallies (volunteer_id, minutes) VALUES (gen_random_uuid(), 60)",
        "tally_entries_tallies", "extra", "unfounded",
    ),
    Case(
        "tally missing", "awards",
        "DELETE FROM tallies"
        " WHERE volunteer_id = (SELECT min(volunteer_id::text)::uuid FROM tallies WHERE minutes < 6000)",
        "tally_entries_tallies", "missing", "handled",
    ),
    Case(
        "star missing", "awards",
        "DELETE FROM stars WHERE award_id = (SELECT min(award_id::text)::uuid FROM stars WHERE withdrawn_at IS NULL)",
        "tallies_stars", "missing", "handled", also=("stars_acknowledgements",),
    ),
    Case(
        "star taken away", "awards",
        "UPDATE stars SET withdrawn_at = now(), withdrawn_by = gen_random_uuid()"
        " WHERE award_id = (SELECT min(award_id::text)::uuid FROM stars WHERE withdrawn_at IS NULL)",
        "tallies_stars", "missing", "handled",
    ),
    Case(
        "star too many", "awards",
        "UPDATE stars SET withdrawn_at = NULL, withdrawn_by = NULL"
        " WHERE award_id = (SELECT min(award_id::text)::uuid FROM stars WHERE withdrawn_at IS NOT NULL)",
        "tallies_stars", "extra", "unfounded",
    ),
    Case(
        "tally entry missing", "awards",
        "DELETE FROM tally_entries WHERE entry_id = (SELECT min(entry_id::text)::uuid FROM tally_entries"
        " WHERE reversed_by IS NULL)",
        "ledger_tally_entries", "missing", "handled", also=("tally_entries_tallies",),
    ),
    Case(
        "tally entry too many", "awards",
        "INSERT INTO tally_entries (entry_id, volunteer_id, minutes) VALUES ('01900000-0000-7000-8000-000000000001',"
        " (SELECT volunteer_id FROM tallies LIMIT 1), 60)",
        "ledger_tally_entries", "extra", "unfounded", also=("tally_entries_tallies",),
    ),
    Case(
        "tally entry with other minutes", "awards",
        "UPDATE tally_entries SET minutes = minutes - 1 WHERE entry_id = (SELECT min(entry_id::text)::uuid"
        " FROM tally_entries WHERE reversed_by IS NULL)",
        "ledger_tally_entries", "different", "changed", also=("tally_entries_tallies",),
    ),
    Case(
        "tally entry of another person", "awards",
        "UPDATE tally_entries SET volunteer_id = gen_random_uuid() WHERE entry_id ="
        " (SELECT min(entry_id::text)::uuid FROM tally_entries WHERE reversed_by IS NOT NULL)",
        "ledger_tally_entries", "different", "changed",
    ),
    Case(
        "reversal not taken", "awards",
        "UPDATE tally_entries SET reversed_by = NULL WHERE entry_id = (SELECT min(entry_id::text)::uuid"
        " FROM tally_entries WHERE reversed_by IS NOT NULL)",
        "ledger_tally_reversals", "missing", "handled", also=("tally_entries_tallies",),
    ),
    Case(
        "reversal of nothing", "awards",
        "UPDATE tally_entries SET reversed_by = '01900000-0000-7000-8000-000000000002' WHERE entry_id ="
        " (SELECT min(entry_id::text)::uuid FROM tally_entries WHERE reversed_by IS NULL)",
        "ledger_tally_reversals", "extra", "unfounded", also=("tally_entries_tallies",),
    ),
    Case(
        "acknowledgement missing", "notify",
        "DELETE FROM messages WHERE id = (SELECT min(id::text)::uuid FROM messages WHERE occasion = 'hours_logged')",
        "ledger_acknowledgements", "missing", "handled",
    ),
    Case(
        "acknowledgement twice", "notify",
        "INSERT INTO messages (id, volunteer_id, occasion, subject_id, occurrence, template, title, text)"
        " SELECT gen_random_uuid(), volunteer_id, occasion, subject_id, 2, template, title, text FROM messages"
        " WHERE occasion = 'hours_logged' LIMIT 1",
        "ledger_acknowledgements", "different", "changed",
    ),
    Case(
        "acknowledgement of nothing", "notify",
        "INSERT INTO messages (id, volunteer_id, occasion, subject_id, occurrence, template, title, text)"
        " SELECT gen_random_uuid(), volunteer_id, occasion, '01900000-0000-7000-8000-000000000003', 1, template, title,"
        " text FROM messages WHERE occasion = 'hours_logged' LIMIT 1",
        "ledger_acknowledgements", "extra", "unfounded",
    ),
    Case(
        "acknowledgement to another person", "notify",
        "UPDATE messages SET volunteer_id = gen_random_uuid()"
        " WHERE id = (SELECT min(id::text)::uuid FROM messages WHERE occasion = 'hours_logged')",
        "ledger_acknowledgements", "different", "changed",
    ),
    Case(
        "star not congratulated", "notify",
        "DELETE FROM messages WHERE id = (SELECT min(id::text)::uuid FROM messages WHERE occasion = 'star_earned')",
        "stars_acknowledgements", "missing", "handled",
    ),
    Case(
        "congratulated twice", "notify",
        "INSERT INTO messages (id, volunteer_id, occasion, subject_id, occurrence, template, title, text)"
        " SELECT gen_random_uuid(), volunteer_id, occasion, subject_id, 7, template, title, text FROM messages"
        " WHERE occasion = 'star_earned' LIMIT 1",
        "stars_acknowledgements", "different", "changed",
    ),
    Case(
        "ledger row deleted", "volunteers",
        "DELETE FROM ledger_entries WHERE id = (SELECT min(id::text)::uuid FROM ledger_entries AS e"
        " WHERE kind = 'entry' AND NOT EXISTS (SELECT FROM ledger_entries AS r WHERE r.reverses = e.id))",
        "ledger_statistics", "different", "changed",
        also=("ledger_volunteer_months", "ledger_tally_entries", "ledger_acknowledgements"),
    ),
    Case(
        "ledger row with other minutes", "volunteers",
        "UPDATE ledger_entries SET minutes = 600 WHERE id = (SELECT min(id::text)::uuid FROM ledger_entries AS e"
        " WHERE kind = 'entry' AND NOT EXISTS (SELECT FROM ledger_entries AS r WHERE r.reverses = e.id))",
        "ledger_statistics", "different", "changed", also=("ledger_volunteer_months", "ledger_tally_entries"),
    ),
    Case(
        "ledger row in another cell", "volunteers",
        "UPDATE ledger_entries SET category = 'culture' WHERE id = (SELECT min(id::text)::uuid FROM ledger_entries)",
        "ledger_statistics", "different", "changed", also=("ledger_volunteer_months",), differences=2,
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_planted_is_found_and_named(three: Three, case: Case) -> None:
    three.run(case.service, case.statement)

    wrong = three.wrong()

    assert wrong.keys() == {case.comparison, *case.also}
    found = wrong[case.comparison]
    assert found.first is not None
    assert (found.differences, found.first.kind, found.first.cause) == (case.differences, case.kind, case.cause)
    assert found.first.key
    assert found.first.remedy
    assert (found.first.expected is None) == (case.kind == "extra")
    assert (found.first.found is None) == (case.kind == "missing")


def test_every_comparison_has_a_planted_difference_of_each_kind_that_it_can_have() -> None:
    found: dict[str, set[str]] = {name: set() for name in TITLES}
    for case in CASES:
        found[case.comparison].add(case.kind)
    whole = {"missing", "extra", "different"}
    assert found["ledger_statistics"] == found["ledger_volunteer_months"] == found["tally_entries_tallies"] == whole
    assert found["ledger_tally_entries"] == found["ledger_acknowledgements"] == whole
    assert found["tallies_stars"] == found["ledger_tally_reversals"] == {"missing", "extra"}
    assert found["ledger_counted"] == {"missing"}
    assert found["stars_acknowledgements"] == {"missing", "different"}
    assert {case.cause for case in CASES} <= CAUSES.keys()


# Events on their way


def test_what_is_not_published_yet_is_on_its_way_and_no_difference(three: Three) -> None:
    three.log(people=2)

    made = three.results()

    assert {name: result.differences for name, result in made.items() if result.differences} == {}
    assert made["ledger_counted"].waiting == 11
    assert made["ledger_tally_entries"].waiting == made["ledger_acknowledgements"].waiting == 10
    assert made["ledger_tally_reversals"].waiting == 1


def test_what_was_published_just_now_is_on_its_way_until_patience_ends(three: Three) -> None:
    three.log(people=2)
    three.publish("volunteers")

    assert three.wrong(timedelta(minutes=5)) == {}

    wrong = three.wrong()
    assert {name: result.first and result.first.cause for name, result in wrong.items()} == dict.fromkeys(
        ("ledger_counted", "ledger_tally_entries", "ledger_tally_reversals", "ledger_acknowledgements"), "unhandled"
    )
    assert wrong["ledger_tally_entries"].differences == 10


def test_a_dead_letter_is_named_as_the_cause_and_a_parked_event_is_on_its_way(three: Three) -> None:
    three.log(people=1)
    three.publish("volunteers")
    hours = deliveries(three.volunteers)
    handled = {row["event_id"] for row in fetch(three.notify, "SELECT event_id FROM inbox")}
    fresh = [one for one in hours if one.envelope.id not in handled and "hours_logged" in one.envelope.type]
    for number, one in enumerate(fresh[:2]):
        three.run(
            "notify",
            "INSERT INTO dead_letters (id, handler, event_id, type, reason, error, body_hash, body)"
            " VALUES (:id, 'notify.acknowledge_hours', :event, :type,"
            " 'handler.failed', 'ValueError', sha256(:body), :body)",
            id=UUID(int=number + 1), event=one.envelope.id, type=one.envelope.type, body=one.body,
        )  # fmt: skip
    for one in fresh[2:]:
        three.run(
            "notify",
            "INSERT INTO parked_events (event_id, handler, body, attempts, next_attempt_at, reason, error)"
            " VALUES (:event, 'notify.acknowledge_hours', :body, 1, now(), 'handler.failed', 'ValueError')",
            event=one.envelope.id, body=one.body,
        )  # fmt: skip

    found = three.results()["ledger_acknowledgements"]

    assert (found.differences, found.waiting) == (2, 3)
    assert found.first is not None
    assert found.first.cause == "dead_letter"
    assert str(UUID(int=1)) in found.first.about
    assert found.first.remedy.startswith(f"xinhuo dead show {UUID(int=1)}")

    three.run("notify", "UPDATE dead_letters SET state = 'dropped'")
    dropped = three.results()["ledger_acknowledgements"]
    assert dropped.first is not None
    assert (dropped.differences, dropped.first.cause) == (2, "dropped")


def test_a_fact_without_an_event_is_told(three: Three) -> None:
    three.run("volunteers", "DELETE FROM outbox WHERE aggregateid = " + FIRST_ENTRY)  # noqa: S608
    three.run("notify", "DELETE FROM messages WHERE occasion = 'hours_logged'")

    found = three.results()["ledger_acknowledgements"]

    assert found.first is not None
    assert (found.differences, found.first.cause) == (30, "unannounced")


def test_nothing_is_said_while_everybody_works(three: Three) -> None:
    errors: list[BaseException] = []
    stop = threading.Event()

    def work() -> None:
        try:
            while not stop.is_set():
                three.log(people=2)
                three.deliver_everything()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    before = fetch(three.volunteers, "SELECT count(*) AS n FROM ledger_entries")[0]["n"]
    thread.start()
    try:
        rounds = [three.wrong(timedelta(minutes=5)) for _ in range(12)]
    finally:
        stop.set()
        thread.join(30)

    assert errors == []
    assert rounds == [{}] * 12
    assert fetch(three.volunteers, "SELECT count(*) AS n FROM ledger_entries")[0]["n"] > before
    assert three.wrong() == {}


# By HTTP, as at night

SERVICE = FixedBearer(Actor(UUID(int=0x5E), "service"))


@pytest.fixture
def served(three: Three) -> Iterator[dict[str, str]]:
    """The addresses of volunteers and awards, which answer HTTP to services of the system."""
    for service in (three.volunteers, three.awards):
        service.runtime.verifier = verifier()
    three.notify.runtime.bearer = SERVICE
    servers = {
        service.name: make_server("127.0.0.1", 0, HttpApp(service), threaded=True)
        for service in (three.volunteers, three.awards)
    }
    threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in servers.values()]
    for thread in threads:
        thread.start()
    yield {name: f"http://127.0.0.1:{server.server_port}/" for name, server in servers.items()}
    for server, thread in zip(servers.values(), threads, strict=True):
        server.shutdown()
        thread.join(10)
        server.server_close()


BY_HTTP = {"tally entry missing", "tally entry too many", "reversal not taken", "acknowledgement twice", "star missing"}


@pytest.mark.parametrize("case", [case for case in CASES if case.name in BY_HTTP], ids=lambda case: case.name)
def test_the_same_is_found_by_http(three: Three, served: dict[str, str], case: Case) -> None:
    three.run(case.service, case.statement)
    sources = {name: HttpSource(name, url, SERVICE) for name, url in served.items()}

    made = [
        result for service in (three.awards, three.notify) for result in service.compare_copies(sources, NO_PATIENCE)
    ]

    expected = three.results()
    assert {result.comparison: result for result in made} == {
        name: result for name, result in expected.items() if name in {one.comparison for one in made}
    }
    assert len(made) == 4


def test_the_job_of_the_night_asks_the_services_at_the_addresses_that_are_set(
    three: Three, served: dict[str, str]
) -> None:
    three.run("notify", "DELETE FROM messages WHERE occasion = 'star_earned'")
    addresses = {f"XINHUO_{name.upper()}_URL": url for name, url in served.items()}
    settings = three.notify.runtime.settings
    three.notify.runtime.settings = replace(settings, service_urls=load(addresses).service_urls)

    with three.notify.runtime.db.transaction() as session:
        three.notify.reconcile_copies(session)

    kept = fetch(three.notify, "SELECT comparison, differences FROM reconciliations")
    # What was made seconds ago is still on its way for the job, which has patience.
    assert {row["comparison"] for row in kept} == {"ledger_acknowledgements", "stars_acknowledgements"}


def test_many_differences_are_all_counted_through_buckets_of_buckets(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "SMALL", 0)
    three.run("notify", "DELETE FROM messages WHERE id = (SELECT min(id::text)::uuid FROM messages)")
    assert three.results()["ledger_acknowledgements"].differences == 1
    three.run("notify", "DELETE FROM messages WHERE occasion = 'hours_logged'")

    found = three.results()["ledger_acknowledgements"]

    assert (found.differences, found.expected, found.found, found.complete) == (30, 30, 0, True)
    monkeypatch.setattr(compare, "_AT_ONCE", 2)
    assert three.results()["ledger_acknowledgements"].differences == 30
    monkeypatch.setattr(compare, "_MOST_FACTS", 3)
    assert not three.results()["ledger_acknowledgements"].complete


def test_a_service_that_is_away_or_answers_nonsense_is_told(three: Three, served: dict[str, str]) -> None:
    for url in ("http://127.0.0.1:9", served["awards"], "http://127.0.0.1:9/%"):
        with pytest.raises(PeerAway, match="peer"):
            three.awards.compare_copies({"volunteers": HttpSource("volunteers", url, SERVICE)})


def test_only_services_of_the_system_read_books(three: Three, served: dict[str, str]) -> None:
    clerk = FixedBearer(Actor(UUID(int=1), "clerk"))
    for bearer, why in ((clerk, "peer.unavailable"), (NoBearer(), "portal.unavailable")):
        with pytest.raises(Unavailable) as refused:
            three.awards.compare_copies({"volunteers": HttpSource("volunteers", served["volunteers"], bearer)})
        assert refused.value.code == why


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/books/entries/buckets", 400, "query.invalid"),
        ("/v1/books/entries/buckets?cut=7", 400, "query.invalid"),
        (f"/v1/books/entries/facts?cut={UUID(int=7)}&suffixes=0g", 400, "query.invalid"),
        (f"/v1/books/entries/facts?cut={UUID(int=7)}&suffixes=ab-abcd", 400, "query.invalid"),
        (f"/v1/books/entries/facts?cut={UUID(int=7)}&suffixes=abc", 400, "query.invalid"),
        (f"/v1/books/entries/facts?cut={UUID(int=7)}&suffixes=ab-", 400, "query.invalid"),
        (f"/v1/books/entries/facts?cut={UUID(int=7)}", 400, "query.invalid"),
        (f"/v1/books/entries/buckets?cut={UUID(int=7)}&suffixes=abcd", 400, "query.invalid"),
        (f"/v1/books/no-such/buckets?cut={UUID(int=7)}", 404, "book.not_found"),
        (f"/v1/books/no-such/facts/{UUID(int=7)}/event", 404, "book.not_found"),
    ],
)
def test_what_is_asked_wrongly_is_refused(three: Three, path: str, status: int, code: str) -> None:
    answer = client_of(three.volunteers).get(path)

    assert (answer.status_code, answer.json and answer.json["code"]) == (status, code)


# What is kept


def test_results_are_kept_for_the_gauges_of_every_process(three: Three) -> None:
    from xinhuo.chassis import metrics

    three.run("awards", "UPDATE tallies SET minutes = minutes + 1")
    for _ in range(2):
        with three.awards.runtime.db.transaction() as session:
            three.awards.reconcile_tables(session)

    with three.awards.runtime.db.transaction() as session:
        three.awards.refresh_gauges(session)
        results.refresh_gauges(session, "awards")

    labels = {"service": "awards", "comparison": "tally_entries_tallies"}
    read = metrics.REGISTRY.get_sample_value
    assert read("xinhuo_reconcile_difference", labels) == 6
    assert read("xinhuo_reconcile_difference", {**labels, "comparison": "tallies_stars"}) == 0
    assert (read("xinhuo_reconcile_last_success_timestamp_seconds", labels) or 0) > NOW.timestamp()

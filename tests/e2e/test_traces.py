"""One trace goes from the request to the thanks for it, through all services, to whoever collects spans."""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.support.campaign import PATIENCE, Campaign, make_campaign
from tests.support.collector import Collector, Got
from tests.support.fleet import Fleet
from tests.support.installation import Installation, clean_environment
from tests.support.waiting import wait_for
from xinhuo.chassis.ids import new_id
from xinhuo.contracts import codec

ADAPTER = "nameko" if importlib.util.find_spec("nameko") else "threads"
MEMBERS = (("portal", "all"), ("notices", "all"), ("volunteers", "api"), ("volunteers", "worker"), ("awards", "all"),
           ("notify", "all"))  # fmt: skip
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5
PARENT = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture(scope="module")
def campaign(
    install: Callable[[str], Installation], collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Campaign]:
    """A campaign on processes that send their spans ten times a second."""
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    fleet = Fleet(tmp_path_factory.mktemp("traced"), {**install("rabbitmq").settings, **settings})
    try:
        fleet.prepare()
        fleet.begin(ADAPTER, *MEMBERS)
        yield make_campaign(fleet)
    finally:
        fleet.end()


def enter(campaign: Campaign, day: int, traceparent: str | None, **headers: str) -> str:
    """Enter hours and return the id of the trace that the answer names."""
    one = campaign.installation
    given = {**one.bearing(one.who_may("POST", "/v1/hours")), **headers}
    if traceparent is not None:
        given["traceparent"] = traceparent
    answer = requests.post(one.url("volunteers") + "/v1/hours", json=campaign.hours(day, 60), headers=given, timeout=30)
    assert answer.status_code == 201, answer.text
    return answer.headers["Xinhuo-Trace-Id"]


def whole(collector: Collector, trace: str) -> dict[str, Got]:
    """Return the spans of a trace by service and name, when all that is to come of an entry has come."""
    wanted = {
        "volunteers process volunteers.keep_statistics",
        "awards process awards.add_to_tally",
        "notify process notify.acknowledge_hours",
        "volunteers send volunteers.events",
        "volunteers POST /v1/hours",
    }

    def found() -> dict[str, Got]:
        return {f"{span.service} {span.name}": span for span in collector.of(trace)}

    wait_for(lambda: wanted <= found().keys(), PATIENCE, f"all spans of the trace: {sorted(found())}")
    return found()


def test_one_trace_goes_from_the_request_through_outbox_relay_and_handlers_to_the_thanks(
    campaign: Campaign, collector: Collector
) -> None:
    trace = new_id().hex
    # With a key it is not answered together with others, and has a transaction of its own.
    assert enter(campaign, 1, f"00-{trace}-{PARENT}-01", **{"Idempotency-Key": new_id().hex}) == trace

    spans = whole(collector, trace)
    request, sent = spans["volunteers POST /v1/hours"], spans["volunteers send volunteers.events"]
    created = spans["volunteers create volunteers.hours_logged.v1"]
    transaction = next(one for one in collector.of(trace) if one.parent == request.id and one.kind == CLIENT)
    assert (request.kind, request.parent, request.role) == (SERVER, PARENT, "api")
    assert request.facts == {
        "http.request.method": "POST", "http.response.status_code": 201, "http.route": "/v1/hours"
    }  # fmt: skip
    assert (transaction.name, transaction.facts["db.system.name"]) == ("transaction", "postgresql")
    assert (created.kind, created.parent, created.role) == (PRODUCER, transaction.id, "api")
    assert (sent.kind, sent.parent, sent.links, sent.role) == (CLIENT, created.id, (created.id,), "worker")
    for name in ("volunteers.keep_statistics", "awards.add_to_tally", "notify.acknowledge_hours"):
        handled = spans[f"{name.partition('.')[0]} process {name}"]
        assert (handled.kind, handled.parent, handled.links) == (CONSUMER, created.id, (created.id,)), name
        assert handled.facts["messaging.destination.name"] == name
        assert handled.facts["cloudevents.event_id"] == created.facts["cloudevents.event_id"]
        assert any(one.parent == handled.id and one.name == "transaction" for one in collector.of(trace)), name
    assert len([one for one in collector.of(trace) if one.failed]) == 0


def test_of_requests_that_are_answered_together_each_keeps_its_trace_to_the_thanks(
    campaign: Campaign, collector: Collector
) -> None:
    one = campaign.installation
    traces = {day: new_id().hex for day in range(2, 22)}
    with ThreadPoolExecutor(len(traces)) as pool:
        named = pool.map(lambda item: enter(campaign, item[0], f"00-{item[1]}-{PARENT}-01"), traces.items())
    assert list(named) == list(traces.values())

    together = 0
    for trace in traces.values():
        spans = whole(collector, trace)
        created = spans["volunteers create volunteers.hours_logged.v1"]
        events = one.rows("SELECT payload FROM volunteers.outbox WHERE id = %s", created.facts["cloudevents.event_id"])
        assert codec.decode(bytes(events[0]["payload"])).traceparent == f"00-{trace}-{created.id}-01"
        together = max(together, spans["volunteers POST /v1/hours together"].facts["xinhuo.requests"])
    assert together > 1


@pytest.mark.parametrize(
    "given",
    [
        None,
        "nonsense",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        f"ff-{'b' * 32}-{PARENT}-01",
        f"00-{'C' * 32}-{PARENT}-01",
        "00-" + "d" * 5000,
    ],
    ids=["none", "nonsense", "no trace", "no span", "unknown version", "capitals", "long"],
)
def test_a_traceparent_that_is_none_begins_a_trace_of_its_own(
    campaign: Campaign, collector: Collector, given: str | None
) -> None:
    one = campaign.installation
    headers = {"traceparent": given} if given else {}
    answer = requests.get(one.url("volunteers") + "/v1/volunteers/" + str(new_id()), headers=headers, timeout=30)

    trace = answer.headers["Xinhuo-Trace-Id"]
    assert re.fullmatch("[0-9a-f]{32}", trace)
    assert trace not in (given or "")
    (span,) = wait_for(lambda: collector.of(trace), PATIENCE, "its span")
    assert (span.parent, span.name) == ("", "GET /v1/volunteers/{id:uuid}")
    assert span.facts["http.response.status_code"] == 401


def test_a_request_that_its_caller_does_not_sample_is_not_recorded_and_neither_is_what_comes_of_it(
    campaign: Campaign, collector: Collector
) -> None:
    trace = new_id().hex
    enter(campaign, 23, f"00-{trace}-{PARENT}-00")
    # What is entered after it and shows as whole was recorded, sent and handled later.
    whole(collector, enter(campaign, 24, None))
    assert collector.of(trace) == []


def test_no_span_says_who_it_is_about(campaign: Campaign, collector: Collector) -> None:
    whole(collector, enter(campaign, 25, None))
    said = json.dumps([[span.name, span.facts] for span in collector.spans], ensure_ascii=False)
    for personal in (campaign.volunteer["id"], "测试", "14200010001", campaign.team, campaign.units[0]):
        assert personal not in said, personal
    assert "awards.add_to_tally" in said


def test_a_process_that_is_not_told_where_to_send_spans_imports_nothing_for_it() -> None:
    program = (
        "import sys; from xinhuo.cli import process; process.prepare()\n"
        "from xinhuo.chassis import config, trace; from xinhuo.cli import build\n"
        "import xinhuo.chassis.adapters.threads\n"
        "settings = config.load({})\n"
        "process._begin_traces(settings, 'volunteers', 'api')()\n"
        "build.service_classes()\n"
        "assert not trace.recorded()\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean_environment(), capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_collector_that_is_away_holds_up_neither_the_work_nor_the_stop(tmp_path: Path, campaign: Campaign) -> None:
    fleet = Fleet(tmp_path, dict(campaign.installation.settings))
    fleet.settings |= {
        "XINHUO_KEY_FILE": campaign.installation.settings["XINHUO_KEY_FILE"],
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    try:
        fleet.begin(ADAPTER, ("volunteers", "api"))
        answers = [requests.get(fleet.url("volunteers") + "/v1/volunteers", timeout=5) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {401}
        fleet.finish(("volunteers", "api"))
    finally:
        fleet.end()

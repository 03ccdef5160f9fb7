"""The wire is read strictly: whatever is odd gets a stable code and no look at what the body holds."""

import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from xinhuo.contracts import codec
from xinhuo.contracts.awards import StarEarned
from xinhuo.contracts.base import EVENTS, Event, Internal
from xinhuo.contracts.codec import Envelope, Undecodable
from xinhuo.contracts.notices import NoticeIssued, ObligationOfNotice, UnitRegistered
from xinhuo.contracts.volunteers import HoursLogged

ID = UUID("0195630c-a000-7abc-8def-0123456789ab")
DATA = {
    "entry_id": str(ID),
    "volunteer_id": str(ID),
    "team_code": "DEMO-T-01",
    "unit_code": "DEMO-XX-01",
    "activity_id": str(ID),
    "category": "care",
    "served_on": "2026-03-05",
    "minutes": 60,
}
WHOLE = {
    "specversion": "1.0",
    "id": str(ID),
    "source": "/xinhuo/volunteers",
    "type": "volunteers.hours_logged.v1",
    "time": "2026-03-05T01:30:00Z",
    "data": DATA,
}


def written(value):
    return json.dumps(value, ensure_ascii=False).encode()


def envelope_with(**changes):
    return written({**WHOLE, **changes})


def data_with(**changes):
    return envelope_with(data={**DATA, **changes})


def without(whole, name):
    return {key: value for key, value in whole.items() if key != name}


def code_of(body):
    with pytest.raises(Undecodable) as caught:
        codec.decode(body)
    assert caught.value.code in codec.CODES
    assert str(caught.value) == f"{caught.value.code}: {caught.value.why}"
    return caught.value.code


def test_a_whole_event_is_read():
    envelope = codec.decode(written(WHOLE))
    assert envelope.id == ID
    assert envelope.type == "volunteers.hours_logged.v1"
    assert envelope.time == datetime(2026, 3, 5, 1, 30, tzinfo=UTC)
    assert isinstance(envelope.data, HoursLogged)
    assert (envelope.data.minutes, envelope.data.volunteer_id) == (60, ID)
    assert (envelope.subject, envelope.traceparent, envelope.correlationid, envelope.causationid) == (None,) * 4


BROKEN = [
    ("event.undecodable", b""),
    ("event.undecodable", b"kettle"),
    ("event.undecodable", b"\x80\x04\x95\x10."),
    ("event.undecodable", written(WHOLE)[:-1]),
    ("event.undecodable", written(WHOLE) + b"x"),
    ("event.undecodable", b"\xef\xbb\xbf" + written(WHOLE)),
    ("event.undecodable", b"null"),
    ("event.undecodable", b"7"),
    ("event.undecodable", b'"text"'),
    ("event.undecodable", b"[" + written(WHOLE) + b"]"),
    ("event.undecodable", data_with(minutes=float("nan"))),
    ("event.undecodable", data_with(minutes=float("inf"))),
    ("event.undecodable", data_with(later=float("-inf"))),
    ("event.undecodable", envelope_with(data=float("nan"))),
    ("event.undecodable", json.dumps({**WHOLE, "source": "薪火"}, ensure_ascii=False).encode("gbk")),
    ("event.undecodable", written(WHOLE).replace(b"DEMO-T-01", "队".encode("gbk"))),
    ("event.undecodable", data_with(later="here").replace(b"here", "队".encode("gbk"))),
    ("event.undecodable", written(WHOLE).replace(b"DEMO-T-01", rb"\ud800")),
    ("event.undecodable", envelope_with(later=1).replace(b'"later": 1', b'"later":' + b"[" * 20000 + b"]" * 20000)),
    ("event.undecodable", data_with(later=1).replace(b'"later": 1', b'"later":' + b"[" * 20000 + b"]" * 20000)),
    ("event.envelope_incomplete", b"{}"),
    *(("event.envelope_incomplete", written(without(WHOLE, name))) for name in WHOLE),
    *(("event.envelope_incomplete", envelope_with(**{name: None})) for name in WHOLE if name != "data"),
    *(("event.envelope_incomplete", envelope_with(**{name: 7})) for name in WHOLE if name != "data"),
    ("event.envelope_incomplete", b"  " + written(without(WHOLE, "id"))),
    ("event.envelope_incomplete", envelope_with(specversion="0.3")),
    ("event.envelope_incomplete", envelope_with(specversion="")),
    ("event.envelope_incomplete", envelope_with(source="")),
    ("event.envelope_incomplete", envelope_with(id="")),
    ("event.envelope_incomplete", envelope_with(id="kettle")),
    ("event.envelope_incomplete", envelope_with(id=f"urn:uuid:{ID}")),
    ("event.envelope_incomplete", envelope_with(id=f"{{{ID}}}")),
    ("event.envelope_incomplete", envelope_with(time="2026-03-05T01:30:00")),
    ("event.envelope_incomplete", envelope_with(time="2026-02-30T01:30:00Z")),
    ("event.envelope_incomplete", envelope_with(time="yesterday")),
    ("event.envelope_incomplete", envelope_with(time="0001-01-01T00:00:00+14:00")),
    ("event.envelope_incomplete", envelope_with(subject=7)),
    ("event.envelope_incomplete", envelope_with(traceparent=["x"])),
    ("event.unknown_type", envelope_with(type="")),
    ("event.unknown_type", envelope_with(type="kettle")),
    ("event.unknown_type", envelope_with(type="volunteers.kettle_boiled.v1")),
    ("event.unknown_type", envelope_with(type="awards.hours_logged.v1")),
    ("event.unknown_version", envelope_with(type="volunteers.hours_logged.v2")),
    ("event.unknown_version", envelope_with(type="volunteers.hours_logged.v01")),
    ("event.invalid", envelope_with(data=None)),
    ("event.invalid", envelope_with(data=[])),
    ("event.invalid", envelope_with(data="{}")),
    ("event.invalid", envelope_with(data={})),
    *(("event.invalid", envelope_with(data=without(DATA, name))) for name in DATA),
    *(("event.invalid", data_with(**{name: None})) for name in DATA),
    ("event.invalid", data_with(minutes="60")),
    ("event.invalid", data_with(minutes=12.5)),
    ("event.invalid", data_with(minutes=60.0)),
    ("event.invalid", data_with(minutes=True)),
    ("event.invalid", data_with(minutes=60).replace(b'"minutes": 60', b'"minutes": 1e999')),
    ("event.invalid", data_with(entry_id="kettle")),
    ("event.invalid", data_with(served_on="2026-02-30")),
    ("event.invalid", data_with(served_on="2026-03-05T00:00:00Z")),
    ("event.invalid", data_with(team_code=7)),
    ("event.too_large", data_with(later="x" * codec.MAX_EVENT_BYTES)),
    ("event.too_large", b" " * (codec.MAX_EVENT_BYTES + 1)),
]


@pytest.mark.parametrize(("code", "body"), BROKEN)
def test_bytes_that_are_no_event_are_refused_with_a_stable_code(code, body):
    assert code_of(body) == code


def test_an_event_may_take_up_the_whole_limit_and_no_byte_more():
    body = data_with(later="")
    filled = body.replace(b'"later": ""', b'"later": "' + b"x" * (codec.MAX_EVENT_BYTES - len(body)) + b'"')
    assert len(filled) == codec.MAX_EVENT_BYTES
    assert codec.decode(filled).id == ID
    assert code_of(filled + b" ") == "event.too_large"


@pytest.mark.parametrize(
    "body", [envelope_with(later={"a": [1]}), data_with(later="x"), envelope_with(comexampleextension=1)]
)
def test_a_field_that_is_not_known_is_ignored(body):
    assert codec.decode(body) == codec.decode(written(WHOLE))


def test_a_time_with_another_zone_is_read_as_utc():
    envelope = codec.decode(envelope_with(time="2026-03-05T09:30:00+08:00"))
    assert envelope.time == datetime(2026, 3, 5, 1, 30, tzinfo=UTC)
    assert envelope.time.tzinfo is UTC


@pytest.mark.parametrize(
    "body",
    [
        data_with(entry_id="11010519491231002X"),
        data_with(served_on="11010519491231002X"),
        data_with(minutes="11010519491231002X"),
        data_with(team_code=["11010519491231002X"]),
        envelope_with(id="11010519491231002X"),
        envelope_with(time="11010519491231002X"),
        envelope_with(type="11010519491231002X"),
        b"11010519491231002X",
    ],
)
def test_a_refusal_never_repeats_the_body(body):
    with pytest.raises(Undecodable) as caught:
        codec.decode(body)
    assert "11010519491231002X" not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"


def envelope_of(data, **more):
    return Envelope(
        id=ID,
        time=datetime(2026, 3, 5, 9, 30, tzinfo=timezone(timedelta(hours=8))),
        data=data,
        source=codec.source_of(data.publisher),
        subject=data.subject,
        **more,
    )


LOGGED = codec.decode(written(WHOLE)).data


def test_what_is_written_is_read_back_the_same():
    envelope = envelope_of(
        LOGGED, traceparent="00-aa-bb-01", correlationid=str(ID), causationid="0195630c-a000-7abc-8def-000000000000"
    )
    assert codec.decode(codec.encode(envelope)) == envelope


def test_the_envelope_says_all_that_cloudevents_asks_for():
    said = json.loads(codec.encode(envelope_of(LOGGED)))
    assert without(said, "data") == {
        "specversion": "1.0",
        "id": str(ID),
        "source": "/xinhuo/volunteers",
        "type": "volunteers.hours_logged.v1",
        "time": "2026-03-05T01:30:00Z",
        "subject": str(ID),
        "datacontenttype": "application/json",
        "dataschema": "urn:xinhuo:schema:volunteers.hours_logged.v1",
    }
    assert said["data"] == DATA


def test_chinese_is_written_as_it_is_and_not_as_escapes():
    notice = NoticeIssued(
        notice_id=ID, number="示教办〔2026〕1号", issued_on="2026-03-05", starts_at=datetime(2026, 3, 1, tzinfo=UTC)
    )
    assert "示教办〔2026〕1号".encode() in codec.encode(envelope_of(notice))


def test_an_event_larger_than_a_reader_takes_is_not_written():
    many = tuple(f"DEMO-XX-{number:05}" for number in range(5000))
    duty = ObligationOfNotice(code="report", kind="report", lateness="none", unit_codes=many)
    notice = NoticeIssued(
        notice_id=ID,
        number="示教办〔2026〕1号",
        issued_on="2026-03-05",
        starts_at=datetime(2026, 3, 1, tzinfo=UTC),
        obligations=(duty,),
    )
    for write in (codec.encode, codec.encode_public):
        with pytest.raises(Undecodable) as caught:
            write(envelope_of(notice))
        assert caught.value.code == "event.too_large"


def test_the_public_form_leaves_out_internal_fields_and_names_its_own_schema():
    public = json.loads(codec.encode_public(envelope_of(LOGGED)))
    assert public["data"] == without(DATA, "volunteer_id")
    assert public["dataschema"] == "urn:xinhuo:schema:volunteers.hours_logged.v1:public"
    assert public["subject"] == str(ID)


def test_the_public_form_of_an_event_without_internal_fields_is_whole():
    unit = UnitRegistered(unit_code="DEMO-XX-01", kind="primary")
    assert json.loads(codec.encode_public(envelope_of(unit)))["data"] == {
        "unit_code": "DEMO-XX-01",
        "kind": "primary",
        "parent_code": None,
        "staff_count": None,
        "student_count": None,
        "counted_on": None,
    }


@pytest.fixture
def planted(monkeypatch):
    """Room for event classes of a test, gone after it."""
    known = dict(EVENTS)
    yield
    EVENTS.clear()
    EVENTS.update(known)


@pytest.mark.usefixtures("planted")
def test_the_public_form_leaves_out_a_subject_that_is_internal():
    class PersonSeen(Event, topic="volunteers.person_seen.v1", public=True, subject="volunteer_id"):
        """Somebody was seen."""

        volunteer_id: Internal[UUID]

    public = json.loads(codec.encode_public(envelope_of(PersonSeen(volunteer_id=ID))))
    assert public["data"] == {}
    assert "subject" not in public
    assert str(ID) in codec.encode(envelope_of(PersonSeen(volunteer_id=ID))).decode()


@pytest.mark.usefixtures("planted")
def test_an_event_that_is_not_public_has_no_public_form():
    class DoorShut(Event, topic="volunteers.door_shut.v1"):
        """A door was shut."""

        door_code: str

    with pytest.raises(ValueError, match="not public"):
        codec.encode_public(envelope_of(DoorShut(door_code="D")))


def test_a_batch_comes_apart_as_it_was_put_together():
    star = StarEarned(
        award_id=ID, volunteer_id=ID, star=1, occurrence=1, minutes_total=6000, threshold_minutes=6000,
        rule="stars@2026-01-01", earned_on="2026-03-05",
    )  # fmt: skip
    bodies = [codec.encode(envelope_of(data)) for data in (LOGGED, star)]
    assert codec.split_batch(codec.join_batch(bodies)) == bodies
    assert codec.split_batch(codec.join_batch([])) == []


def test_a_broken_event_does_not_spoil_the_others_of_its_batch():
    good = written(WHOLE)
    parts = codec.split_batch(codec.join_batch([good, b'{"odd":1}', b"7"]))
    assert parts == [good, b'{"odd":1}', b"7"]


@pytest.mark.parametrize("bodies", [[], [written(WHOLE)], [written(WHOLE), data_with(minutes=61), data_with(later=1)]])
def test_a_batch_that_is_read_at_once_says_what_its_events_say_one_by_one(bodies):
    assert codec.decode_batch(bodies, HoursLogged.topic) == [codec.decode(body) for body in bodies]


@pytest.mark.parametrize("body", [body for _, body in BROKEN])
def test_a_batch_is_not_read_at_once_when_one_of_its_events_is_broken(body):
    assert codec.decode_batch([written(WHOLE), body], HoursLogged.topic) is None


@pytest.mark.parametrize("topic", ["", "kettle", StarEarned.topic])
def test_a_batch_is_not_read_at_once_when_its_events_are_of_another_type_than_it_says(topic):
    assert codec.decode_batch([written(WHOLE)], topic) is None


def test_a_batch_is_not_read_at_once_when_one_body_holds_two_events():
    assert codec.decode_batch([written(WHOLE) + b"," + written(WHOLE)], HoursLogged.topic) is None


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("event.too_large", b"[" + b" " * codec.MAX_BATCH_BYTES + b"]"),
        ("event.undecodable", b""),
        ("event.undecodable", b"{}"),
        ("event.undecodable", b"7"),
        ("event.undecodable", b"[1,"),
        ("event.undecodable", b"[NaN]"),
        ("event.undecodable", b"\x80\x04"),
        ("event.undecodable", b"[" * 20000 + b"]" * 20000),
    ],
)
def test_a_batch_that_is_no_array_or_too_large_is_refused(code, body):
    with pytest.raises(Undecodable) as caught:
        codec.split_batch(body)
    assert caught.value.code == code

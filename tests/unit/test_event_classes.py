"""Event classes keep their promises: permanent topics, frozen values, and nothing about persons."""

import re
import types
from collections.abc import Iterator
from datetime import date
from typing import Any, Union, get_args, get_origin
from uuid import UUID

import msgspec
import pytest

from xinhuo.contracts.base import EVENTS, Event, Instant, Internal, internal_fields, load_all

ID = UUID("0195630c-a000-7abc-8def-0123456789ab")

#: Words that stand for a person or for free text, which may hold anything about one.
PERSONAL = frozenset(
    [
        "address",
        "avatar",
        "bank",
        "birth",
        "birthday",
        "body",
        "caption",
        "card",
        "comment",
        "contact",
        "content",
        "description",
        "detail",
        "email",
        "face",
        "fax",
        "file",
        "gender",
        "grade",
        "guardian",
        "health",
        "idcard",
        "image",
        "label",
        "latitude",
        "location",
        "longitude",
        "mail",
        "message",
        "mobile",
        "name",
        "names",
        "nation",
        "note",
        "notes",
        "passport",
        "password",
        "phone",
        "photo",
        "picture",
        "plate",
        "position",
        "reason",
        "recipient",
        "remark",
        "sex",
        "signature",
        "summary",
        "tel",
        "telephone",
        "text",
        "title",
        "url",
        "wechat",
        "wecom",
        "weixin",
    ]
)
#: Fields that contain one of these words and hold something else: a closed list of codes.
NOT_PERSONAL = frozenset({"reason_code"})
#: Opaque ids of persons: allowed between our services, left out of public forms.
OF_PERSONS = re.compile(r"(volunteer|person|member|guardian|teacher|student|leader|user)_ids?")
#: Text fields that hold a code: by the ending, or by the whole name.
CODE_LIKE = re.compile(r"(.*_)?(code|codes|kind|class|state|status)")
CODES = frozenset(
    {
        "category",  # code of a category of the notice
        "lateness",  # one of four words
        "number",  # number of an official document, checked by its pattern
        "rule",  # reference of a dated rule
        "addressees",  # codes of units
    }
)
PLAIN = frozenset({UUID, date, int, bool})


def offences(struct: type[msgspec.Struct], *, public: bool) -> Iterator[str]:
    """Yield the fields by which something personal, or anything at all, could slip into an event."""
    internal = internal_fields(struct)
    for field in msgspec.structs.fields(struct):
        name = field.name
        of_person = OF_PERSONS.fullmatch(name)
        if name not in NOT_PERSONAL and not of_person and (PERSONAL & set(name.split("_")) or "id_number" in name):
            yield f"{name}: names something personal or free text"
        if public and of_person and name not in internal:
            yield f"{name}: the id of a person must be Internal"
        for part in leaves(field.type):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                yield from offences(part, public=public)
            elif part is str and not (CODE_LIKE.fullmatch(name) or name in CODES):
                yield f"{name}: text that is no code"
            elif part is not str and part not in PLAIN and part != Instant:
                yield f"{name}: {part} has no place in an event"


def leaves(annotation: Any) -> Iterator[Any]:
    """Yield the types a field is made of, without marks, ``None``, unions and lists."""
    if annotation == Instant:
        yield Instant
    elif hasattr(annotation, "__metadata__"):
        yield from leaves(get_args(annotation)[0])
    elif get_origin(annotation) in {Union, types.UnionType, tuple, list}:
        for part in get_args(annotation):
            if part not in (types.NoneType, ...):
                yield from leaves(part)
    else:
        yield annotation


@pytest.fixture(autouse=True)
def planted():
    """Room for event classes of a test, gone after it."""
    known = dict(load_all())
    yield
    EVENTS.clear()
    EVENTS.update(known)


def event_with(field, annotation):
    return type(Event)("Planted", (Event,), {"__annotations__": {field: annotation}, "__module__": __name__})


CLASSES = list(load_all().values())


@pytest.mark.parametrize("event", CLASSES, ids=lambda event: event.topic)
def test_no_event_can_carry_anything_personal(event):
    assert list(offences(event, public=event.public)) == []


class Nested(msgspec.Struct):
    name: str


@pytest.mark.parametrize(
    ("field", "annotation"),
    [
        ("volunteer_name", str),
        ("name", str),
        ("names", tuple[str, ...]),
        ("phone", str),
        ("mobile_phone", str | None),
        ("id_number", str),
        ("id_number_code", str),
        ("home_address", str),
        ("title", str),
        ("note", str | None),
        ("reason", str),
        ("text", str),
        ("remark", str),
        ("birth_date", date),
        ("photo_id", UUID),
        ("where", str),
        ("labels_of_things", tuple[str, ...]),
        ("anything", Any),
        ("extra", dict[str, Any]),
        ("extra", dict[str, int]),
        ("payload", bytes),
        ("hours", float),
        ("items", tuple[Nested, ...]),
        ("item", Nested | None),
        ("volunteer_id", UUID),
        ("person_id", UUID | None),
        ("volunteer_ids", tuple[UUID, ...]),
    ],
)
def test_the_scan_finds_a_field_that_could_carry_something_personal(field, annotation):
    event = event_with(field, annotation)
    assert list(offences(event, public=True))


def test_the_scan_lets_ids_codes_numbers_and_dates_pass():
    class Sound(Event, topic="volunteers.sound.v1", public=True):
        """Everything that may be in an event."""

        entry_id: UUID
        volunteer_id: Internal[UUID]
        guardian_id: Internal[UUID] | None = None
        unit_code: str
        unit_codes: tuple[str, ...] = ()
        minutes: int
        counts: bool
        served_on: date | None = None
        due_at: Instant | None = None

    assert list(offences(Sound, public=True)) == []


@pytest.mark.parametrize("event", CLASSES, ids=lambda event: event.topic)
def test_an_event_is_named_after_its_module_and_fact_and_says_what_happened(event):
    assert event.__module__ == f"xinhuo.contracts.{event.publisher}"
    assert event.__name__ == "".join(word.capitalize() for word in event.fact.split("_"))
    assert event.topic == f"{event.publisher}.{event.fact}.v{event.version}"
    assert event.__doc__
    assert event.__doc__.strip().endswith(".")


@pytest.mark.parametrize("event", CLASSES, ids=lambda event: event.topic)
def test_an_event_is_frozen_and_its_fields_are_given_by_name(event):
    assert event.__struct_config__.frozen
    assert event.__struct_fields__
    with pytest.raises(TypeError, match="positional"):
        event("A")


def test_a_field_of_an_event_cannot_be_set_again():
    class UnitSeen(Event, topic="notices.unit_seen.v1", subject="unit_code"):
        """A unit was seen."""

        unit_code: str

    seen = UnitSeen(unit_code="A")
    with pytest.raises(AttributeError):
        seen.unit_code = "B"
    assert hash(seen) == hash(UnitSeen(unit_code="A"))
    assert seen.subject == "A"
    assert (UnitSeen.publisher, UnitSeen.fact, UnitSeen.version, UnitSeen.public) == (
        "notices",
        "unit_seen",
        1,
        False,
    )


def test_an_event_may_have_no_subject():
    class Rang(Event, topic="notices.bell_rung.v12"):
        """A bell rang."""

        bell_code: str

    assert Rang(bell_code="A").subject is None
    assert Rang.version == 12


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "kettle",
        "kettle.boiled",
        "kettle.boiled.1",
        "kettle.boiled.v",
        "kettle.boiled.v0",
        "kettle.boiled.v01",
        "kettle.boiled.v1x",
        "kettle.boiled.v１",
        "kettle.Boiled.v1",
        "kettle.has-boiled.v1",
        "kettle.boiled_.v1",
        "kettle.was.boiled.v1",
        "ket_tle.boiled.v1",
        " kettle.boiled.v1",
        "kettle.boiled.v1\n",
    ],
)
def test_a_topic_that_is_not_publisher_fact_and_version_is_refused(topic):
    with pytest.raises(TypeError, match="topic"):
        type(Event)("Odd", (Event,), {"__annotations__": {}}, topic=topic)
    assert topic not in EVENTS


def test_a_topic_that_is_taken_is_refused():
    with pytest.raises(TypeError, match="taken by HoursLogged"):
        type(Event)("Copycat", (Event,), {"__annotations__": {}}, topic="volunteers.hours_logged.v1")
    assert EVENTS["volunteers.hours_logged.v1"].__name__ == "HoursLogged"


def test_a_subject_that_is_no_field_is_refused():
    with pytest.raises(TypeError, match="no field 'unit'"):
        type(Event)("Odd", (Event,), {"__annotations__": {}}, topic="notices.unit_lost.v1", subject="unit")
    assert "notices.unit_lost.v1" not in EVENTS


def test_a_class_without_a_topic_is_a_base_and_no_event():
    class Base(Event):
        """Shared fields."""

        unit_code: str

    assert Base not in EVENTS.values()


class Inner(msgspec.Struct):
    volunteer_id: Internal[UUID]
    minutes: int


class Outer(msgspec.Struct):
    minutes: int


@pytest.mark.parametrize(
    ("annotation", "internal"),
    [
        (Internal[UUID], True),
        (Internal[UUID] | None, True),
        (Internal[UUID | None], True),
        (tuple[Internal[UUID], ...], True),
        (list[Internal[int]] | None, True),
        (Inner, True),
        (tuple[Inner, ...], True),
        (UUID, False),
        (Instant, False),
        (Instant | None, False),
        (Outer | None, False),
        (tuple[Outer, ...], False),
    ],
)
def test_a_field_is_internal_when_the_mark_stands_anywhere_in_its_type(annotation, internal):
    event = event_with("of_whom", annotation)
    assert internal_fields(event) == (frozenset({"of_whom"}) if internal else frozenset())


def test_a_persons_id_is_internal_in_every_event_that_has_one():
    having = [event for event in CLASSES if "volunteer_id" in event.__struct_fields__]
    assert len(having) >= 4
    assert [event.topic for event in having if "volunteer_id" not in internal_fields(event)] == []

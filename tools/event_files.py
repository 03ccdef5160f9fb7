"""Files made from the event classes: JSON Schemas, golden samples with their list of hashes, the catalogue."""

import hashlib
import json
import types
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Union, get_args, get_origin
from uuid import UUID

import msgspec

from tools.markdown import GENERATED, one_line, table
from xinhuo.chassis.markers import Subscription, marked
from xinhuo.chassis.service import Service
from xinhuo.chassis.topology import queue_name
from xinhuo.contracts import codec
from xinhuo.contracts.base import Event, Instant, internal_fields, load_all

CONTRACTS = "xinhuo/contracts"
HASHES = f"{CONTRACTS}/samples.sha256"

#: Invented values of the golden samples by the name of the field, alone or behind that of what it is part of;
#: other fields get one by their type.
SAMPLE_VALUES: Mapping[str, Any] = {
    "addressees": ("DEMO-XX-01", "DEMO-XX-02"),
    "categories.code": "care-for-the-elderly",
    "category": "care-for-the-elderly",
    "counted_on": date(2026, 3, 1),
    "due_at": datetime(2026, 4, 30, 16, tzinfo=UTC),
    "due_on": date(2026, 4, 30),
    "ends_at": datetime(2026, 4, 30, 16, tzinfo=UTC),
    "kind": "primary",
    "lateness": "forfeit",
    "minutes": 120,
    "minutes_total": 6030,
    "awards.star_withdrawn.v1.minutes_total": 5910,
    "number": "示教办〔2026〕1号",
    "obligations.code": "nominate-volunteers",
    "obligations.kind": "nomination",
    "parent_code": "DEMO-JY",
    "reason_code": "wrong_time",
    "rule": "stars@2026-01-01",
    "service_class": "0017",
    "staff_count": 199,
    "starts_at": datetime(2026, 2, 28, 16, tzinfo=UTC),
    "student_count": 2999,
    "team_code": "DEMO-T-01",
    "threshold_minutes": 6000,
    "unit_code": "DEMO-XX-01",
    "unit_codes": ("DEMO-XX-01", "DEMO-XX-02"),
}
_SAMPLE_DAY = date(2026, 3, 5)
_SAMPLE_TIME = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)


def events() -> list[type[Event]]:
    """Return the event classes of the contracts, by topic."""
    known = load_all().values()
    return sorted(
        (event for event in known if event.__module__.startswith("xinhuo.contracts.")),
        key=lambda event: event.topic,
    )


# JSON Schemas


def schemas() -> Iterator[tuple[str, str]]:
    """Yield path and text of the JSON Schema of every event, and of its public form."""
    for event in events():
        yield f"{CONTRACTS}/schemas/{event.topic}.json", _as_json(json_schema(event))
        if event.public:
            yield f"{CONTRACTS}/schemas/{event.topic}.public.json", _as_json(json_schema(event, public=True))


def json_schema(event: type[Event], *, public: bool = False) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of an event as it is on the wire, envelope and data.

    Between our services unknown fields are ignored; the public form is closed, so that nothing but what is
    written here can leave.
    """
    data = _data_schema(event)
    subject = event.subject_field
    if public:
        hidden = internal_fields(event)
        subject = None if subject in hidden else subject
        data["properties"] = {name: of for name, of in data["properties"].items() if name not in hidden}
        data["required"] = [name for name in data["required"] if name not in hidden]
        for part in (data, *data.get("$defs", {}).values()):
            part["additionalProperties"] = False
    properties: dict[str, Any] = {
        "specversion": {"const": "1.0"},
        "id": {"description": "The event's UUIDv7; the same again is a repetition.", **_UUID},
        "source": {"const": codec.source_of(event.publisher)},
        "type": {"const": event.topic},
        "time": {"description": "When the fact became true, UTC.", **_TIME},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"const": codec.schema_uri(event.topic, public=public)},
        "subject": {"description": f"The event's {subject}.", "type": "string"},
        "traceparent": {"description": "W3C trace context.", "type": "string"},
        "correlationid": {"description": "The id of the event at the head of the chain.", "type": "string"},
        "causationid": {"description": "The id of the event that this one follows from.", "type": "string"},
        "data": {"$id": codec.schema_uri(event.topic, public=public), **data},
    }
    required = ["specversion", "id", "source", "type", "time", "datacontenttype", "dataschema", "data"]
    if subject is None:
        del properties["subject"]
    else:
        required.insert(-1, "subject")
    form = "public form" if public else "form between our own services"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:xinhuo:event:{event.topic}{':public' if public else ''}",
        "title": f"{event.topic} ({form})",
        "type": "object",
        "properties": properties,
        "required": required,
    }


_UUID = {"type": "string", "format": "uuid"}
_TIME = {"type": "string", "format": "date-time"}


def _data_schema(event: type[Event]) -> dict[str, Any]:
    schema = msgspec.json.schema(event)
    parts = {name: _tidied(part) for name, part in schema["$defs"].items()}
    data = parts.pop(event.__name__)
    return {**data, "$defs": parts} if parts else data


def _tidied(part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "description": one_line(part["description"])}


# Golden samples


def sample_path(event: type[Event]) -> str:
    """Return where the golden sample of an event is."""
    return f"{CONTRACTS}/samples/{event.topic}.json"


def sample(event: type[Event]) -> codec.Envelope:
    """Return an invented event, always the same."""
    data = _sample_of(event, event.topic)
    assert isinstance(data, event)  # noqa: S101  (for the type checker)
    return codec.Envelope(
        id=_sample_id(event.topic),
        time=_SAMPLE_TIME,
        data=data,
        source=codec.source_of(event.publisher),
        subject=data.subject,
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        correlationid=str(_sample_id("head of the chain")),
        causationid=str(_sample_id("cause")),
    )


def sample_text(envelope: codec.Envelope) -> str:
    """Return the file of a sample: the bytes of the wire, indented."""
    return msgspec.json.format(codec.encode(envelope), indent=2).decode() + "\n"


def _sample_of(struct: type[msgspec.Struct], owner: str) -> msgspec.Struct:
    return struct(**{
        field.name: _sample_value(field.name, field.type, owner) for field in msgspec.structs.fields(struct)
    })  # fmt: skip


def _sample_value(name: str, annotation: Any, owner: str) -> Any:
    part = _plain_type(annotation)
    nested = next((of for of in get_args(part) if isinstance(of, type) and issubclass(of, msgspec.Struct)), None)
    if nested is not None:
        return (_sample_of(nested, name),)
    for key in (f"{owner}.{name}", name):
        if key in SAMPLE_VALUES:
            return SAMPLE_VALUES[key]
    if part is UUID:
        return _sample_id(name)
    if part is date:
        return _SAMPLE_DAY
    if part is bool:
        return True
    if part is int:
        return 1
    raise ValueError(f"{owner}: name a value for {name} in tools.event_files.SAMPLE_VALUES")


def _sample_id(name: str) -> UUID:
    """Return an invented UUIDv7 of the samples' day."""
    bits = hashlib.sha256(name.encode()).hexdigest()
    return UUID(f"0195630c-a000-7{bits[:3]}-8{bits[3:6]}-{bits[6:18]}")


def add_samples(root: Path) -> list[str]:
    """Write the samples that are not listed yet and append them to the list; return their paths.

    A sample that is listed is never written again, whatever became of it: that is what keeps history.
    """
    listed = listed_hashes((root / HASHES).read_text() if (root / HASHES).exists() else "")
    added = []
    for event in events():
        path = sample_path(event)
        name = path.removeprefix(f"{CONTRACTS}/")
        if name in listed:
            continue
        body = sample_text(sample(event)).encode()
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(body)
        with (root / HASHES).open("a") as hashes:
            hashes.write(f"{hashlib.sha256(body).hexdigest()}  {name}\n")
        added.append(path)
    return added


def listed_hashes(text: str) -> dict[str, str]:
    """Return the hashes of a list by file name, the form of ``sha256sum``."""
    return {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}


def broken_samples(root: Path) -> Iterator[str]:
    """Yield what is wrong with the golden samples: changed, missing, not listed, or an event without one."""
    text = (root / HASHES).read_text() if (root / HASHES).exists() else ""
    listed = listed_hashes(text)
    if len(listed) != len(text.splitlines()):
        yield f"{HASHES}: a file is listed twice"
    for name, digest in listed.items():
        path = root / CONTRACTS / name
        if not path.exists():
            yield f"{CONTRACTS}/{name}: listed in samples.sha256, but missing; samples are kept for ever"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            yield f"{CONTRACTS}/{name}: changed; a sample never changes, add fields as optional or publish a .v2"
    present = {f"samples/{path.name}" for path in (root / CONTRACTS / "samples").glob("*")}
    for name in sorted(present - set(listed)):
        yield f"{CONTRACTS}/{name}: not listed in samples.sha256"
    for event in events():
        if sample_path(event).removeprefix(f"{CONTRACTS}/") not in listed:
            yield f"{sample_path(event)}: the event has no sample yet; run `make docs`"


# The catalogue


def catalogue(services: Iterable[type[Service]]) -> str:
    """Return docs/events.md."""
    handlers: dict[str, list[str]] = {}
    for service in services:
        for handler, mark in marked(service, Subscription).items():
            for event in mark.events:
                handlers.setdefault(event.topic, []).append(queue_name(service.name, handler))
    lines = [
        "# Events 事件目录",
        "",
        GENERATED,
        "",
        "Every event is a CloudEvents 1.0 message in structured JSON; what surrounds `data` is the same for all and",
        "described in each schema. Delivery is at least once: keep the `id` of what you handled and skip it when it",
        "comes again. A published event never changes; new fields are optional, anything else is a new version",
        "beside the old one. Ignore fields you do not know.",
        "",
        "The public form (exchange `pub.events`) leaves out the fields marked *internal*, for example a person's id.",
        "",
    ]
    rows = [
        (f"[`{event.topic}`](#{_anchor(event)})", one_line(event.__doc__), "yes" if event.public else "no",
         ", ".join(f"`{name}`" for name in handlers.get(event.topic, [])) or "–")
        for event in events()
    ]  # fmt: skip
    lines += table(("Event", "What happened", "Public", "Subscriptions inside"), rows)
    for event in events():
        lines += ["", *_event_section(event, handlers.get(event.topic, []))]
    return "\n".join(lines) + "\n"


def _anchor(event: type[Event]) -> str:
    return event.topic.replace(".", "")


def _event_section(event: type[Event], handlers: list[str]) -> Iterator[str]:
    base = f"../{CONTRACTS}"
    links = [f"[sample]({base}/samples/{event.topic}.json)", f"[schema]({base}/schemas/{event.topic}.json)"]
    if event.public:
        links.append(f"[schema of the public form]({base}/schemas/{event.topic}.public.json)")
    yield from (f"## {event.topic}", "", one_line(event.__doc__), "")
    yield f"- Published by: `{event.publisher}`, class `{event.__module__}.{event.__name__}`"
    yield f"- Subscriptions inside: {', '.join(f'`{name}`' for name in handlers) or 'none'}"
    yield f"- Public: {'yes' if event.public else 'no, between our own services only'}"
    yield f"- Subject: {f'`{event.subject_field}`' if event.subject_field else 'none'}"
    yield f"- {' · '.join(links)}"
    yield ""
    yield from _fields_table(event, internal_fields(event))
    for nested in _nested(event):
        yield from ("", f"### {nested.__name__} in {event.topic}", "", one_line(nested.__doc__), "")
        yield from _fields_table(nested, frozenset())


def _fields_table(struct: type[msgspec.Struct], internal: frozenset[str]) -> list[str]:
    rows = [
        (f"`{field.name}`", type_text(field.type), "required" if field.required else "optional",
         "internal" if field.name in internal else "")
        for field in msgspec.structs.fields(struct)
    ]  # fmt: skip
    return table(("Field", "Type", "", ""), rows)


def _nested(struct: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for field in msgspec.structs.fields(struct):
        for part in get_args(_plain_type(field.type)):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                yield part


def _plain_type(annotation: Any) -> Any:
    """Return a type without its marks and without ``None``."""
    if annotation == Instant:
        return Instant
    if hasattr(annotation, "__metadata__"):
        return _plain_type(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return _plain_type(next(part for part in get_args(annotation) if part is not types.NoneType))
    return annotation


_TYPE_TEXTS = {
    UUID: "UUID", str: "code (text)", int: "whole number", bool: "true or false",
    date: "date, `YYYY-MM-DD`", Instant: "time with zone, ISO 8601",
}  # fmt: skip


def type_text(annotation: Any) -> str:
    """Return a field's type in words; raises KeyError for one that has no place in an event."""
    part = _plain_type(annotation)
    null = " or null" if types.NoneType in get_args(annotation) else ""
    if get_origin(part) is tuple:
        return f"list of {type_text(get_args(part)[0])}{null}"
    if isinstance(part, type) and issubclass(part, msgspec.Struct):
        return f"`{part.__name__}`{null}"
    return _TYPE_TEXTS[part] + null


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"

"""CloudEvents 1.0, structured JSON: how an event is written on the wire and strictly read back."""

from datetime import UTC, datetime
from functools import cache
from threading import Lock
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from .base import Event, Instant, internal_fields, load_all

CONTENT_TYPE = "application/cloudevents+json"
BATCH_CONTENT_TYPE = "application/cloudevents-batch+json"
MAX_EVENT_BYTES = 64 * 1024
MAX_BATCH_BYTES = 1024 * 1024
MAX_BATCH_EVENTS = 100
_PUBLIC = ":public"
#: How the bytes of an event end that a replay sends again, or that only a replay brought about.
_REPLAYED = b',"replayed":true}'


#: Why bytes are no event, by stable code: in Chinese and in English.
CODES = {
    "event.too_large": ("事件超过 64 KiB（一批超过 1 MiB）", "The event is over 64 KiB, or the batch over 1 MiB"),
    "event.undecodable": ("不是 UTF-8 编码的合法 JSON 对象", "The bytes are no JSON object in UTF-8"),
    "event.envelope_incomplete": ("信封字段缺失或有误", "A field of the envelope is missing or malformed"),
    "event.unknown_type": ("没有这种事件", "There is no such type of event"),
    "event.unknown_version": ("不认识该事件的这个版本", "The event is known, but not in this version"),
    "event.invalid": ("事件数据与约定不符", "The event's data break its contract"),
}


class Undecodable(Exception):
    """The bytes are no event that we know; ``code`` is stable (see CODES) and goes to the dead-letter table.

    The text never repeats the body, which may hold anything.
    """

    def __init__(self, code: str, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code
        self.why = why


class Envelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event with what CloudEvents says around it; ``time`` is when the fact became true (UTC)."""

    id: UUID
    time: datetime
    data: Event
    source: str
    subject: str | None = None
    traceparent: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    replayed: bool = False
    """Sent again by a replay, or brought about by nothing but one: nobody is to be told of it once more."""

    @property
    def type(self) -> str:
        """The full type of the event, for example ``volunteers.hours_logged.v1``."""
        return self.data.topic


D = TypeVar("D")


class _Wire(msgspec.Struct, Generic[D], kw_only=True, omit_defaults=True, gc=False):
    specversion: str
    id: UUID
    source: str
    type: str
    time: Instant
    data: D
    subject: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    traceparent: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    replayed: bool = False  # the last one, see _REPLAYED


_wire_decoder = msgspec.json.Decoder(_Wire[msgspec.Raw])
_encoder = msgspec.json.Encoder()
#: Two threads that have msgspec 0.22 look at a struct for the first time at once crash the process: the second one uses
#: what the first has only half described.
_FIRST_LOOK = Lock()

#: What reading bytes that are no JSON, or JSON nested thousands deep, raises.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def source_of(publisher: str) -> str:
    """Return the CloudEvents source of a service, for example ``/xinhuo/volunteers``."""
    return f"/xinhuo/{publisher}"


def schema_uri(topic: str, *, public: bool = False) -> str:
    """Return the name of the JSON Schema that the data of an event type, or of its public form, adheres to."""
    return f"urn:xinhuo:schema:{topic}{_PUBLIC if public else ''}"


def encode(envelope: Envelope) -> bytes:
    """Write an envelope with all its fields, for our own services; at most 64 KiB.

    Raises Undecodable (``event.too_large``) when the event, or its public form, would not be accepted by a reader.
    """
    # The public form names a longer schema, and may leave nothing out that makes up for it.
    room = len(_PUBLIC) if envelope.data.public else 0
    return _write(envelope, envelope.subject, envelope.data, schema_uri(envelope.type), MAX_EVENT_BYTES - room)


def encode_public(envelope: Envelope) -> bytes:
    """Write the public form of an envelope: internal fields, and a subject taken from one, left out.

    Raises ValueError for an event that its contract does not make public.
    """
    event_class = type(envelope.data)
    if not event_class.public:
        raise ValueError(f"{event_class.topic} is not public")
    hidden = internal_fields(event_class)
    fields: dict[str, Any] = msgspec.to_builtins(envelope.data)
    data = {name: value for name, value in fields.items() if name not in hidden}
    subject = None if event_class.subject_field in hidden else envelope.subject
    return _write(envelope, subject, data, schema_uri(envelope.type, public=True))


def _write(envelope: Envelope, subject: str | None, data: Any, schema: str, limit: int = MAX_EVENT_BYTES) -> bytes:
    topic = envelope.type
    body = _encoder.encode(
        _Wire(
            specversion="1.0",
            id=envelope.id,
            source=envelope.source,
            type=topic,
            time=envelope.time.astimezone(UTC),
            datacontenttype="application/json",
            dataschema=schema,
            subject=subject,
            traceparent=envelope.traceparent,
            correlationid=envelope.correlationid,
            causationid=envelope.causationid,
            replayed=envelope.replayed,
            data=data,
        )
    )
    if len(body) > limit:
        raise Undecodable("event.too_large", f"{topic} takes {len(body)} bytes, the limit is {limit}")
    return body


def decode(body: bytes) -> Envelope:
    """Read one event strictly; unknown fields are ignored, everything else that is odd is refused.

    Raises Undecodable with one of the codes of CODES.
    """
    if (size := len(as_recorded(body))) > MAX_EVENT_BYTES:
        raise Undecodable("event.too_large", f"{size} bytes, the limit is {MAX_EVENT_BYTES}")
    try:
        str(body, "utf-8")  # msgspec looks at the encoding of the fields it knows only
        wire = _wire_decoder.decode(body)
    except msgspec.ValidationError as error:
        code = "event.envelope_incomplete" if body.lstrip()[:1] == b"{" else "event.undecodable"
        raise Undecodable(code, _without_values(error)) from None
    except _UNREADABLE as error:
        raise Undecodable("event.undecodable", type(error).__name__) from None
    event_class = _known(wire.type)
    if wire.specversion != "1.0" or not wire.source:
        raise Undecodable("event.envelope_incomplete", "specversion must be 1.0 and source not empty")
    try:
        data = _decoder_of(event_class).decode(wire.data)
    except msgspec.DecodeError as error:  # ValidationError is one
        raise Undecodable("event.invalid", f"data of {event_class.topic}: {_without_values(error)}") from None
    try:
        return _envelope(wire, data)
    except OverflowError:
        raise Undecodable("event.envelope_incomplete", "time is outside the years 1 to 9999") from None


def _envelope(wire: _Wire[Any], data: Event) -> Envelope:
    return Envelope(
        id=wire.id,
        time=wire.time.astimezone(UTC),
        data=data,
        source=wire.source,
        subject=wire.subject,
        traceparent=wire.traceparent,
        correlationid=wire.correlationid,
        causationid=wire.causationid,
        replayed=wire.replayed,
    )


class _Traced(msgspec.Struct, gc=False):
    traceparent: str | None = None


_traced_decoder = msgspec.json.Decoder(_Traced)


def traceparent_of(body: bytes) -> str | None:
    """Return only the trace of an encoded event; None where there is none to be read."""
    try:
        return _traced_decoder.decode(body).traceparent
    except _UNREADABLE:
        return None


def as_replayed(body: bytes) -> bytes:
    """Return an encoded event with the mark of a replay, the CloudEvents extension ``replayed``."""
    return body if body.endswith(_REPLAYED) else body[:-1] + _REPLAYED


def as_recorded(body: bytes) -> bytes:
    """Return the bytes without the mark of a replay: what tells whether two deliveries are one and the same event."""
    return body[: -len(_REPLAYED)] + b"}" if body.endswith(_REPLAYED) else body


def join_batch(bodies: "list[bytes]") -> bytes:
    """Put several encoded events into one message body (CloudEvents batch format)."""
    return b"[" + b",".join(bodies) + b"]"


def split_batch(body: bytes) -> "list[bytes]":
    """Take a batch apart into the bytes of its single events, unread.

    Raises Undecodable when the batch itself is no JSON array or larger than 1 MiB.
    """
    if len(body) > MAX_BATCH_BYTES:
        raise Undecodable("event.too_large", f"batch of {len(body)} bytes, the limit is {MAX_BATCH_BYTES}")
    try:
        return [bytes(raw) for raw in _batch_decoder.decode(body)]
    except _UNREADABLE as error:
        raise Undecodable("event.undecodable", type(error).__name__) from None


_batch_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def decode_batch(bodies: "list[bytes]", topic: str) -> list[Envelope] | None:
    """Read the events of a batch, all of them of one type, at once; None unless every one of them is in order.

    Then ``decode`` tells, for each, what it is and what is wrong with it.
    """
    event_class = load_all().get(topic)
    if event_class is None:
        return None
    joined = join_batch(bodies)
    try:
        str(joined, "utf-8")
        wires = _whole_decoder_of(event_class).decode(joined)
        envelopes = [_envelope(wire, wire.data) for wire in wires]
    except (*_UNREADABLE, OverflowError):  # msgspec's ValidationError is one
        return None
    sound = len(wires) == len(bodies) and max(map(len, bodies), default=0) <= MAX_EVENT_BYTES
    sound = sound and all(wire.type == topic and wire.specversion == "1.0" and wire.source for wire in wires)
    return envelopes if sound else None


@cache
def _whole_decoder_of(event_class: type[Event]) -> "msgspec.json.Decoder[list[_Wire[Event]]]":
    with _FIRST_LOOK:
        return msgspec.json.Decoder(list[_Wire[event_class]])  # type: ignore[valid-type]


def _known(topic: str) -> type[Event]:
    events = load_all()
    if topic in events:
        return events[topic]
    family = topic.rpartition(".v")[0]
    if any(known.rpartition(".v")[0] == family for known in events):
        raise Undecodable("event.unknown_version", "this version of the event is not known here")
    raise Undecodable("event.unknown_type", "this type of event is not known here")


@cache
def _decoder_of(event_class: type[Event]) -> "msgspec.json.Decoder[Event]":
    with _FIRST_LOOK:
        return msgspec.json.Decoder(event_class)


def _without_values(error: Exception) -> str:
    """Return msgspec's message, which names types and paths but, for some checks, quotes a value."""
    return str(error).split(" '")[0]

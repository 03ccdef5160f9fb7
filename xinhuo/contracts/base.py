"""What an event is: a frozen, typed fact with a permanent topic."""

import re
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, dataclass_transform, get_args

import msgspec

T = TypeVar("T")

#: Marks a field that stays between our own services and is left out of the public form of its event.
Internal = Annotated[T, msgspec.Meta(extra_json_schema={"x-internal": True})]

#: A point in time with its zone; one without is refused.
Instant = Annotated[datetime, msgspec.Meta(tz=True)]

#: The form of a topic: publisher, fact in the past tense, version.
TOPIC = re.compile(r"([a-z]+)\.([a-z]+(?:_[a-z]+)*)\.v([1-9][0-9]*)")

#: Every event class by its topic, in the order of definition.
EVENTS: "dict[str, type[Event]]" = {}


@dataclass_transform(frozen_default=True, kw_only_default=True)
class _EventMeta(msgspec.StructMeta):
    """Takes the event's own class arguments before msgspec sees the rest."""

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        topic: str | None = None,
        public: bool = False,
        subject: str | None = None,
        **options: Any,
    ) -> Any:
        options.setdefault("frozen", True)
        options.setdefault("kw_only", True)
        # Frozen data cannot refer to itself: the collector need not walk through every event of a batch.
        options.setdefault("gc", False)
        cls: Any = super().__new__(mcls, name, bases, namespace, **options)
        if topic is None:
            return cls
        parts = TOPIC.fullmatch(topic)
        if parts is None:
            raise TypeError(f"topic {topic!r} must be of the form publisher.fact_in_the_past.v1")
        if topic in EVENTS:
            raise TypeError(f"topic {topic!r} is taken by {EVENTS[topic].__name__}")
        if subject is not None and subject not in cls.__struct_fields__:
            raise TypeError(f"{name} has no field {subject!r} to be its subject")
        cls.topic, cls.public, cls.subject_field = topic, public, subject
        cls.publisher, cls.fact, cls.version = parts[1], parts[2], int(parts[3])
        EVENTS[topic] = cls
        return cls


class Event(msgspec.Struct, metaclass=_EventMeta):
    """A fact in the past tense; subclasses name their topic: ``class HoursLogged(Event, topic=...)``.

    Holds opaque ids, codes, minutes, dates and categories only: no names, numbers of documents
    of persons, phones, addresses and no free text.
    """

    topic: ClassVar[str]
    public: ClassVar[bool]
    publisher: ClassVar[str]
    fact: ClassVar[str]
    version: ClassVar[int]
    subject_field: ClassVar[str | None]

    if TYPE_CHECKING:  # what the metaclass takes, for the type checker

        def __init_subclass__(
            cls, *, topic: str | None = None, public: bool = False, subject: str | None = None, **options: Any
        ) -> None:
            """Take the event's own class arguments."""

    @property
    def subject(self) -> str | None:
        """The thing this event is about, as text, for the envelope's ``subject``."""
        return str(getattr(self, self.subject_field)) if self.subject_field else None


@cache
def internal_fields(event_class: type[Event]) -> frozenset[str]:
    """Return the names of the fields that the public form of an event leaves out.

    A field is internal when the mark stands anywhere in its type: ``Internal[UUID] | None``, a list of such,
    or an object that has an internal field.
    """
    return frozenset(field.name for field in msgspec.structs.fields(event_class) if _is_internal(field.type))


def _is_internal(annotation: Any) -> bool:
    if isinstance(annotation, msgspec.Meta):
        return bool((annotation.extra_json_schema or {}).get("x-internal"))
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return any(_is_internal(field.type) for field in msgspec.structs.fields(annotation))
    return any(_is_internal(part) for part in get_args(annotation))


def load_all() -> "dict[str, type[Event]]":
    """Import every publisher's module and return all events by topic."""
    from . import awards, notices, volunteers  # noqa: F401  (importing registers)

    return EVENTS

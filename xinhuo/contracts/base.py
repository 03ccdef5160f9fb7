"""What an event is: a frozen, typed fact with a permanent topic."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, dataclass_transform

import msgspec

T = TypeVar("T")

#: Marks a field that stays between our own services and is left out of the public form of its event.
Internal = Annotated[T, msgspec.Meta(extra_json_schema={"x-internal": True})]

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
        cls: Any = super().__new__(mcls, name, bases, namespace, **options)
        if topic is None:
            return cls
        service, fact, version = topic.split(".")
        if not (version.startswith("v") and version[1:].isdigit()):
            raise TypeError(f"topic {topic!r} must end in .v<number>")
        if topic in EVENTS:
            raise TypeError(f"topic {topic!r} is taken by {EVENTS[topic].__name__}")
        cls.topic, cls.public, cls.subject_field = topic, public, subject
        cls.publisher, cls.fact, cls.version = service, fact, int(version[1:])
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


def internal_fields(event_class: type[Event]) -> frozenset[str]:
    """Return the names of the fields that the public form of an event leaves out."""
    return _internal(event_class)


def _internal(event_class: type[Event]) -> frozenset[str]:
    names = set()
    for field in msgspec.structs.fields(event_class):
        for meta in getattr(field.type, "__metadata__", ()):
            if (getattr(meta, "extra_json_schema", None) or {}).get("x-internal"):
                names.add(field.name)
    return frozenset(names)


def load_all() -> "dict[str, type[Event]]":
    """Import every publisher's module and return all events by topic."""
    from . import awards, notices, volunteers  # noqa: F401  (importing registers)

    return EVENTS

"""What a service with books or copies has for reconciliation: routes for its peers, jobs for the night, gauges."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

import marshmallow as ma
from sqlalchemy.orm import Session

from ..errors import NotFound
from ..markers import http, job
from ..service import Runtime
from ..web.schema import Boolean, Code, Instant, Integer, ListOf, Nested, Schema, Text, Uuid
from . import books, results
from .books import MOST_SUFFIXES, Book, Source
from .compare import PATIENCE, Copy, compare_copy
from .remote import HttpSource
from .results import Result

_NIGHT = timedelta(days=1)
#: Two in the morning in China, as an offset from midnight UTC.
_AT = timedelta(hours=18)
_HEXADECIMAL = frozenset("0123456789abcdef-")


class BookNotFound(NotFound):
    """The service keeps no such book"""

    code = "book.not_found"
    title = "没有这个对账簿"


def _suffixes(*digits: int) -> Callable[[str], None]:
    """Return a check of suffixes that all have the same number of digits, one of the given ones."""

    def validate(text: str) -> None:
        parts = text.split("-")
        if {len(part) for part in parts} not in ({number} for number in digits) or not _HEXADECIMAL.issuperset(text):
            raise ma.ValidationError(
                "suffix.malformed|应为 2 或 4 位十六进制数字，用 - 隔开"
                "|They must have 2 or 4 hexadecimal digits, with - between them."
            )

    return validate


class BucketQuery(Schema):
    """Which buckets: of facts with ids below the cut, those of the suffixes taken apart if some are given."""

    cut = Uuid(required=True)
    suffixes = Code(max=3 * MOST_SUFFIXES, load_default="", validate=_suffixes(2))


class FactQuery(Schema):
    """Which facts: with ids below the cut that end with one of the suffixes."""

    cut = Uuid(required=True)
    suffixes = Code(max=5 * MOST_SUFFIXES, required=True, validate=_suffixes(2, 4))


class BookBucket(Schema):
    """The facts whose ids end alike: how many, and a digest of all of them."""

    suffix = Text()
    facts = Integer()
    digest = Text()


class BookBuckets(Schema):
    """The buckets of a book that are not empty."""

    buckets = ListOf(Nested(BookBucket))


class BookFact(Schema):
    """One fact, and whether its event is still on its way."""

    key = Uuid()
    value = Text()
    fresh = Boolean()


class BookFacts(Schema):
    """The facts of a bucket."""

    facts = ListOf(Nested(BookFact))


class FactEvent(Schema):
    """The event that announced a fact."""

    event_id = Uuid()
    recorded_at = Instant()
    published_at = Instant(allow_none=True)


class FactEventAnswer(Schema):
    """The event of a fact, null when there is none."""

    event = Nested(FactEvent, allow_none=True)


class Books:
    """Routes by which other services compare their copies with this service's books."""

    books: ClassVar[Mapping[str, Book]]

    @http(
        "GET",
        "/v1/books/{name}/buckets",
        right="books:read",
        query=BucketQuery,
        returns=BookBuckets,
        errors=(BookNotFound,),
    )
    def book_buckets(self, session: Session, name: str, query: dict[str, Any]) -> dict[str, Any]:
        """Count and hash the facts of a book in 256 buckets, for reconciliation."""
        found = books.buckets(session, self._book(name), query["cut"], _listed(query["suffixes"]))
        return {
            "buckets": [
                {"suffix": suffix, "facts": bucket.facts, "digest": bucket.digest} for suffix, bucket in found.items()
            ]
        }

    @http(
        "GET", "/v1/books/{name}/facts", right="books:read", query=FactQuery, returns=BookFacts, errors=(BookNotFound,)
    )
    def book_facts(self, session: Session, name: str, query: dict[str, Any]) -> dict[str, Any]:
        """List the facts of one bucket, for reconciliation."""
        found = books.facts(session, self._book(name), query["cut"], _listed(query["suffixes"]))
        return {"facts": [{"key": key, "value": fact.value, "fresh": fact.fresh} for key, fact in found.items()]}

    @http(
        "GET",
        "/v1/books/{name}/facts/{id:uuid}/event",
        right="books:read",
        returns=FactEventAnswer,
        errors=(BookNotFound,),
    )
    def book_event(self, session: Session, name: str, id: UUID) -> dict[str, Any]:
        """Return the event that announced a fact."""
        return {"event": books.announced(session, self._book(name), id)}

    def _book(self, name: str) -> Book:
        if name not in self.books:
            raise BookNotFound(
                f"没有对账簿 {name}，可选：{'、'.join(self.books)}。",
                f"There is no book {name}; there are {', '.join(self.books)}.",
            )
        return self.books[name]


def _listed(suffixes: str) -> list[str]:
    return suffixes.split("-") if suffixes else []


class NightlyReconciliation:
    """Jobs of the night that compare this service's own tables, and its copies with the books they come from."""

    runtime: Runtime
    copies: ClassVar[tuple[Copy, ...]] = ()

    @job(every=_NIGHT, offset=_AT)
    def reconcile_tables(self, session: Session) -> None:
        """Compare what this service's tables say among themselves."""
        results.keep(session, self.compare_tables())

    @job(every=_NIGHT, offset=_AT)
    def reconcile_copies(self, session: Session) -> None:
        """Compare what this service keeps of others' facts with those services, by HTTP."""
        settings, bearer = self.runtime.settings, self.runtime.bearer
        sources = {
            copy.publisher: HttpSource(copy.publisher, settings.url_of(copy.publisher), bearer) for copy in self.copies
        }
        results.keep(session, self.compare_copies(sources))

    def compare_tables(self, patience: timedelta = PATIENCE) -> list[Result]:
        """Return the results of the comparisons inside the service; a service that has some overrides it."""
        del patience
        return []

    def compare_copies(self, sources: Mapping[str, Source], patience: timedelta = PATIENCE) -> list[Result]:
        """Return the results of the comparisons with the given services."""
        return [compare_copy(self.runtime.db, copy, sources[copy.publisher], patience) for copy in self.copies]

    def refresh_gauges(self, session: Session) -> None:
        """Show the newest results in the metrics of this process."""
        results.refresh_gauges(session, self.runtime.db.service)

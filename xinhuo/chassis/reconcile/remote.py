"""Another service's books, read by HTTP."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Collection
from datetime import datetime
from typing import TypeVar
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from .. import peers
from ..errors import Unavailable
from ..identity.bearer import Bearer
from .books import Announced, Bucket, Fact

T = TypeVar("T")
#: A book of ten million facts is read in one go.
_SECONDS = 120


class PeerAway(Unavailable):
    """Another service does not answer"""

    code = "peer.unavailable"
    title = "另一个服务没有应答"


class BucketOf(msgspec.Struct):
    """A bucket as it travels."""

    suffix: str
    facts: int
    digest: str


class FactOf(msgspec.Struct):
    """A fact as it travels."""

    key: UUID
    value: str
    fresh: bool


class AnnouncedAs(msgspec.Struct):
    """The event of a fact as it travels."""

    event_id: UUID
    recorded_at: datetime
    published_at: datetime | None


class Buckets(msgspec.Struct):
    """The answer with buckets."""

    buckets: list[BucketOf]


class Facts(msgspec.Struct):
    """The answer with facts."""

    facts: list[FactOf]


class Event(msgspec.Struct):
    """The answer with an event."""

    event: AnnouncedAs | None


class HttpSource:
    """Reads the books of a service at its address, as ``bearer``; raises PeerAway or PortalAway."""

    def __init__(self, service: str, url: str, bearer: Bearer) -> None:
        self._service, self._url, self._bearer = service, url.rstrip("/"), bearer
        self._opener = peers.opener()

    def buckets(self, book: str, cut: UUID, suffixes: Collection[str]) -> dict[str, Bucket]:
        """See ``books.Source``."""
        answer = self._get(f"{book}/buckets", Buckets, cut=str(cut), suffixes="-".join(suffixes))
        return {one.suffix: Bucket(one.facts, one.digest) for one in answer.buckets}

    def facts(self, book: str, cut: UUID, suffixes: Collection[str]) -> dict[UUID, Fact]:
        """See ``books.Source``."""
        answer = self._get(f"{book}/facts", Facts, cut=str(cut), suffixes="-".join(suffixes))
        return {one.key: Fact(one.value, one.fresh) for one in answer.facts}

    def announced(self, book: str, key: UUID) -> Announced | None:
        """See ``books.Source``."""
        event = self._get(f"{book}/facts/{key}/event", Event).event
        return Announced(event.event_id, event.recorded_at, event.published_at) if event else None

    def _get(self, path: str, form: type[T], **query: str) -> T:
        given = urlencode({name: value for name, value in query.items() if value})
        address = f"{self._url}/v1/books/{path}" + (f"?{given}" if given else "")
        asked = urllib.request.Request(address, headers={"Authorization": f"Bearer {self._bearer.token()}"})  # noqa: S310
        try:
            with self._opener.open(asked, timeout=_SECONDS) as answer:
                return msgspec.json.decode(answer.read(), type=form)
        except (OSError, http.client.HTTPException, msgspec.DecodeError, ValueError) as error:
            raise PeerAway(
                f"{self._service}（{self._url}）没有按约定应答，请确认它在运行。",
                f"{self._service} at {self._url} gave no proper answer ({_why(error)}); see that it runs.",
            ) from error


def _why(error: Exception) -> str:
    return str(error.code) if isinstance(error, urllib.error.HTTPError) else type(error).__name__

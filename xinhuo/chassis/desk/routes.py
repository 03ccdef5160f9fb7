"""The desk for dead letters by HTTP: the same on every service.

Who decides says so in ``by``. Nothing of a message that cannot be read is shown but
its size and SHA-256: it may hold anything.
"""

from collections import Counter
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import marshmallow as ma
from sqlalchemy.orm import Session

from .. import logs
from ..markers import http
from ..web import schema
from ..web.pages import Listed, page_of, read_cursor
from . import decisions, lists
from .choice import Chosen, DeadLetterNotFound, DeadLetterSettled, count
from .decisions import Decision, Item

log = logs.get("desk")


class _Filter(schema.Schema):
    """Which letters are meant."""

    handler = schema.Text(max=255, load_default=None)
    reason = schema.Text(max=100, load_default=None)
    type = schema.Text(max=200, load_default=None)
    since = schema.Instant(load_default=None)
    until = schema.Instant(load_default=None)


class DeadLetterGroupQuery(_Filter):
    """The parameters of the groups."""


class DeadLetterQuery(schema.Page, _Filter):
    """The parameters of the list."""

    state = schema.Choice((*lists.STATES, "all"), load_default="waiting")


class DeadLetterFilter(_Filter):
    """The waiting letters that are meant; at least one field is needed."""

    @ma.validates_schema
    def _some(self, data: dict[str, Any], **_: Any) -> None:
        if not any(value is not None for value in data.values()):
            raise ma.ValidationError(
                "dead_letter.filter_empty|请至少填一个条件|Give at least one condition.", field_name="_schema"
            )


class DecisionIn(schema.Schema):
    """Which letters, who decides, and why."""

    ids = schema.ListOf(schema.Uuid(), min=1, max=decisions.MOST_AT_ONCE)
    filter = schema.Nested(DeadLetterFilter)
    by = schema.Code(required=True, max=64)
    why = schema.Text(required=True, max=500)
    limit = schema.Integer(min=1, max=decisions.MOST_AT_ONCE)
    dry_run = schema.Boolean(load_default=False)

    @ma.validates_schema(skip_on_field_errors=False)
    def _one_of_two(self, data: dict[str, Any], **_: Any) -> None:
        if ("ids" in data) is ("filter" in data):
            raise ma.ValidationError(
                "dead_letter.ids_or_filter|请填 ids 或 filter，二者必填其一且只填其一|Give either ids or a filter.",
                field_name="ids",
            )
        if "ids" in data and "limit" in data:
            raise ma.ValidationError(
                "dead_letter.limit_with_ids|limit 只与 filter 同用|A limit goes with a filter only.", field_name="limit"
            )


class DropDeadLetters(DecisionIn):
    """What `POST /v1/dead-letters:drop` takes."""


class RetryDeadLetters(DecisionIn):
    """What `POST /v1/dead-letters:retry` takes; ``rate`` is in events a second."""

    rate = schema.Integer(min=1, max=1000, load_default=decisions.RATE)


class DeadLetterGroup(schema.Schema):
    """Waiting letters of one handler and reason."""

    service = schema.Text()
    handler = schema.Text()
    reason = schema.Text()
    reason_text = schema.Text()
    waiting = schema.Integer()
    oldest_at = schema.Instant()
    newest_at = schema.Instant()


class DeadLetterGroups(schema.Schema):
    """All groups of a service."""

    items = schema.ListOf(schema.Nested(DeadLetterGroup))


class DeadLetter(schema.Schema):
    """A message that nobody could work on."""

    id = schema.Uuid()
    handler = schema.Text()
    event_id = schema.Uuid(allow_none=True)
    type = schema.Text(allow_none=True)
    reason = schema.Text()
    reason_text = schema.Text()
    error = schema.Text()
    state = schema.Choice(lists.STATES)
    attempts = schema.Integer()
    died_at = schema.Instant()
    retry_of = schema.Uuid(allow_none=True)
    size = schema.Integer()
    sha256 = schema.Text()


class EventOfDeadLetter(schema.Schema):
    """What a readable event says; texts that are no codes are replaced by their length."""

    id = schema.Uuid()
    type = schema.Text()
    time = schema.Instant()
    subject = schema.Text(allow_none=True)
    data = ma.fields.Dict(keys=ma.fields.String())


class DeadLetterAction(schema.Schema):
    """What somebody did about a letter, and why."""

    action = schema.Choice(("retry", "drop"))
    outcome = schema.Text()
    by = schema.Text()
    why = schema.Text()
    at = schema.Instant()


class OtherDeadLetter(schema.Schema):
    """Another letter of the same event, for the same handler."""

    id = schema.Uuid()
    reason = schema.Text()
    state = schema.Choice(lists.STATES)
    attempts = schema.Integer()
    died_at = schema.Instant()
    retry_of = schema.Uuid(allow_none=True)


class DeadLetterWithHistory(DeadLetter):
    """A letter with all that happened to it."""

    unreadable = schema.Text(allow_none=True)
    events = schema.ListOf(schema.Nested(EventOfDeadLetter))
    handled_at = schema.Instant(allow_none=True)
    next_attempt_at = schema.Instant(allow_none=True)
    actions = schema.ListOf(schema.Nested(DeadLetterAction))
    others = schema.ListOf(schema.Nested(OtherDeadLetter))


class DecidedItem(schema.Schema):
    """What became, or would become, of one letter."""

    id = schema.Uuid()
    handler = schema.Text()
    event_id = schema.Uuid(allow_none=True)
    outcome = schema.Choice(decisions.OUTCOMES)
    code = schema.Text(allow_none=True)
    detail = schema.Text()
    detail_en = schema.Text()


class Decided(schema.Schema):
    """What became of the letters; ``remaining`` ones of the filter still wait."""

    dry_run = schema.Boolean()
    counts = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.Integer())
    remaining = schema.Integer()
    items = schema.ListOf(schema.Nested(DecidedItem))


_ERRORS = (DeadLetterNotFound, DeadLetterSettled)


class DeadLetterRoutes:
    """The routes, for the base of all services."""

    name: ClassVar[str]

    @http(
        "GET",
        "/v1/dead-letters/groups",
        right="dead_letters:manage",
        query=DeadLetterGroupQuery,
        returns=DeadLetterGroups,
    )
    def dead_letter_groups(self, session: Session, query: dict[str, Any]) -> dict[str, Any]:
        """Return the waiting dead letters by handler and reason."""
        found = lists.groups(session, Chosen(**query))
        return {"items": [{"service": self.name, **group} for group in found]}

    @http("GET", "/v1/dead-letters", right="dead_letters:manage", query=DeadLetterQuery, returns=DeadLetter)
    def dead_letters(self, session: Session, query: dict[str, Any]) -> Listed:
        """List dead letters, the newest first."""
        before = read_cursor(query.pop("after"), datetime.fromisoformat, UUID)
        limit, state = query.pop("limit"), query.pop("state")
        found = lists.letters(session, Chosen(**query), state=state, before=before, limit=limit + 1)
        return page_of(found, limit, lambda one: (one["died_at"].isoformat(), one["id"]))

    @http(
        "GET",
        "/v1/dead-letters/{id:uuid}",
        right="dead_letters:manage",
        returns=DeadLetterWithHistory,
        errors=(DeadLetterNotFound,),
    )
    def dead_letter(self, session: Session, id: UUID) -> dict[str, Any]:
        """Return a dead letter with its events, what was done about it, and others of the same event."""
        return lists.letter(session, id)

    @http(
        "POST",
        "/v1/dead-letters:retry",
        right="dead_letters:manage",
        accepts=RetryDeadLetters,
        returns=Decided,
        errors=_ERRORS,
    )
    def retry_dead_letters(self, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        """Hand the events of dead letters to their handlers again, or only say what would happen."""
        chosen, topics = _chosen(body), decisions.topics_of(type(self))
        if body["dry_run"]:
            items = decisions.rehearse(session, decisions.handlers_of(self), topics, chosen, limit=_most(body))
        else:
            decision, rate = _decision(body), body["rate"]
            items = decisions.retry(session, topics, chosen, decision, rate=rate, limit=_most(body))
        return _decided(session, chosen, body, items, "retry")

    @http(
        "POST",
        "/v1/dead-letters:drop",
        right="dead_letters:manage",
        accepts=DropDeadLetters,
        returns=Decided,
        errors=_ERRORS,
    )
    def drop_dead_letters(self, session: Session, body: dict[str, Any]) -> dict[str, Any]:
        """Close dead letters for good without sending them again; they are kept with who decided it and why."""
        chosen = _chosen(body)
        if body["dry_run"]:
            items = decisions.would_drop(session, chosen, limit=_most(body))
        else:
            items = decisions.drop(session, chosen, _decision(body), limit=_most(body))
        return _decided(session, chosen, body, items, "drop")


def _chosen(body: dict[str, Any]) -> Chosen:
    if "ids" in body:
        return Chosen(ids=tuple(dict.fromkeys(body["ids"])))
    return Chosen(**body["filter"])


def _most(body: dict[str, Any]) -> int:
    found: int = body.get("limit", decisions.MOST_AT_ONCE)
    return found


def _decision(body: dict[str, Any]) -> Decision:
    return Decision(body["by"], body["why"])


def _decided(session: Session, chosen: Chosen, body: dict[str, Any], items: list[Item], verb: str) -> dict[str, Any]:
    remaining = count(session, chosen)
    counts = dict(Counter(item.outcome for item in items))
    if not body["dry_run"]:
        log.info("dead_letters_decided", action=verb, **counts)
    return {
        "dry_run": body["dry_run"],
        "counts": counts,
        "remaining": remaining,
        "items": [spoken(item) for item in items],
    }


def spoken(item: Item) -> dict[str, Any]:
    """Return what became of a letter with its texts in Chinese and English."""
    zh, en = decisions.OUTCOMES[item.outcome]
    if item.code:
        why_zh, why_en = decisions.reason_text(item.code)
        zh, en = f"{zh}：{why_zh}", f"{en}: {why_en}"
    return {
        "id": item.id, "handler": item.handler, "event_id": item.event_id, "outcome": item.outcome,
        "code": item.code, "detail": zh, "detail_en": en,
    }  # fmt: skip

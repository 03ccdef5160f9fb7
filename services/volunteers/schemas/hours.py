"""What the API takes and shows of service time."""

from typing import Any

import marshmallow as ma
import msgspec
from marshmallow import fields as mf

from xinhuo.chassis.errors import InvalidInput
from xinhuo.chassis.web.schema import (
    Boolean,
    Choice,
    Code,
    Date,
    Instant,
    Integer,
    ListOf,
    Month,
    Nested,
    Page,
    Schema,
    Text,
    Uuid,
    problems,
)

from ..domain import MINUTES_PER_DAY
from ..models import REVERSAL_REASONS, Served


class LogHours(Schema):
    """Time served at an activity; half-open, without a zone in Asia/Shanghai; minutes default to the span."""

    volunteer_id = Uuid(required=True)
    activity_id = Uuid(required=True)
    started_at = Instant(required=True)
    ended_at = Instant(required=True)
    minutes = Integer()

    def load(self, data: Any, **options: Any) -> Any:
        """Load an item, in the usual case thirty times as fast as marshmallow would.

        What ``_quickly`` takes, marshmallow takes with the same meaning; everything else is left to marshmallow,
        which has the messages.
        """
        if not options and (served := _quickly(data)) is not None:
            return served
        return super().load(data, **options)

    @ma.post_load
    def _served(self, data: dict[str, Any], **_: Any) -> Served:
        return Served(**data)


msgspec.json.Decoder(Served)  # the first look, while there is one thread: `contracts.codec` says why


def _quickly(item: Any) -> Served | None:
    try:
        served = msgspec.convert(item, Served)
    except msgspec.ValidationError:
        return None
    if "minutes" in item and (served.minutes is None or not 0 < served.minutes <= MINUTES_PER_DAY):
        return None
    for name in ("started_at", "ended_at"):
        text = item[name]
        # Spaces, small letters and fractions of seconds are read differently; the ends of the calendar burst.
        if text[10] != "T" or text[-1] == "z" or "." in text or not 1 < getattr(served, name).year < 9999:
            return None
    return served


_LOG_HOURS = LogHours()


class EachForItself(ListOf):
    """A list whose items stand alone: loaded, each is a ``Served`` or the ``InvalidInput`` that it deserves."""

    each_for_itself = True

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, list):
            raise self.make_error("invalid")
        if not self._min <= len(value) <= self._max:
            raise ma.ValidationError(
                f"list.length|应有 {self._min} 至 {self._max} 项|It must have {self._min} to {self._max} items."
            )
        return [_load(item) for item in value]


def _load(item: Any) -> Served | InvalidInput:
    try:
        loaded: Served = _LOG_HOURS.load(item)
        return loaded
    except ma.ValidationError as error:
        return InvalidInput(problems(error, _LOG_HOURS))


class LogHoursBatch(Schema):
    """Up to 1,000 items; each is entered or refused for itself."""

    items = EachForItself(Nested(LogHours), required=True, min=1, max=1000)


class LedgerEntry(Schema):
    """A row of the ledger; minutes of a reversal are negative."""

    id = Uuid()
    kind = Choice(("entry", "reversal"))
    reverses = Uuid(allow_none=True)
    reversed_by = Uuid(allow_none=True)
    volunteer_id = Uuid()
    activity_id = Uuid()
    team_code = Code()
    unit_code = Code()
    category = Code()
    started_at = Instant()
    ended_at = Instant()
    served_on = Date()
    minutes = mf.Integer()
    source = Text()
    import_id = Uuid(allow_none=True)
    needs_attention = Boolean()
    reason_code = Choice(REVERSAL_REASONS, allow_none=True)
    recorded_at = Instant()
    recorded_by = Uuid(allow_none=True)
    approved_by = Uuid(allow_none=True)


class BatchItem(Schema):
    """What became of one item: its entry, or the problem (as problem+json) that refused it."""

    status = Choice(("entered", "existing", "refused"))
    entry = Nested(LedgerEntry)
    problem = mf.Dict()


class BatchResult(Schema):
    """One result for each item, in order, and how many of each kind there are."""

    items = mf.List(Nested(BatchItem))
    entered = mf.Integer()
    existing = mf.Integer()
    refused = mf.Integer()


class ReverseEntry(Schema):
    """Why the entry is taken back."""

    reason_code = Choice([code for code in REVERSAL_REASONS if code != "import_undone"], required=True)


class EntryQuery(Page):
    """Which entries to list."""

    volunteer = Uuid(load_default=None)
    team = Code(load_default=None)
    unit = Code(load_default=None)
    activity = Uuid(load_default=None)
    month = Month(load_default=None)
    import_id = Uuid(data_key="import", load_default=None)

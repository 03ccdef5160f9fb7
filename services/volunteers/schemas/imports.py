"""What the API takes and shows of imports."""

from marshmallow import fields as mf

from xinhuo.chassis.web.schema import Choice, Instant, Nested, Page, Schema, Text, Uuid

from ..domain import Confirm, ImportState

STATES = tuple(state.value for state in ImportState)
MODES = tuple(mode.value for mode in Confirm)


class ImportQuery(Page):
    """Which imports to list."""

    state = Choice(STATES, load_default=None)


class ConfirmImport(Schema):
    """What of a checked import is entered: all rows or none, or the rows without a mistake."""

    mode = Choice(MODES, required=True)


class ImportProgress(Schema):
    """How many of the rows that go to the ledger have been there."""

    done = mf.Integer()
    total = mf.Integer()


class ImportSummary(Schema):
    """Where an import stands, with its counts."""

    id = Uuid()
    state = Choice(STATES)
    mode = Choice(MODES, allow_none=True)
    file_name = Text(allow_none=True)
    file_size = mf.Integer()
    rows = mf.Integer(metadata={"description": "rows of data: valid + invalid, and entered + existing + refused"})
    valid = mf.Integer()
    invalid = mf.Integer()
    entered = mf.Integer(allow_none=True)
    existing = mf.Integer(metadata={"description": "valid rows that the ledger holds already"})
    refused = mf.Integer(allow_none=True)
    problems = mf.Integer(metadata={"description": "all mistakes; a row may have several"})
    counts = mf.Dict(keys=mf.String(), values=mf.Integer(), metadata={"description": "mistakes by code"})
    failure = Text(allow_none=True, metadata={"description": "the code of what kept the import from being entered"})
    progress = Nested(ImportProgress, allow_none=True)
    checked_at = Instant()
    confirmed_at = Instant(allow_none=True)
    finished_at = Instant(allow_none=True)
    undo_requested_at = Instant(allow_none=True)
    undone_at = Instant(allow_none=True)
    undo_until = Instant(allow_none=True, metadata={"description": "the last instant at which it can be undone"})
    expires_at = Instant(metadata={"description": "when the file and what was found in it are removed"})
    result = Text(allow_none=True, metadata={"description": "where the user's own file is, with marked cells"})


class ImportMistake(Schema):
    """One mistake."""

    sheet = Text()
    cell = Text()
    row = mf.Integer()
    code = Text()
    detail = Text()
    detail_en = Text()


class ImportNotice(Schema):
    """Something handled in a way the user should know of."""

    code = Text()
    detail = Text()
    detail_en = Text()
    count = mf.Integer()
    places = mf.List(mf.String())


class Import(ImportSummary):
    """An import with its first 100 mistakes and its warnings."""

    errors = mf.List(Nested(ImportMistake))
    warnings = mf.List(Nested(ImportNotice))

"""The tables as queries name them, and the rows that pass between the layers; the migrations make the tables."""

from datetime import date, datetime
from typing import TypeAlias
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

metadata = sa.MetaData()

known_units = sa.Table(
    "known_units",
    metadata,
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text),
    sa.Column("parent_code", sa.Text),
    sa.Column("revision", sa.Integer),
)

known_notices = sa.Table(
    "known_notices",
    metadata,
    sa.Column("notice_id", sa.Uuid, primary_key=True),
    sa.Column("number", sa.Text),
    sa.Column("issued_on", sa.Date),
    sa.Column("starts_at", sa.DateTime(timezone=True)),
    sa.Column("ends_at", sa.DateTime(timezone=True)),
    sa.Column("categories", ARRAY(sa.Text)),
)

teams = sa.Table(
    "teams",
    metadata,
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("unit_code", sa.Text),
    sa.Column("created_at", sa.DateTime(timezone=True)),
)

volunteers = sa.Table(
    "volunteers",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("volunteer_no", sa.Text),
    sa.Column("state", sa.Text),
    sa.Column("unit_code", sa.Text),
    sa.Column("id_type", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("id_number", sa.Text),
    sa.Column("phone", sa.Text),
    sa.Column("guardian_consent", sa.Text),
    sa.Column("name_index", sa.LargeBinary),
    sa.Column("id_number_index", sa.LargeBinary),
    sa.Column("registered_at", sa.DateTime(timezone=True)),
    sa.Column("verified_at", sa.DateTime(timezone=True)),
    sa.Column("waits_since", sa.DateTime(timezone=True)),
    sa.Column("suspended_for", sa.Text),
)

corrections = sa.Table(
    "corrections",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("volunteer_id", sa.Uuid),
    sa.Column("fields", ARRAY(sa.Text)),
    sa.Column("before", sa.Text),
    sa.Column("reason_code", sa.Text),
    sa.Column("corrected_by", sa.Uuid),
    sa.Column("corrected_at", sa.DateTime(timezone=True)),
)

#: Not sealed, because lists are filtered by them, and a keyed hash of so few values would hide nothing: without the
#: sealed name they are nobody's. Never in an event; deleted when the person is erased.
volunteer_tags = sa.Table(
    "volunteer_tags",
    metadata,
    sa.Column("volunteer_id", sa.Uuid, primary_key=True),
    sa.Column("tag", sa.Text, primary_key=True),
)

person_keys = sa.Table(
    "person_keys",
    metadata,
    sa.Column("volunteer_id", sa.Uuid, primary_key=True),
    sa.Column("wrapped", sa.Text),
    sa.Column("kek", sa.Text),
    sa.Column("made_at", sa.DateTime(timezone=True)),
)

consent_records = sa.Table(
    "consent_records",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("volunteer_id", sa.Uuid),
    sa.Column("purpose", sa.Text),
    sa.Column("text_version", sa.Text),
    sa.Column("given_by", sa.Text),
    sa.Column("guardian", sa.Text),
    sa.Column("how", sa.Text),
    sa.Column("given_on", sa.Date),
    sa.Column("recorded_by", sa.Uuid),
    sa.Column("recorded_at", sa.DateTime(timezone=True)),
    sa.Column("withdrawn_at", sa.DateTime(timezone=True)),
    sa.Column("withdrawn_by", sa.Uuid),
)

erasure_requests = sa.Table(
    "erasure_requests",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("volunteer_id", sa.Uuid),
    sa.Column("asked_by", sa.Uuid),
    sa.Column("asked_as", sa.Text),
    sa.Column("asked_at", sa.DateTime(timezone=True)),
    sa.Column("decided_by", sa.Uuid),
    sa.Column("decided_at", sa.DateTime(timezone=True)),
    sa.Column("granted", sa.Boolean),
    sa.Column("reason", sa.Text),
)

team_members = sa.Table(
    "team_members",
    metadata,
    sa.Column("team_code", sa.Text, primary_key=True),
    sa.Column("volunteer_id", sa.Uuid, primary_key=True),
    sa.Column("joined_at", sa.DateTime(timezone=True)),
)

activities = sa.Table(
    "activities",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("number", sa.Text),
    sa.Column("title", sa.Text),
    sa.Column("team_code", sa.Text),
    sa.Column("unit_code", sa.Text),
    sa.Column("category", sa.Text),
    sa.Column("notice_id", sa.Uuid),
    sa.Column("notice_number", sa.Text),
    sa.Column("starts_at", sa.DateTime(timezone=True)),
    sa.Column("ends_at", sa.DateTime(timezone=True)),
    sa.Column("place", sa.Text),
    sa.Column("created_at", sa.DateTime(timezone=True)),
)

ledger_entries = sa.Table(
    "ledger_entries",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("kind", sa.Text),
    sa.Column("reverses", sa.Uuid),
    sa.Column("volunteer_id", sa.Uuid),
    sa.Column("activity_id", sa.Uuid),
    sa.Column("team_code", sa.Text),
    sa.Column("unit_code", sa.Text),
    sa.Column("category", sa.Text),
    sa.Column("started_at", sa.DateTime(timezone=True)),
    sa.Column("ended_at", sa.DateTime(timezone=True)),
    sa.Column("served_on", sa.Date),
    sa.Column("served_month", sa.Date),
    sa.Column("minutes", sa.Integer),
    sa.Column("source", sa.Text),
    sa.Column("import_id", sa.Uuid),
    sa.Column("needs_attention", sa.Boolean),
    sa.Column("reason_code", sa.Text),
    sa.Column("recorded_at", sa.DateTime(timezone=True)),
    sa.Column("recorded_by", sa.Uuid),
    sa.Column("approved_by", sa.Uuid),
)

#: ``evidence`` is encrypted with the key of the volunteer.
hour_claims = sa.Table(
    "hour_claims",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("state", sa.Text),
    sa.Column("volunteer_id", sa.Uuid),
    sa.Column("activity_id", sa.Uuid),
    sa.Column("team_code", sa.Text),
    sa.Column("unit_code", sa.Text),
    sa.Column("started_at", sa.DateTime(timezone=True)),
    sa.Column("ended_at", sa.DateTime(timezone=True)),
    sa.Column("minutes", sa.Integer),
    sa.Column("evidence", sa.Text),
    sa.Column("claimed_by", sa.Uuid),
    sa.Column("claimed_as", sa.Text),
    sa.Column("claimed_by_person", sa.Uuid),
    sa.Column("claimed_at", sa.DateTime(timezone=True)),
    sa.Column("decided_by", sa.Uuid),
    sa.Column("decided_as", sa.Text),
    sa.Column("decided_by_person", sa.Uuid),
    sa.Column("decided_at", sa.DateTime(timezone=True)),
    sa.Column("reason", sa.Text),
    sa.Column("entry_id", sa.Uuid),
)

reversal_requests = sa.Table(
    "reversal_requests",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("state", sa.Text),
    sa.Column("entry_id", sa.Uuid),
    sa.Column("reason_code", sa.Text),
    sa.Column("asked_by", sa.Uuid),
    sa.Column("asked_as", sa.Text),
    sa.Column("asked_by_person", sa.Uuid),
    sa.Column("asked_at", sa.DateTime(timezone=True)),
    sa.Column("decided_by", sa.Uuid),
    sa.Column("decided_as", sa.Text),
    sa.Column("decided_by_person", sa.Uuid),
    sa.Column("decided_at", sa.DateTime(timezone=True)),
    sa.Column("reason", sa.Text),
    sa.Column("reversal_id", sa.Uuid),
)

#: Of imports only what says whose they are; the rest is written and read in SQL.
imports = sa.table("imports", sa.column("id", sa.Uuid), sa.column("unit_code", sa.Text))
#: Sets of an import, in an UPDATE, all that can name somebody when its file has to go.
FILE_EMPTIED = "workbook = NULL, preview = NULL, outcomes = NULL, file_name = NULL, persons = '{}'"

statistics_cells = sa.Table(
    "statistics_cells",
    metadata,
    sa.Column("month", sa.Date, primary_key=True),
    sa.Column("unit_code", sa.Text, primary_key=True),
    sa.Column("team_code", sa.Text, primary_key=True),
    sa.Column("category", sa.Text, primary_key=True),
    sa.Column("minutes", sa.BigInteger),
    sa.Column("entries", sa.BigInteger),
)

volunteer_months = sa.Table(
    "volunteer_months",
    metadata,
    sa.Column("volunteer_id", sa.Uuid, primary_key=True),
    sa.Column("month", sa.Date, primary_key=True),
    sa.Column("unit_code", sa.Text, primary_key=True),
    sa.Column("team_code", sa.Text, primary_key=True),
    sa.Column("category", sa.Text, primary_key=True),
    sa.Column("minutes", sa.BigInteger),
    sa.Column("entries", sa.BigInteger),
)

#: Why an entry is taken back, with what users read.
REVERSAL_REASONS = {
    "wrong_person": "志愿者填错",
    "wrong_activity": "活动填错",
    "wrong_time": "时间填错",
    "duplicate": "重复登记",
    "not_service": "不属于志愿服务",
    "not_attended": "未实际参加",
    "import_undone": "导入已撤销",
}


class Served(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Time that a volunteer says to have served at an activity; without minutes, the whole span counts."""

    volunteer_id: UUID
    activity_id: UUID
    started_at: datetime
    ended_at: datetime
    minutes: int | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row of the ledger. Minutes of a reversal are negative."""

    id: UUID
    kind: str
    reverses: UUID | None = None
    volunteer_id: UUID
    activity_id: UUID
    team_code: str
    unit_code: str
    category: str
    started_at: datetime
    ended_at: datetime
    served_on: date
    minutes: int
    source: str
    import_id: UUID | None = None
    needs_attention: bool
    reason_code: str | None = None
    recorded_at: datetime
    recorded_by: UUID | None = None
    """The account or API client that did it."""
    approved_by: UUID | None = None
    """The account that approved the claim it comes from, or decided on the reversal."""
    reversed_by: UUID | None = None


class Entered(msgspec.Struct, frozen=True, gc=False):
    """The item became this new entry of the ledger."""

    entry: Entry


class Existing(msgspec.Struct, frozen=True, gc=False):
    """The ledger holds exactly this item already, as this entry."""

    entry: Entry


class Reversed(msgspec.Struct, frozen=True, gc=False):
    """The entry was taken back by this new entry of the kind ``reversal``."""

    entry: Entry


Outcome: TypeAlias = Entered | Existing

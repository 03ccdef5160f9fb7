"""The tables of notices and what their rows mean; the constraints stand in the migrations."""

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from .domain.drafts import Draft

msgspec.json.Decoder(Draft)  # the first look, while there is one thread: `contracts.codec` says why

metadata = sa.MetaData()

_Codes = ARRAY(sa.Text)
_Instant = sa.DateTime(timezone=True)

units = sa.Table(
    "units",
    metadata,
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("aliases", _Codes, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("groups", _Codes, nullable=False),
    sa.Column("parent_code", sa.Text),
    sa.Column("staff_count", sa.Integer),
    sa.Column("student_count", sa.Integer),
    sa.Column("counted_on", sa.Date),
    sa.Column("credit_code", sa.Text),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("registered_at", _Instant, nullable=False),
    sa.Column("changed_at", _Instant, nullable=False),
)

# What a notice says is written and read as a whole; the columns beside ``content`` are what it is found by.
notices = sa.Table(
    "notices",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("number", sa.Text, nullable=False),
    sa.Column("issuer_code", sa.Text, nullable=False),
    sa.Column("year", sa.Integer, nullable=False),
    sa.Column("serial", sa.Integer, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("issuer_keys", _Codes, nullable=False),
    sa.Column("issued_on", sa.Date, nullable=False),
    sa.Column("starts_at", _Instant, nullable=False),
    sa.Column("ends_at", _Instant),
    sa.Column("content", JSONB, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("created_at", _Instant, nullable=False),
    sa.Column("issued_at", _Instant),
)

# Whom a notice was addressed to at the moment of issue.
notice_units = sa.Table(
    "notice_units",
    metadata,
    sa.Column("notice_id", sa.Uuid, primary_key=True),
    sa.Column("unit_code", sa.Text, primary_key=True),
)

# Which units had which role in a category at the moment of issue.
category_units = sa.Table(
    "category_units",
    metadata,
    sa.Column("notice_id", sa.Uuid, primary_key=True),
    sa.Column("category_code", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, primary_key=True),
    sa.Column("unit_code", sa.Text, primary_key=True),
)

# One duty of one unit. The wording is copied, since a unit's deadline may come to differ from the notice's.
obligations = sa.Table(
    "obligations",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("notice_id", sa.Uuid, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("unit_code", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("receiver", sa.Text, nullable=False),
    sa.Column("lateness", sa.Text, nullable=False),
    sa.Column("due_on", sa.Date),
    sa.Column("due_at", _Instant),
    sa.Column("due_phrase", sa.Text),
    sa.Column("due_rule", sa.Text),
    sa.Column("due_clause", sa.Text),
    sa.Column("system_default", sa.Boolean, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
)


def content_of(draft: Draft) -> dict[str, Any]:
    """Return a draft as it is stored."""
    content: dict[str, Any] = msgspec.to_builtins(draft)
    return content


def draft_of(notice: Mapping[str, Any]) -> Draft:
    """Return what a stored notice says."""
    return msgspec.convert(notice["content"], Draft)

"""The tables of notify as queries name them; their constraints and indexes are made by the migrations."""

import sqlalchemy as sa

metadata = sa.MetaData()
_INSTANT = sa.DateTime(timezone=True)

#: Those who were erased: nothing is shown of what they were told.
forgotten_persons = sa.Table(
    "forgotten_persons",
    metadata,
    sa.Column("volunteer_id", sa.Uuid, primary_key=True),
    sa.Column("forgotten_at", _INSTANT, nullable=False, server_default=sa.text("clock_timestamp()")),
)

#: What a volunteer was told, once for each occurrence of an occasion; the rows of a volunteer are the inbox.
messages = sa.Table(
    "messages",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("volunteer_id", sa.Uuid, nullable=False),
    sa.Column("occasion", sa.Text, nullable=False),
    sa.Column("subject_id", sa.Uuid, nullable=False),
    sa.Column("occurrence", sa.Integer, nullable=False),
    sa.Column("template", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'written'")),
    sa.Column("written_at", _INSTANT, nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.Column("read_at", _INSTANT),
)

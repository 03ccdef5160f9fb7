"""A country's worth of history, written by the database itself: ledger, statistics, events, tallies, acknowledgements.

What the services would have written, row for row and index for index, without asking them: ten million records over
HTTP would take an hour. The people of the history serve in the evening, one activity a day each; nobody of the measured
load is among them.
"""

from collections.abc import Callable

import sqlalchemy as sa

from .servers import alone

PEOPLE = 50_000
MINUTES = 30
CHUNK = 250_000

#: The id of person number n of the history. They come after the registered ones, by whose first a service knows its
#: master key: nobody holds a key of these.
_PERSON = "overlay(md5('person ' || {n}) PLACING 'ffffffff' FROM 1)::uuid"
#: Ids hold the moment of their record, as those that services make do.
_ROWS = f"""
    CREATE TEMPORARY TABLE bulk ON COMMIT DROP AS
    SELECT n, {_PERSON.format(n="n % :people")} AS volunteer_id, a.id AS activity_id, a.team_code, a.unit_code,
        a.category, day + time '19:00' AS local, day,
        (stamp || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid AS entry_id,
        (stamp || '7' || lpad(to_hex(n % 4096), 3, '0') || '9' || lpad(to_hex(n), 15, '0'))::uuid AS event_id,
        recorded_at
    FROM (SELECT n, day, recorded_at, lpad(to_hex((extract(epoch FROM recorded_at) * 1000)::bigint), 12, '0') AS stamp
        FROM (SELECT n, day, (day + time '21:00') AT TIME ZONE 'Asia/Shanghai' + n % :people * interval '1 ms'
                AS recorded_at
            FROM (SELECT n, DATE '2026-01-01' + (n / :people)::integer AS day
                FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n) AS days) AS moments) AS stamps
    JOIN (SELECT row_number() OVER (ORDER BY id) - 1 AS turn, * FROM volunteers.activities) AS a
        ON a.turn = n % (SELECT count(*) FROM volunteers.activities)
"""  # noqa: S608  (no input)
_PEOPLE = f"""
    INSERT INTO volunteers.volunteers
    SELECT {_PERSON.format(n="n")}, 'B' || n, 'verified', 'U0', '01', one.name, one.id_number, one.phone, NULL,
        int8send(-n - 1), int8send(-n - 1), now(), now()
    FROM generate_series(0, CAST(:people AS integer) - 1) AS n, (SELECT * FROM volunteers.volunteers LIMIT 1) AS one
"""  # noqa: S608  (no input)
_STATEMENTS = (
    """
    INSERT INTO volunteers.service_spans
    SELECT entry_id, volunteer_id, activity_id,
        tstzrange(local AT TIME ZONE 'Asia/Shanghai', (local AT TIME ZONE 'Asia/Shanghai') + interval '30 minutes'),
        day, :minutes FROM bulk
    """,
    """
    INSERT INTO volunteers.ledger_entries (id, kind, volunteer_id, activity_id, team_code, unit_code, category,
        started_at, ended_at, served_on, minutes, source, needs_attention, recorded_at)
    SELECT entry_id, 'entry', volunteer_id, activity_id, team_code, unit_code, category,
        local AT TIME ZONE 'Asia/Shanghai', (local AT TIME ZONE 'Asia/Shanghai') + interval '30 minutes', day,
        :minutes, 'api', false, recorded_at FROM bulk
    """,
    """
    INSERT INTO volunteers.statistics_cells AS cell
    SELECT date_trunc('month', day)::date, unit_code, team_code, category, sum(:minutes), count(*) FROM bulk
    GROUP BY 1, 2, 3, 4
    ON CONFLICT (month, unit_code, team_code, category) DO UPDATE
    SET minutes = cell.minutes + excluded.minutes, entries = cell.entries + excluded.entries
    """,
    """
    INSERT INTO volunteers.volunteer_months AS cell
    SELECT volunteer_id, date_trunc('month', day)::date, unit_code, team_code, category, sum(:minutes), count(*)
    FROM bulk GROUP BY 1, 2, 3, 4, 5
    ON CONFLICT (volunteer_id, month, unit_code, team_code, category) DO UPDATE
    SET minutes = cell.minutes + excluded.minutes, entries = cell.entries + excluded.entries
    """,
    """
    INSERT INTO volunteers.outbox (id, aggregatetype, aggregateid, type, payload, public, recorded_at, published_at,
        position, public_published_at)
    SELECT event_id, 'volunteers', entry_id, CAST(:template AS jsonb) ->> 'type', convert_to((CAST(:template AS jsonb)
        || jsonb_build_object('id', event_id, 'subject', entry_id, 'time', recorded_at)
        || jsonb_build_object('data', (CAST(:template AS jsonb) -> 'data') || jsonb_build_object('entry_id', entry_id,
            'volunteer_id', volunteer_id, 'team_code', team_code, 'unit_code', unit_code, 'activity_id', activity_id,
            'category', category, 'served_on', day, 'minutes', CAST(:minutes AS integer))))::text, 'UTF8'),
        true, recorded_at, recorded_at, :position + row_number() OVER (ORDER BY n), recorded_at FROM bulk
    """,
    "INSERT INTO volunteers.inbox SELECT event_id, 'volunteers.keep_statistics', sha256('') FROM bulk",
    "INSERT INTO awards.inbox SELECT event_id, 'awards.add_to_tally', sha256('') FROM bulk",
    "INSERT INTO notify.inbox SELECT event_id, 'notify.acknowledge_hours', sha256('') FROM bulk",
    """
    INSERT INTO awards.tallies (volunteer_id, minutes, live)
    SELECT volunteer_id, sum(:minutes), true FROM bulk GROUP BY 1
    ON CONFLICT (volunteer_id) DO UPDATE SET minutes = tallies.minutes + excluded.minutes
    """,
    "INSERT INTO awards.tally_entries SELECT entry_id, volunteer_id, :minutes FROM bulk",
    """
    INSERT INTO notify.messages (id, volunteer_id, occasion, subject_id, occurrence, template, title, text, written_at)
    SELECT event_id, volunteer_id, 'hours_logged', entry_id, 1, 'hours_logged@1', '时数已入账',
        '您在' || day || '的志愿服务已记录。', recorded_at FROM bulk
    """,
)


def grow(engine: sa.Engine, want: int, template: bytes, say: Callable[[str], object]) -> None:
    """Write a history of ``want`` records; the template is a recorded event of hours."""
    values = {"people": PEOPLE, "minutes": MINUTES, "template": template.decode()}
    with engine.begin() as connection:
        _run(connection, _PEOPLE, values)
    for first in range(0, want, CHUNK):
        last = min(first + CHUNK, want) - 1
        with engine.begin() as connection:
            position = connection.scalar(sa.text("SELECT coalesce(max(position), 0) FROM volunteers.outbox"))
            span = values | {"first": first, "last": last, "position": position}
            for statement in (_ROWS, *_STATEMENTS):
                _run(connection, statement, span)
        say(f"history: {last + 1:,} of {want:,} records")
    alone(engine.url.render_as_string(hide_password=False), "VACUUM (ANALYZE)")


def _run(connection: sa.Connection, statement: str, values: dict[str, object]) -> None:
    text = sa.text(statement)
    connection.execute(text, {name: values[name] for name in text.compile().params})

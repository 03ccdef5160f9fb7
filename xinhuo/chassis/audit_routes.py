"""Looking through the audit log: by page, and as a file that opens in Excel and WPS."""

import csv
import io
from typing import Any, ClassVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .audit import TABLE
from .errors import RuleError
from .identity.actor import Access, Reach, access_of
from .markers import http
from .web import schema
from .web.pages import Answer, Listed, page_of, read_cursor, row_number
from .web.spreadsheets import harmless

MOST_EXPORTED = 50_000
#: The columns of the file, and their titles.
_SHOWN = TABLE.c.keys()
_TITLES = (
    "序号", "时间（UTC）", "账号", "角色", "单位", "操作", "对象类型", "对象", "结果", "操作前摘要", "操作后摘要",
    "理由", "追踪号", "网络地址", "链摘要",
)  # fmt: skip


class TooManyRows(RuleError):
    """More rows than one export holds"""

    code = "audit.too_many_rows"
    title = "导出的行数过多"

    def __init__(self, found: int) -> None:
        super().__init__(
            f"符合条件的有 {found:,} 行，一次最多导出 {MOST_EXPORTED:,} 行，请用 since、until 缩小范围。",
            f"{found:,} rows fit, an export holds {MOST_EXPORTED:,}: narrow it by since and until.",
            pointer="/since",
        )


class AuditFilter(schema.Schema):
    """Which rows."""

    action = schema.Text(max=64)
    object = schema.Text(max=64)
    subject = schema.Uuid()
    outcome = schema.Choice(("done", "refused"))
    since = schema.Instant()
    until = schema.Instant()


class AuditQuery(schema.Page, AuditFilter):
    """Which rows, by page."""


class AuditRow(schema.Schema):
    """A row: who did what to which object, why, and the hash that chains it to the row before."""

    seq = schema.Integer()
    at = schema.Instant()
    subject = schema.Uuid(allow_none=True)
    role = schema.Text()
    unit = schema.Text(allow_none=True)
    action = schema.Text()
    object_kind = schema.Text()
    object_id = schema.Text()
    outcome = schema.Text()
    before_hash = schema.Text(allow_none=True)
    after_hash = schema.Text(allow_none=True)
    reason = schema.Text(allow_none=True)
    trace_id = schema.Text(allow_none=True)
    address = schema.Text(allow_none=True)
    hash = schema.Text()


class AuditRoutes:
    """The routes, for the base of all services."""

    name: ClassVar[str]

    @http("GET", "/v1/audit", right="audit:read", query=AuditQuery, returns=AuditRow)
    def audit_rows(self, session: Session, query: dict[str, Any]) -> Listed:
        """List what was done, the newest first."""
        wanted = sa.select(TABLE).where(*_conditions(session, query)).order_by(TABLE.c.seq.desc())
        if cursor := read_cursor(query["after"], row_number):
            wanted = wanted.where(TABLE.c.seq < cursor[0])
        found = session.execute(wanted.limit(query["limit"] + 1)).mappings()
        shown = [_shown(row, access_of(session)) for row in found]
        return page_of(shown, query["limit"], lambda row: (row["seq"],))

    @http("GET", "/v1/audit.csv", right="audit:read", query=AuditFilter, produces="text/csv", errors=(TooManyRows,))
    def audit_file(self, session: Session, query: dict[str, Any]) -> Answer:
        """Return the same rows as a CSV file, the oldest first."""
        conditions = _conditions(session, query)
        count = session.scalar(sa.select(sa.func.count()).select_from(TABLE).where(*conditions)) or 0
        if count > MOST_EXPORTED:
            raise TooManyRows(count)
        file = io.StringIO(newline="")
        writer = csv.writer(file)
        writer.writerow(_TITLES)
        for row in session.execute(sa.select(TABLE).where(*conditions).order_by(TABLE.c.seq)).mappings():
            shown = _shown(row, access_of(session))
            writer.writerow([harmless(str(shown[name])) if shown[name] is not None else "" for name in _SHOWN])
        return Answer(
            raw=b"\xef\xbb\xbf" + file.getvalue().encode(),  # by which Excel knows UTF-8
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="audit-{self.name}.csv"'},
        )


def _conditions(session: Session, query: dict[str, Any]) -> list[sa.ColumnElement[bool]]:
    wanted = _reached(access_of(session))
    for name, column in (
        ("action", TABLE.c.action),
        ("object", TABLE.c.object_id),
        ("subject", TABLE.c.subject),
        ("outcome", TABLE.c.outcome),
    ):
        if query.get(name) is not None:
            wanted.append(column == query[name])
    if query.get("since") is not None:
        wanted.append(TABLE.c.at >= query["since"])
    if query.get("until") is not None:
        wanted.append(TABLE.c.at < query["until"])
    return wanted


def _reached(access: Access) -> list[sa.ColumnElement[bool]]:
    """Return which rows: all, or one's own deeds and what was done to oneself or one's wards."""
    if access.reach is Reach.ALL:
        return []
    if access.actor is None:
        return [sa.false()]
    persons: tuple[UUID | None, ...] = (access.actor.volunteer, *access.actor.wards)
    mine = [str(person) for person in persons if person is not None]
    return [(TABLE.c.subject == access.actor.subject) | TABLE.c.object_id.in_(mine)]


def _shown(row: Any, access: Access) -> dict[str, Any]:
    """Return a row; from where somebody else asked is shown to those who watch over all only."""
    own = access.reach is Reach.ALL or (access.actor is not None and row["subject"] == access.actor.subject)
    hashes = {name: bytes(row[name]).hex() for name in ("before_hash", "after_hash", "hash") if row[name] is not None}
    return {**row, **hashes, "address": row["address"] if own else None}

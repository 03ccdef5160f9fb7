"""The ways into imports of hours; ``Volunteers`` inherits them."""

from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

from sqlalchemy.orm import Session

from xinhuo.chassis.db import database_now
from xinhuo.chassis.markers import http, job
from xinhuo.chassis.service import Runtime
from xinhuo.chassis.web.pages import Answer, Listed

from . import domain, workbooks
from .commands import imports as commands
from .domain import workbooks as file_errors
from .queries import imports as queries
from .schemas import imports as schemas

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FILE_LIMIT = 20 * 1024 * 1024
_FILE_ERRORS = (
    file_errors.NotAWorkbook,
    file_errors.LegacyWorkbook,
    file_errors.EncryptedWorkbook,
    file_errors.MacrosRefused,
    file_errors.ExternalLinksRefused,
    file_errors.ZipBomb,
    file_errors.WorkbookUnreadable,
    file_errors.WorkbookTooComplex,
    file_errors.TooManyRows,
    file_errors.HeaderMissing,
    file_errors.ColumnsWrong,
    file_errors.NoRows,
)


class ImportEntrypoints:
    """Imports of hours from workbooks: template, check, confirmation, result, undoing."""

    runtime: Runtime

    @http("GET", "/v1/imports/template.xlsx", right="hours:import", produces=XLSX)
    def import_template(self, session: Session) -> Answer:
        """Return the template to fill in."""
        window = commands.undo_window(database_now(session))
        return _download(workbooks.template(window.hours), "志愿服务时数导入模板.xlsx")

    @http(
        "POST",
        "/v1/imports",
        right="hours:import",
        media_type=XLSX,
        body_limit=FILE_LIMIT,
        named=True,
        returns=schemas.Import,
        status=201,
        errors=(domain.ImportSeenBefore, *_FILE_ERRORS),
    )
    def check_import(self, session: Session, body: bytes, file_name: str | None) -> Answer:
        """Check a workbook row by row; nothing is entered before it is confirmed."""
        now = database_now(session)
        import_id = commands.check_import(session, self.runtime.keys, body, file_name, now=now)
        return Answer(self._shown(session, import_id), headers={"Location": f"/v1/imports/{import_id}"})

    @http(
        "POST",
        "/v1/imports/{id:uuid}:confirm",
        right="hours:import",
        accepts=schemas.ConfirmImport,
        returns=schemas.Import,
        status=202,
        errors=(
            domain.ImportNotFound,
            domain.ImportNotOpen,
            domain.RowsRefused,
            domain.NothingToImport,
            domain.ImportSeenBefore,
            file_errors.ImportExpired,
        ),
    )
    def confirm_import(self, session: Session, id: UUID, body: dict[str, Any]) -> dict[str, Any]:
        """Let the rows be entered, all in one transaction; the answer to GET shows how far it is."""
        commands.confirm_import(session, id, domain.Confirm(body["mode"]), now=database_now(session))
        return self._shown(session, id)

    @http(
        "POST",
        "/v1/imports/{id:uuid}:undo",
        right="hours:import",
        returns=schemas.Import,
        status=202,
        errors=(domain.ImportNotFound, domain.ImportNotOpen, domain.WindowClosed),
    )
    def undo_import(self, session: Session, id: UUID) -> dict[str, Any]:
        """Take back every entry of an import by reversals; afterwards the file can be imported again."""
        commands.request_undo(session, id, now=database_now(session))
        return self._shown(session, id)

    @http("GET", "/v1/imports/{id:uuid}", right="hours:import", returns=schemas.Import, errors=(domain.ImportNotFound,))
    def import_(self, session: Session, id: UUID) -> dict[str, Any]:
        """Return where an import stands, with its first 100 mistakes."""
        return self._shown(session, id)

    @http("GET", "/v1/imports", right="hours:import", query=schemas.ImportQuery, returns=schemas.ImportSummary)
    def imports(self, session: Session, query: dict[str, Any]) -> Listed:
        """List imports, the newest first."""
        window = commands.undo_window(database_now(session))
        return queries.imports_list(session, self.runtime.keys, query, window)

    @http(
        "GET",
        "/v1/imports/{id:uuid}/result.xlsx",
        right="hours:import",
        produces=XLSX,
        errors=(domain.ImportNotFound, file_errors.ImportExpired),
    )
    def import_result(self, session: Session, id: UUID) -> Answer:
        """Return the user's own file: mistaken cells marked, and a column 导入结果."""
        file = queries.result_file(session, self.runtime.keys, id)
        return _download(file.content, file.name)

    @job(every=timedelta(seconds=1), when=queries.any_confirmed)
    def run_confirmed_imports(self, session: Session) -> None:
        """Enter the confirmed import that waits longest."""
        commands.run_next_confirmed(session, self.runtime.db, self.runtime.keys)

    @job(every=timedelta(seconds=1), when=queries.any_undo_requested)
    def run_requested_undos(self, session: Session) -> None:
        """Take back the import whose undoing waits longest."""
        commands.run_next_undo(session, self.runtime.db)

    def _shown(self, session: Session, import_id: UUID) -> dict[str, Any]:
        window = commands.undo_window(database_now(session))
        return queries.import_of(session, self.runtime.keys, import_id, window)


def _download(content: bytes, name: str) -> Answer:
    return Answer(
        raw=content,
        content_type=XLSX,
        headers={
            "Content-Disposition": f"attachment; filename=\"hours.xlsx\"; filename*=UTF-8''{quote(name, safe='')}"
        },
    )

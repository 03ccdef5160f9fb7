"""Several statements on one way to the database and back: a way costs more than most statements do.

``ask`` sends questions together. What is only written, and asked for by nobody, is handed to ``at_commit``, and goes
along with the commit itself. Statements keep their order: whatever else a session executes goes after what waits.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.pq import TransactionStatus
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

Statement = tuple[sa.TextClause, Mapping[str, Any]]
_WAITING = "xinhuo_statements_at_commit"
_REFUSED = "xinhuo_statement_refused"
_BEGIN, _COMMIT = b"BEGIN ISOLATION LEVEL READ COMMITTED", b"COMMIT"


def ask(session: Session, *asked: Statement) -> list[list[Any]]:
    """Execute statements in their order, sent together, and return the rows of each as tuples.

    Each sees what those before it did, and waits for the locks that they wait for. Raises SQLAlchemy's errors.
    """
    return _send(session, asked)


def execute(connection: sa.Connection, statement: sa.TextClause, parameters: Mapping[str, Any]) -> list[Any]:
    """Execute one statement on a connection that commits each, and return its rows as tuples."""
    driver: Any = connection.connection.driver_connection
    try:
        cursor = driver.execute(_text(statement), parameters, binary=True)
        return cursor.fetchall() if cursor.description else []
    except BaseException as error:
        connection._handle_dbapi_exception(error, None, None, None, None)


def at_commit(session: Session, statement: sa.TextClause, parameters: Mapping[str, Any]) -> None:
    """Execute a statement that returns nothing, together with the commit or before whatever is executed next.

    Within a savepoint it is executed at once: it lives and dies with it.
    """
    if session.in_nested_transaction():
        session.execute(statement, parameters)
        return
    session.info.setdefault(_WAITING, []).append((statement, parameters))


def commit(session: Session) -> None:
    """Send what waits, with the commit; nothing when nothing waits, and SQLAlchemy commits by itself.

    Raises RuntimeError when an earlier statement that waited was refused and the work went on nevertheless.
    """
    if session.info.get(_REFUSED):
        raise RuntimeError("a statement that waited for the commit was refused; the transaction cannot be committed")
    if session.info.get(_WAITING):
        _send(session, (), committing=True)


def forget(session: Session) -> None:
    """Drop what waits in a transaction that was rolled back."""
    session.info.pop(_WAITING, None)
    session.info.pop(_REFUSED, None)


def write(session: Session) -> None:
    """Execute what waits now, before something else is."""
    if session.info.get(_WAITING):
        _send(session, ())


def _send(session: Session, asked: Sequence[Statement], *, committing: bool = False) -> list[list[Any]]:
    """Send what waits and what is asked; return the rows of what is asked."""
    waiting: list[Statement] = session.info.pop(_WAITING, [])
    connection = session.connection()
    driver: Any = connection.connection.driver_connection
    try:
        cursors = _together(driver, [*waiting, *asked], committing=committing)
        return [cursor.fetchall() if cursor.description else [] for cursor in cursors[len(waiting) :]]
    except BaseException as error:  # wrapped, and the connection given up where need be, as for SQLAlchemy's own
        if waiting:
            session.info[_REFUSED] = True
        connection._handle_dbapi_exception(error, None, None, None, None)


def _together(driver: Any, statements: Sequence[Statement], *, committing: bool) -> list[Any]:
    try:
        with driver.pipeline():
            try:
                # psycopg would begin on a way of its own, and make a cursor for a commit.
                if driver.pgconn.transaction_status == TransactionStatus.IDLE:
                    driver._autocommit = True
                    driver.wait(driver._exec_command(_BEGIN))
                cursors = [
                    driver.execute(_text(statement), parameters, binary=True) for statement, parameters in statements
                ]
                if committing:
                    driver.wait(driver._exec_command(_COMMIT))
            except BaseException as error:
                if not isinstance(error, Exception):
                    driver.close()  # who is being ended does not wait for what the server is at
                raise
    except psycopg.Error as error:
        driver._prepared.clear()  # it may count what was never prepared
        ended = error.__context__
        if ended is not None and not isinstance(ended, Exception):
            # Ended while the pipeline closed, which then fails too, and would hide why.
            driver.close()
            raise ended from None
        raise
    finally:
        driver._autocommit = False
    return cursors


@cache
def _text(statement: sa.TextClause) -> str:
    return str(statement.compile(dialect=postgresql.dialect(paramstyle="pyformat")))  # type: ignore[no-untyped-call]

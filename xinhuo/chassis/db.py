"""One service's database: an engine, and transactions that carry their events with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import ORMExecuteState, SessionTransaction
from sqlalchemy.orm import Session as OrmSession

from . import clock, counted, inbox, metrics, outbox, roles, roundtrips, row_security, trace
from .arrays import ColumnDumper
from .errors import Unavailable

#: How long a transaction may stand still between two statements; the marking of a large workbook may take 150 s.
IDLE_IN_TRANSACTION_SECONDS = 180
#: SQLSTATEs after which the same transaction may simply be tried again.
_TRY_AGAIN = {"40001", "40P01", "55P03"}
#: SQLSTATEs that say the server is going, gone, not there yet, or full: no fault of the work at hand. The first
#: says that it only reads: it still recovers, or is no longer the primary.
_OUTAGE = {
    "25006",
    "25P03",
    "57P01",
    "57P02",
    "57P03",
    "57P05",
    "53100",
    "53200",
    "53300",
    "08000",
    "08003",
    "08006",
    "08001",
    "08004",
}
_NOW = sa.text("SELECT clock_timestamp()")


class DatabaseUnavailable(Unavailable):
    """The service's database is away"""

    code = "database.unavailable"
    title = "数据库暂时不可用"

    def __init__(self, *, committing: bool = False) -> None:
        """Say that nothing was changed, unless the answer to a commit is what did not come back."""
        if committing:
            super().__init__(
                "数据库在保存时中断，尚不确定是否已保存，请稍后用相同内容重试，或先查询确认。",
                "The database went away during the commit, so the change may or may not have been made; "
                "try again shortly with the same content, or look first.",
            )
            return
        super().__init__(
            "数据库暂时连接不上，您的数据没有改动，请稍后重试。",
            "The database cannot be reached at the moment; nothing was changed, try again shortly.",
        )


class Session(OrmSession):
    """A session whose commit also writes the events recorded in it, and whatever else waits for the commit."""

    def begin_nested(self) -> SessionTransaction:
        """Begin a savepoint; what waited until now is not undone with it."""
        roundtrips.write(self)
        return super().begin_nested()


@event.listens_for(Session, "do_orm_execute")
def _write_what_waits(state: ORMExecuteState) -> None:
    roundtrips.write(state.session)


@event.listens_for(Session, "before_commit")
def _commit_with_recorded_events(session: OrmSession) -> None:
    if not session.in_nested_transaction():  # SQLAlchemy calls this for savepoints too
        outbox.write_at_commit(session)
        roundtrips.commit(session)


@event.listens_for(Session, "after_rollback")
def _forget_recorded_events(session: OrmSession) -> None:
    if not session.in_nested_transaction():
        outbox.forget_pending(session)
        roundtrips.forget(session)


@event.listens_for(Session, "after_commit")
def _count_what_was_done(session: OrmSession) -> None:
    if not session.in_nested_transaction():
        counted.add(session)


@event.listens_for(Session, "after_soft_rollback")
def _count_nothing(session: OrmSession, ended: SessionTransaction) -> None:
    counted.forget(session, ended)


class Database:
    """The database of one service; tables live in the schema of the service's name.

    Works as the service's role, which owns nothing (``roles``). Opens nothing before its first use and may be shared
    by all threads of a process.
    """

    def __init__(
        self, url: str, service: str, *, pool: int = 10, application: str = "", keep_events_months: int = 0
    ) -> None:
        self.service = service
        self.url = url
        self.keep_events_months = keep_events_months
        self.engine = sa.create_engine(
            url,
            pool_size=pool,
            max_overflow=0,
            pool_timeout=10,
            pool_use_lifo=True,  # the one used last has its statements prepared and its plans made
            isolation_level="READ COMMITTED",
            hide_parameters=True,
            connect_args={
                # A frozen process must not keep its locks from everyone else for ever.
                "options": f"{_options(service)} -crole={roles.role_of(service)} {row_security.OPTIONS}"
                f" -cidle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_SECONDS}s",
                "application_name": application or f"xinhuo-{service}",
                "connect_timeout": 5,
                "keepalives_idle": 15,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 15000,
            },
        )
        event.listen(self.engine, "connect", _send_lists_in_binary)
        event.listen(self.engine, "connect", _learn_the_time)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Run the block in one transaction: committed with its events at the end, or nothing at all.

        Raises DatabaseUnavailable when the server cannot be reached or is going down; lost during the commit,
        the transaction may have taken effect, and the error says so.
        """
        session = Session(self.engine, expire_on_commit=False, info={inbox.KEEP_EVENTS_MONTHS: self.keep_events_months})
        committing = False
        try:
            with trace.within(trace.CLIENT, "transaction", self._facts):
                try:
                    yield session
                    committing = True
                    session.commit()
                except BaseException:
                    session.rollback()
                    raise
                finally:
                    session.close()
        except (DBAPIError, PoolTimeout) as error:
            if isinstance(error, PoolTimeout):
                metrics.DB_POOL_TIMEOUTS.labels(self.service).inc()
            if is_outage(error):
                # Most statements travel with the commit: one that was answered with an error was not committed.
                unknown = committing and isinstance(error, DBAPIError) and error.connection_invalidated
                raise DatabaseUnavailable(committing=unknown) from error
            raise

    def _facts(self) -> trace.Facts:
        return {"db.system.name": "postgresql", "db.namespace": f"{self.engine.url.database}|{self.service}"}

    @contextmanager
    def as_owner(self) -> Iterator[sa.Connection]:
        """Give a connection of whoever owns the tables, in one transaction: for migrations."""
        engine = sa.create_engine(
            self.url, poolclass=sa.NullPool, connect_args={"options": _options(self.service), "connect_timeout": 5}
        )
        with engine.begin() as connection:
            yield connection

    def is_up(self) -> bool:
        """Tell whether the server answers a trivial question now."""
        try:
            with OrmSession(self.engine) as session:
                database_now(session)
        except (DBAPIError, PoolTimeout):
            return False
        return True

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()


def _options(service: str) -> str:
    return f"-csearch_path={service},public -ctimezone=UTC"


def _send_lists_in_binary(connection: Any, _record: Any) -> None:
    """Let lists travel as binary arrays: text ones cost 5 to 25 times the time, most of it in quoting."""
    connection.adapters.register_dumper(list, ColumnDumper)


def _learn_the_time(connection: Any, _record: Any) -> None:
    asked = clock.steady()
    (told,) = connection.execute("SELECT clock_timestamp()").fetchone()
    clock.learn(told, asked)
    connection.rollback()


def is_outage(error: BaseException) -> bool:
    """Tell whether an error means that the database is away, not that the work is wrong."""
    if isinstance(error, DatabaseUnavailable | PoolTimeout):
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        code = sqlstate(error)
        return code in _OUTAGE or (code is None and isinstance(error, OperationalError))
    return False


def is_transient(error: BaseException) -> bool:
    """Tell whether the same transaction may succeed when simply run again (deadlock, serialization)."""
    return isinstance(error, DBAPIError) and sqlstate(error) in _TRY_AGAIN


def sqlstate(error: DBAPIError) -> str | None:
    """Return PostgreSQL's five-character error code, if the server gave one."""
    code: str | None = getattr(error.orig, "sqlstate", None)
    return code


def database_now(session: OrmSession) -> datetime:
    """Return the database's clock, the one clock of the system, as an aware instant in UTC."""
    return ask_with_time(session)[0]


def ask_with_time(session: OrmSession, *asked: roundtrips.Statement) -> tuple[datetime, list[list[Any]]]:
    """Do as ``roundtrips.ask``, and return with the rows what time it is by the database's clock, in UTC."""
    began = clock.steady()
    *answers, [(now,)] = roundtrips.ask(session, *asked, (_NOW, {}))
    clock.learn(now, began)
    return now, answers


def rows(result: Any) -> list[dict[str, Any]]:
    """Return the rows of a result as plain dictionaries."""
    return [dict(row) for row in result.mappings()]

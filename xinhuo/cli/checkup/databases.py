"""The databases: version, durability, connections, clock, migrations, and what waits in them."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, ProgrammingError

from xinhuo.chassis import migrations, roles
from xinhuo.chassis.config import SERVICES, BadSettings, Settings
from xinhuo.chassis.db import Database, is_outage
from xinhuo.chassis.security import BadKeyFile
from xinhuo.chassis.service import Runtime

from .. import build
from .findings import Finding

_OLDEST = 150000
_USUAL_ZONES = {"UTC", "Etc/UTC", "GMT", "Asia/Shanghai", "PRC", "Asia/Chongqing", "Asia/Urumqi"}
#: A service's processes: one for requests, one for events.
_PROCESSES = 2


@dataclass(frozen=True)
class Server:
    """What a database server says of itself; ``clock_offset`` in seconds, no more than what is sure."""

    name: str
    version: int
    max_connections: int
    reserved: int
    connected: int
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    time_zone: str
    clock_offset: float

    @property
    def available(self) -> int:
        """Connections that ordinary users can have."""
        return self.max_connections - self.reserved


def check(settings: Settings, clock: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Yield what is wrong with the database of each service, and with their servers."""
    servers: dict[str, Server] = {}
    users: dict[str, list[str]] = {}
    for name in SERVICES:
        try:
            url = settings.database_url_of(name)
        except BadSettings:
            yield Finding("database.embedded", name, "", "xinhuo up")
            continue
        db = build.database(name, settings, role="doctor")
        try:
            identity, server = read_server(url, clock)
            servers.setdefault(identity, server)
            users.setdefault(identity, []).append(name)
            yield from check_extension(db)
            missing = list(check_role(db, production=settings.environment == "production"))
            yield from missing
            if not any(one.code == "database.role_missing" for one in missing):
                yield from check_schema(db)
                yield from check_key(settings, db)
                if name == "portal":
                    yield from check_officer(db)
        except DBAPIError as error:
            yield Finding(
                "database.away" if is_outage(error) else "database.refused", name, type(error.orig).__name__,
                f"检查 {name.upper()}_DATABASE_URL 或 DATABASE_URL / check the setting, and that PostgreSQL runs",
            )  # fmt: skip
        finally:
            db.close()
    for identity, server in servers.items():
        yield from judge(server, users[identity], settings.db_pool)


def check_key(settings: Settings, db: Database) -> Iterator[Finding]:
    """Yield whether the master key here is another than the one that the service's data were encrypted with."""
    with contextlib.suppress(BadKeyFile, ProgrammingError):  # which have findings of their own
        service = build.service_class(db.service)()
        service.runtime = Runtime(settings, db, build.keys_of(settings))
        with db.transaction() as session:
            if not service.key_fits(session):
                remedy = "用 XINHUO_KEY_FILE 指定原来的密钥 / give the right file in XINHUO_KEY_FILE"
                yield Finding("key.wrong", db.service, str(build.key_path(settings)), remedy)


def check_officer(db: Database) -> Iterator[Finding]:
    """Yield whether there are people with accounts, and none who decides on erasures and on children's data."""
    with contextlib.suppress(ProgrammingError), db.transaction() as session:  # tables that are not there yet
        people, officers = session.execute(_PEOPLE).one()
        if people and not officers:
            remedy = "由局管理员建立角色为 privacy_officer 的账号 / make an account with the role privacy_officer"
            yield Finding("accounts.no_officer", db.service, f"{people}", remedy)


_PEOPLE = sa.text(
    "SELECT count(*), count(*) FILTER (WHERE role = 'privacy_officer') FROM accounts WHERE state = 'active'"
)


def read_server(url: str, clock: Callable[[], float] = time.time) -> tuple[str, Server]:
    """Ask a server about itself, with the settings that its database gives to everybody; returns its identity too."""
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool, connect_args={"connect_timeout": 5})
    with engine.connect() as connection:
        row: Any = connection.execute(_ABOUT).one()
        before = clock()
        there = float(connection.scalar(sa.text("SELECT extract(epoch FROM clock_timestamp())")) or 0)
        after = clock()
    identity = f"{row.address}:{row.port}:{row.started}"
    offset = (before + after) / 2 - there
    sure = max(abs(offset) - (after - before) / 2, 0.0)
    return identity, Server(
        name=f"{row.address}:{row.port}", version=row.version, max_connections=row.max_connections,
        reserved=row.reserved, connected=row.connected, fsync=row.fsync, full_page_writes=row.full_page_writes,
        synchronous_commit=row.synchronous_commit, time_zone=row.time_zone,
        clock_offset=sure if offset > 0 else -sure,
    )  # fmt: skip


_ABOUT = sa.text(
    """
    SELECT current_setting('server_version_num')::int AS version,
        current_setting('max_connections')::int AS max_connections,
        current_setting('superuser_reserved_connections')::int
            + coalesce(current_setting('reserved_connections', true), '0')::int AS reserved,
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int AS connected,
        current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
        current_setting('synchronous_commit') AS synchronous_commit, current_setting('TimeZone') AS time_zone,
        coalesce(host(inet_server_addr()), 'socket') AS address,
        coalesce(inet_server_port(), current_setting('port')::int) AS port, pg_postmaster_start_time() AS started
    """
)


def judge(server: Server, services: list[str], pool: int) -> Iterator[Finding]:
    """Yield what is wrong with a server that the named services use."""
    name = server.name
    if server.version < _OLDEST:
        version = f"{server.version // 10000}.{server.version % 10000}"
        yield Finding("database.too_old", name, version, "升级到 15 以上 / upgrade PostgreSQL to 15 or later")
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        if getattr(server, setting) == "off":
            yield Finding("database.not_durable", name, f"{setting} = off", f"ALTER SYSTEM RESET {setting}")
    processes = _PROCESSES * len(services)
    if pool * processes > server.available:
        yield Finding(
            "database.pools_exceed", name,
            f"{processes} × XINHUO_DB_POOL {pool} = {pool * processes} > {server.available}",
            f"调小 XINHUO_DB_POOL 至 {max(server.available // processes, 2)}，或调大 max_connections / "
            "lower XINHUO_DB_POOL or raise max_connections; more replicas need more",
        )  # fmt: skip
    if server.connected > 0.8 * server.available:
        yield Finding(
            "database.connections_high", name, f"{server.connected} / {server.available}",
            "调大 max_connections，或减少进程 / raise max_connections, or run fewer processes",
        )  # fmt: skip
    if abs(server.clock_offset) > 1:
        code = "database.clock_far" if abs(server.clock_offset) > 60 else "database.clock_off"
        remedy = "用 NTP（chrony）校准两台机器 / set both machines by NTP, for example with chrony"
        yield Finding(code, name, f"{server.clock_offset:+.1f} s", remedy)
    if server.time_zone not in _USUAL_ZONES:
        remedy = "ALTER DATABASE … SET timezone = 'UTC'（只影响人工查询 / it matters to queries by hand only）"
        yield Finding("database.time_zone", name, server.time_zone, remedy)


def check_extension(db: Database) -> Iterator[Finding]:
    """Yield whether btree_gist is missing and ``xinhuo db upgrade`` could not make it."""
    with db.as_owner() as connection:
        there, possible, allowed = connection.execute(
            sa.text(
                "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'btree_gist'),"
                " EXISTS (SELECT FROM pg_available_extensions WHERE name = 'btree_gist'),"
                " has_database_privilege(current_database(), 'CREATE')"
            )
        ).one()
    migrated = migrations.current(db) is not None
    if there or (possible and allowed and not migrated):
        return
    remedy = (
        "以超级用户运行 CREATE EXTENSION btree_gist / run CREATE EXTENSION btree_gist as a superuser"
        if possible
        else "安装 postgresql-contrib / install the package postgresql-contrib on the server"
    )
    yield Finding("database.btree_gist_missing", db.service, "", remedy)


def check_role(db: Database, *, production: bool) -> Iterator[Finding]:
    """Yield whether the service's role is missing, may do more than its service needs, or can be thrown off."""
    role = roles.role_of(db.service)
    with db.as_owner() as connection:
        found: Any = connection.execute(_ROLE, {"role": role, "schema": db.service}).one()
    if found.there is None:
        if migrations.current(db) is not None:
            yield Finding("database.role_missing", db.service, role, "xinhuo db upgrade")
        return
    if found.above or found.owned:
        detail = ", ".join(found.owned or []) or "SUPERUSER / BYPASSRLS"
        remedy = (
            f"ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS；表归部署账号所有 / and let the tables belong to who deploys"
        )
        yield Finding("database.role_too_wide", db.service, detail, remedy)
    if production and found.owner:
        remedy = (
            f"为服务另设登录账号并 GRANT {role} TO 它，写入 {db.service.upper()}_DATABASE_URL / "
            f"give the service a login of its own with GRANT {role}, and its URL this setting"
        )
        yield Finding("database.runs_as_owner", db.service, found.login, remedy)


_ROLE = sa.text(
    """
    SELECT session_user AS login, r.oid AS there, r.rolsuper OR r.rolbypassrls AS above,
        (SELECT array_agg(c.relname ORDER BY c.relname) FROM pg_class AS c
            WHERE c.relowner = r.oid AND c.relkind IN ('r', 'p')) AS owned,
        s.rolsuper OR EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
            WHERE n.nspname = :schema AND c.relowner = s.oid) AS owner
    FROM pg_roles AS s LEFT JOIN pg_roles AS r ON r.rolname = :role WHERE s.rolname = session_user
    """
)


def check_schema(db: Database) -> Iterator[Finding]:
    """Yield whether a service's schema is not of this release, else what waits in its tables."""
    tables, wanted = migrations.tables_of(db), migrations.head(build.versions_of(db.service))
    there = tables.revision
    if tables.serve(wanted) and there != wanted:
        remedy = "升级或回退期间正常 / as meant during an upgrade and after going back"
        yield Finding("database.migration_newer", db.service, f"{there} > {wanted}", remedy)
    elif there != wanted:
        if tables.are_newer(wanted):
            remedy = "用同版本或更新的程序 / run the release that made it, or a later one"
            yield Finding("database.migration_unknown", db.service, f"{there} > {wanted}", remedy)
        else:
            yield Finding("database.migration_pending", db.service, f"{there or '—'} → {wanted}", "xinhuo db upgrade")
        return
    yield from check_backlog(db)


def check_backlog(db: Database) -> Iterator[Finding]:
    """Yield what waits too long in a service's tables."""
    with db.transaction() as session:
        pending, age = session.execute(
            sa.text(
                "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(recorded_at)), 0)"
                " FROM outbox WHERE published_at IS NULL"
            )
        ).one()
        dead = session.scalar(sa.text("SELECT count(*) FROM dead_letters WHERE state = 'waiting'")) or 0
        differing = []
        if session.scalar(sa.text("SELECT to_regclass('reconciliations')")):
            found = session.execute(sa.text("SELECT comparison FROM reconciliations WHERE differences > 0 ORDER BY 1"))
            differing = list(found.scalars())
    if age > 60:
        code = "outbox.stalled" if age > 600 else "outbox.slow"
        remedy = f"确认 RabbitMQ 和 worker 在运行 / see that both run: xinhuo serve {db.service} --role worker"
        yield Finding(code, db.service, f"{pending} 条 / events, {float(age):,.0f} s", remedy)
    if dead:
        yield Finding("dead_letters.waiting", db.service, str(dead), f"xinhuo dead list --service {db.service}")
    if differing:
        yield Finding("reconcile.differs", db.service, ", ".join(differing), "xinhuo reconcile")

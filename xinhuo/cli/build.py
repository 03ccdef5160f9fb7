"""Puts a service together: its class, database, keys, WSGI application."""

import importlib
import importlib.util
import platform
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

import xinhuo
from xinhuo.chassis import logs, metrics, migrations, topology
from xinhuo.chassis.config import SERVICES, BadSettings, Settings
from xinhuo.chassis.db import Database, DatabaseUnavailable
from xinhuo.chassis.identity.bearer import KeyBearer, NoBearer
from xinhuo.chassis.identity.keyring import KeyRing, fetch_from
from xinhuo.chassis.identity.tokens import KeySource, Verifier
from xinhuo.chassis.key_file import ask_command, load_keys
from xinhuo.chassis.markers import Subscription, marked
from xinhuo.chassis.retention.rules import Retention
from xinhuo.chassis.retention.rules import load as load_retention
from xinhuo.chassis.security import BadKeyFile, Keys
from xinhuo.chassis.service import Runtime, Service
from xinhuo.chassis.web import health, openapi
from xinhuo.chassis.web.app import HttpApp

WRONG_KEY = (
    "这个主密钥不是当初加密个人信息的那一个：请用 XINHUO_KEY_FILE 指定原来的密钥文件，或从备份恢复 / "
    "this master key is not the one that personal data were encrypted with: give the right file in XINHUO_KEY_FILE, "
    "or restore it"
)


PORTAL = "portal"


def service_class(name: str) -> type[Service]:
    """Import a service's class by the service's name."""
    found: type[Service] = getattr(importlib.import_module(f"services.{name}.service"), name.capitalize())
    return found


def versions_of(name: str) -> Path:
    """Return the folder of a service's migrations."""
    package = importlib.import_module(f"services.{name}")
    assert package.__file__ is not None  # noqa: S101  (a package on disk; for the type checker)
    return Path(package.__file__).parent / "migrations"


def service_classes() -> list[type[Service]]:
    """Import the classes of all services."""
    return [service_class(name) for name in SERVICES]


def full_topology() -> topology.Topology:
    """Return the exchanges and queues of all services."""
    return topology.of(service_classes())


def mandatory_topics() -> frozenset[str]:
    """Return the event types that some service subscribes to."""
    return topology.subscribed_topics(service_classes())


def key_path(settings: Settings) -> Path:
    """Return where the master key is."""
    return settings.key_file or settings.data / "master.key"


def keys_of(settings: Settings) -> Keys:
    """Return the keys of the installation; raises BadKeyFile."""
    return ask_command(settings.key_command) if settings.key_command else load_keys(key_path(settings))


def database(name: str, settings: Settings, *, role: str = "all") -> Database:
    """Return a service's database, not yet connected."""
    url = settings.database_url_of(name)
    return Database(
        url,
        name,
        pool=settings.db_pool,
        application=f"xinhuo-{name}-{role}",
        keep_events_months=settings.keep_events_months,
    )


@cache
def retention() -> Retention:
    """Return the rules that say how long what is kept; raises InvalidRules."""
    return load_retention(files("services") / "retention.yaml")


def make_service(name: str, settings: Settings, *, role: str = "all") -> Service:
    """Return a service with its runtime; raises BadKeyFile or BadSettings."""
    service = service_class(name)()
    db = database(name, settings, role=role)
    service.runtime = Runtime(
        settings,
        db,
        keys_of(settings),
        Verifier(_key_source(name, settings, db)),
        KeyBearer(settings.url_of("portal"), settings.service_key) if settings.service_key else NoBearer(),
        retention(),
        migrations.head(versions_of(name)),
    )
    return service


def _key_source(name: str, settings: Settings, db: Database) -> KeySource:
    """Return where a service has the keys from that tokens are checked with: the portal from its own table."""
    if name == PORTAL:
        own_keys: type[Any] = importlib.import_module(f"services.{PORTAL}.signing").OwnKeys
        source: KeySource = own_keys(db)
        return source
    return KeyRing(fetch_from(settings.url_of(PORTAL)))


def make_app(
    service: Service,
    invoke: Callable[[str, Callable[[], Any]], Any] | None = None,
    *,
    checks: dict[str, health.Check] | None = None,
) -> HttpApp:
    """Return a service's WSGI application with health, metrics and documentation."""
    app = HttpApp(service, invoke=invoke)
    health.mount(app, {**_standing_checks(service), **(checks or {})})
    openapi.mount(app)
    return app


def make_health_app(service: Service, checks: dict[str, health.Check]) -> HttpApp:
    """Return an application with health and metrics only, for a process that serves no requests."""
    app = HttpApp(service, routes=False)
    health.mount(app, {**_standing_checks(service), **checks})
    return app


def show(service: Service, *, role: str, adapter: str, http_workers: int) -> None:
    """Show in the metrics what this process is and how many workers and connections it may have."""
    settings, name = service.runtime.settings, service.name
    metrics.BUILD_INFO.labels(name, role, xinhuo.__version__, adapter, platform.python_version()).set(1)
    metrics.show_pool(name, service.runtime.db.engine, settings.db_pool)
    if role != "worker":
        metrics.WORKERS_LIMIT.labels(name, "http").set(http_workers)
    if role != "api":
        metrics.WORKERS_LIMIT.labels(name, "handler").set(len(marked(type(service), Subscription)))


def check_adapter(settings: Settings) -> None:
    """Raise BadSettings when what the chosen adapter stands on is not installed."""
    if settings.adapter == "nameko" and any(importlib.util.find_spec(name) is None for name in ("nameko", "eventlet")):
        raise BadSettings(
            [
                "没有安装 nameko 与 eventlet：请设 XINHUO_ADAPTER=threads，或安装它们（make install）/ nameko and "
                "eventlet are not installed: set XINHUO_ADAPTER=threads, or install them (make install)"
            ]
        )


def check_key(service: Service) -> None:
    """Raise BadKeyFile when the service's data were encrypted with another key; says nothing without its tables."""
    try:
        with service.runtime.db.transaction() as session:
            fits = service.key_fits(session)
    except (DatabaseUnavailable, DBAPIError):
        return  # which is another matter, and another message
    if not fits:
        raise BadKeyFile(WRONG_KEY)


def warn_of_old_tables(service: Service) -> None:
    """Say in the log that the tables are of another release: until that is mended, the process is not ready."""
    try:
        tables = migrations.tables_of_service(service.runtime.db)
    except (DatabaseUnavailable, DBAPIError):
        return  # which others will say
    head = migrations.head(versions_of(service.name))
    metrics.show_revision(service.name, head, tables.revision, works=tables.serve(head))
    if tables.serve(head):
        return
    if tables.are_newer(head):
        logs.get("process").warning(
            "migration_unknown", found=tables.revision, known=head, works_from=tables.works_from
        )
    else:
        logs.get("process").warning("migration_pending", found=tables.revision, wanted=head, remedy="xinhuo db upgrade")


def _standing_checks(service: Service) -> dict[str, health.Check]:
    head = migrations.head(versions_of(service.name))
    db = service.runtime.db

    def database_up() -> str | None:
        return None if db.is_up() else "数据库连接不上 / the database cannot be reached"

    def migrated() -> str | None:
        if database_up():
            return "未知 / unknown"
        tables = migrations.tables_of_service(db)
        found = tables.revision
        metrics.show_revision(service.name, head, found, works=tables.serve(head))
        if tables.serve(head):
            return None
        if tables.are_newer(head):
            return (
                f"库结构 {found} 来自更新的版本，本程序（{head}）不能使用，请用新版程序 / "
                f"at {found}, of a later release that asks for {tables.works_from}, not {head}: run that release"
            )
        return (
            f"migration_pending：库结构为 {found}，应为 {head}，请运行 xinhuo db upgrade / "
            f"at {found}, not {head}: run xinhuo db upgrade"
        )

    def key_right() -> str | None:
        try:
            check_key(service)
        except BadKeyFile as error:
            return str(error)
        return None

    encrypts = type(service).key_fits is not Service.key_fits
    return {"database": database_up, "migration": migrated, **({"key": key_right} if encrypts else {})}

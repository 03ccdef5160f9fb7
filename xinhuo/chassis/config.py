"""Settings from the environment, all checked at start; ``docs/settings.md`` is generated from this table."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

SERVICES = ("notices", "volunteers", "awards", "notify", "portal")
ADAPTERS = ("nameko", "threads")
#: The settings that each service has for itself.
DATABASE_URL_OF = "{}_DATABASE_URL"
URL_OF = "XINHUO_{}_URL"
#: What is put after the name of a secret setting when a file holds its value.
IN_FILE = "_FILE"
_OIDC = tuple(f"XINHUO_OIDC_{what}" for what in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET", "REDIRECT_URL"))
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  (recognised, not listened to)


class BadSettings(Exception):
    """One or more settings cannot be used; the text lists all of them, in Chinese and English."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("设置有误 / bad settings:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self.problems = problems


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError
        return value

    parse.__doc__ = f"整数 {low}–{high} / a whole number from {low} to {high}"
    return parse


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    parse.__doc__ = " | ".join(words)
    return parse


def _database_url(text: str) -> str:
    """postgresql://user:password@host:port/database"""
    parts = urlsplit(text)
    known = parts.scheme in {"postgresql", "postgres", "postgresql+psycopg"}
    if not known or not parts.path.strip("/") or parts.port == 0:  # .port raises ValueError for "543x"
        raise ValueError
    return "postgresql+psycopg" + text[len(parts.scheme) :]


def _amqp_uri(text: str) -> str:
    """amqp://user:password@host:port/vhost"""
    parts = urlsplit(text)
    if parts.scheme not in {"amqp", "amqps", "pyamqp"} or not parts.hostname or parts.port == 0:
        raise ValueError
    return text


def _service_url(text: str) -> str:
    """http://host:port"""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError
    return text


def _management_url(text: str) -> str:
    """https://user:password@host:15671"""
    return _service_url(text).rstrip("/")


def _api_key(text: str) -> str:
    """xhk_…"""
    if not text.startswith("xhk_") or not text.isascii():
        raise ValueError
    return text


def _page_url(text: str) -> str:
    """https://host/path"""
    if not urlsplit(_service_url(text)).path.strip("/"):
        raise ValueError
    return text


def _word(text: str) -> str:
    """不含空格的文字 / text without spaces"""
    if any(character.isspace() for character in text):
        raise ValueError
    return text


def _command(text: str) -> str:
    """/绝对路径/命令 参数 / absolute path of a program, with its arguments"""
    if not shlex.split(text)[0].startswith("/"):  # ValueError for a quote that is not closed
        raise ValueError
    return text


def _zone(text: str) -> str:
    """Asia/Shanghai"""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError from error
    return text


def _path(text: str) -> Path:
    """文件路径 / a path"""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # ~nobody
        raise ValueError from error


def _host(text: str) -> str:
    """127.0.0.1"""
    if not text or " " in text:
        raise ValueError
    return text


def _setting(
    variable: str, default: Any, parse: Callable[[str], Any], zh: str, en: str, *, secret: bool = False
) -> Any:
    return field(
        default=default,
        metadata={"variable": variable, "parse": parse, "zh": zh, "en": en, "secret": secret},
    )


@dataclass(frozen=True)
class Settings:
    """Everything a process can be told from outside."""

    amqp_uri: str | None = _setting(
        "AMQP_URI", None, _amqp_uri,
        "RabbitMQ 地址；不设则使用进程内消息", "RabbitMQ; without it the in-process broker is used", secret=True,
    )  # fmt: skip
    rabbitmq_api: str | None = _setting(
        "XINHUO_RABBITMQ_API", None, _management_url,
        "RabbitMQ 管理接口；设了则 topology apply 和 subs create 建立各服务、各部门的用户；不写账号则用 AMQP_URI 的",
        "RabbitMQ's management API; with it topology apply and subs create make a user for each service and "
        "department; without an account in it, that of AMQP_URI is used",
        secret=True,
    )  # fmt: skip
    database_url: str | None = _setting(
        "DATABASE_URL", None, _database_url,
        "PostgreSQL（15 以上）；每个服务用自己的 schema；<服务名大写>_DATABASE_URL 优先；不设则用内置数据库",
        "PostgreSQL 15 or later, one schema a service; <SERVICE>_DATABASE_URL comes first; without it the embedded one",
        secret=True,
    )  # fmt: skip
    adapter: str = _setting(
        "XINHUO_ADAPTER", "nameko", _one_of(*ADAPTERS),
        "服务进程的运行方式（有 RabbitMQ 时）：nameko，或不需要 nameko 与 eventlet 的 threads",
        "what runs the processes of services on RabbitMQ: nameko, or threads, which needs neither nameko nor eventlet",
    )  # fmt: skip
    environment: str = _setting(
        "XINHUO_ENVIRONMENT", "development", _one_of("development", "production"),
        "production 时不装入示例数据，不建试用账号",
        "in production no sample data is loaded and no demo account made",
    )  # fmt: skip
    data: Path = _setting(
        "XINHUO_DATA", Path("xinhuo-data"), _path,
        "数据目录（内置数据库、密钥）", "data folder (embedded database, keys)",
    )  # fmt: skip
    key_file: Path | None = _setting(
        "XINHUO_KEY_FILE", None, _path,
        "主密钥文件；不设则用数据目录里的 master.key", "master key file; without it master.key in the data folder",
    )  # fmt: skip
    key_command: str | None = _setting(
        "XINHUO_KEY_COMMAND", None, _command,
        "输出主密钥文件内容的命令（如保管库的客户端），优先于 XINHUO_KEY_FILE；不写入日志",
        "a command that prints the master key file, as a vault's client does; before XINHUO_KEY_FILE; never logged",
        secret=True,
    )  # fmt: skip
    host: str = _setting("XINHUO_HOST", "127.0.0.1", _host, "监听地址", "address to listen on")
    port_base: int = _setting(
        "XINHUO_PORT_BASE", 8000, _number(1, 65000),
        "端口起点：notices +1，volunteers +2，awards +3，notify +4，portal +5",
        "first port: notices +1, volunteers +2, awards +3, notify +4, portal +5",
    )  # fmt: skip
    time_zone: str = _setting("XINHUO_TIME_ZONE", "Asia/Shanghai", _zone, "办公时区", "the office's time zone")
    log_level: str = _setting(
        "XINHUO_LOG_LEVEL", "info", _one_of("debug", "info", "warning", "error"), "日志级别", "log level"
    )
    db_pool: int = _setting(
        "XINHUO_DB_POOL",
        9,
        _number(2, 200),
        "每个进程的数据库连接上限",
        "database connections a process may use",
    )
    http_workers: int = _setting(
        "XINHUO_HTTP_WORKERS", 64, _number(1, 1000), "同时处理的请求数", "requests handled at once"
    )
    body_limit: int = _setting(
        "XINHUO_BODY_LIMIT", 1024 * 1024, _number(1024, 1 << 30),
        "请求正文上限（字节）；导入另有上限", "largest request body in bytes; imports have their own",
    )  # fmt: skip
    rate_of_callers: int = _setting(
        "XINHUO_RATE_OF_CALLERS", 2000, _number(0, 1_000_000),
        "每个账号或密钥每秒最多请求数（每个进程），可一次用掉 10 秒的量；0 为不限",
        "requests a second that one account or key may send to a process, ten seconds' worth at once; 0: no limit",
    )  # fmt: skip
    rate_of_strangers: int = _setting(
        "XINHUO_RATE_OF_STRANGERS", 10, _number(0, 1_000_000),
        "每个网络地址未登录的请求（登录、换取令牌、无效令牌）每秒最多数；0 为不限",
        "requests a second of one address without a good token (signing in, wrong tokens); 0: no limit",
    )  # fmt: skip
    proxies: int = _setting(
        "XINHUO_PROXIES", 0, _number(0, 10),
        "前面有几层自己的代理；据此从 X-Forwarded-For 取客户端地址",
        "how many proxies of our own stand in front; by it the client's address is read from X-Forwarded-For",
    )  # fmt: skip
    request_seconds: int = _setting(
        "XINHUO_REQUEST_SECONDS", 30, _number(1, 600),
        "读取一个请求的时间上限（秒）", "seconds a client may take to send a request",
    )  # fmt: skip
    prefetch_max: int = _setting(
        "XINHUO_PREFETCH_MAX", 500, _number(1, 5000), "预取消息的上限", "upper end of the prefetch ramp"
    )
    batch_max: int = _setting(
        "XINHUO_BATCH_MAX", 1000, _number(1, 5000), "一批事件的上限", "most events in one handling batch"
    )
    batch_window_ms: int = _setting(
        "XINHUO_BATCH_WINDOW_MS", 1, _number(0, 1000),
        "凑一批事件最多等多久（毫秒）", "how long a batch may wait to fill, in milliseconds",
    )  # fmt: skip
    confirm_seconds: int = _setting(
        "XINHUO_CONFIRM_SECONDS", 5, _number(1, 60),
        "等待消息确认的时间上限（秒）", "how long to wait for the broker's confirms, in seconds",
    )  # fmt: skip
    drain_seconds: int = _setting(
        "XINHUO_DRAIN_SECONDS", 30, _number(1, 600),
        "停止时处理完在途工作的时限（秒）", "how long a stop waits for work in flight, in seconds",
    )  # fmt: skip
    leave_seconds: int = _setting(
        "XINHUO_LEAVE_SECONDS", 0, _number(0, 60),
        "收到 SIGTERM 后先报未就绪、仍接受请求多少秒，好让前面的代理不再送来",
        "for so many seconds after SIGTERM requests are still taken while /readyz is 503, so that proxies send no more",
    )  # fmt: skip
    service_key: str | None = _setting(
        "XINHUO_SERVICE_KEY", None, _api_key,
        "本服务访问其他服务所用的接口密钥（角色 service），由 xinhuo keys create 生成",
        "the API key (role service) with which this service asks others; made by xinhuo keys create",
        secret=True,
    )  # fmt: skip
    otlp_endpoint: str | None = _setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT", None, _service_url,
        "OpenTelemetry 收集器的 OTLP/HTTP 地址；需安装 otel 附加包；不设则不记录链路追踪",
        "OTLP/HTTP address of an OpenTelemetry collector; needs the extra otel; without it no traces are recorded",
    )  # fmt: skip
    keep_events_months: int = _setting(
        "XINHUO_KEEP_EVENTS_MONTHS", 0, _number(0, 1200),
        "保留最近多少个整月的事件，更早的按月删除，此后不能再重放；0 为全部保留",
        "how many whole months of events are kept; older ones are dropped by the month and cannot be replayed; 0: all",
    )  # fmt: skip
    oidc_issuer: str | None = _setting(
        "XINHUO_OIDC_ISSUER", None, _service_url,
        "统一身份服务（OpenID Connect）的地址；四项 XINHUO_OIDC_* 要么全设，要么全不设",
        "issuer of the office's directory (OpenID Connect); set all four of XINHUO_OIDC_* or none",
    )  # fmt: skip
    oidc_client_id: str | None = _setting(
        "XINHUO_OIDC_CLIENT_ID", None, _word, "本系统在统一身份服务的客户端 ID", "what the directory calls this system"
    )
    oidc_client_secret: str | None = _setting(
        "XINHUO_OIDC_CLIENT_SECRET", None, _word,
        "本系统在统一身份服务的客户端密钥", "the secret that the directory gave this system", secret=True,
    )  # fmt: skip
    oidc_redirect_url: str | None = _setting(
        "XINHUO_OIDC_REDIRECT_URL", None, _page_url,
        "统一身份登录后返回的地址，即门户的 /v1/oidc/callback",
        "where the directory sends people back to: /v1/oidc/callback of the portal",
    )  # fmt: skip
    service_database_urls: Mapping[str, str] = field(default_factory=dict)
    service_urls: Mapping[str, str] = field(default_factory=dict)

    def database_url_of(self, service: str) -> str:
        """Return the SQLAlchemy URL of a service's database; raises BadSettings when none is set."""
        url = self.service_database_urls.get(service) or self.database_url
        if url is None:
            raise BadSettings(
                [f"缺少 DATABASE_URL 或 {service.upper()}_DATABASE_URL / DATABASE_URL is needed to run {service}"]
            )
        return url

    def url_of(self, service: str) -> str:
        """Return the address at which the other services reach a service's HTTP interface."""
        host = "127.0.0.1" if self.host in _EVERYWHERE else f"[{self.host}]" if ":" in self.host else self.host
        return self.service_urls.get(service) or f"http://{host}:{self.port_of(service)}"

    def port_of(self, service: str) -> int:
        """Return the HTTP port of a service."""
        return self.port_base + 1 + SERVICES.index(service)


def form_of(parse: Callable[[str], Any]) -> str:
    """Return the form that a setting must have, as messages and the reference page show it."""
    return parse.__doc__ or ""


def load(environment: Mapping[str, str], **overrides: Any) -> Settings:
    """Read the settings of a process.

    A secret setting may stand in a file that ``<VARIABLE>_FILE`` names. Raises BadSettings naming every setting that
    cannot be used and the form it must have; values of secret settings are not repeated.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    environment = _with_secrets_from_files(environment, problems)
    for item in fields(Settings):
        variable = item.metadata.get("variable")
        text = environment.get(variable, "").strip() if variable else ""
        if not text:
            continue
        try:
            values[item.name] = item.metadata["parse"](text)
        except ValueError:
            shown = "…" if item.metadata["secret"] else repr(text)
            problems.append(f"{variable}={shown}：应为 / must be: {form_of(item.metadata['parse'])}")
    missing = [variable for variable in _OIDC if not environment.get(variable, "").strip()]
    if 0 < len(missing) < len(_OIDC):
        given = ", ".join(variable for variable in _OIDC if variable not in missing)
        problems.append(f"{given}：还缺 / must be: set with {', '.join(missing)}")
    databases = _of_each_service(environment, DATABASE_URL_OF, _database_url, problems)
    addresses = _of_each_service(environment, URL_OF, _service_url, problems)
    if problems:
        raise BadSettings(problems)
    values["service_database_urls"] = databases
    values["service_urls"] = addresses
    values.update({name: value for name, value in overrides.items() if value is not None})
    return Settings(**values)


def secret_variables() -> list[str]:
    """Return the names of the secret settings, which may stand in files."""
    of_services = [DATABASE_URL_OF.format(service.upper()) for service in SERVICES]
    return [item.metadata["variable"] for item in fields(Settings) if item.metadata.get("secret")] + of_services


def _with_secrets_from_files(environment: Mapping[str, str], problems: list[str]) -> Mapping[str, str]:
    given = dict(environment)
    for variable in secret_variables():
        file = environment.get(variable + IN_FILE, "").strip()
        if not file:
            continue
        if environment.get(variable, "").strip():
            problems.append(f"{variable}{IN_FILE}：与 {variable} 只能设一个 / must be: set without {variable}")
            continue
        try:
            given[variable] = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            problems.append(f"{variable}{IN_FILE}={file!r}：文件读不出 / must be: a file that can be read ({why})")
            continue
        if not given[variable]:
            problems.append(f"{variable}{IN_FILE}={file!r}：文件是空的 / must be: a file that is not empty")
    return given


def _of_each_service(
    environment: Mapping[str, str], form: str, parse: Callable[[str], str], problems: list[str]
) -> dict[str, str]:
    found = {}
    for service in SERVICES:
        variable = form.format(service.upper())
        if text := environment.get(variable, "").strip():
            try:
                found[service] = parse(text)
            except ValueError:
                problems.append(f"{variable}=…：应为 / must be: {form_of(parse)}")
    return found

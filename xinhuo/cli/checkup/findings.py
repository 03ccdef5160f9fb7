"""What the doctor can find, by stable code: errors, warnings, and what could not be seen."""

from dataclasses import asdict, dataclass
from typing import Any

ERROR, WARNING, UNSEEN = "error", "warning", "unseen"

#: Every code with its level and what it means, in Chinese and in English. A code never changes its meaning.
CODES: dict[str, tuple[str, str, str]] = {
    # This machine
    "process.wait_function": (ERROR, "psycopg 会阻塞所有协程", "psycopg would block every greenlet"),
    "library.version": (ERROR, "程序库或 Python 版本不符", "a library or Python is of another version than required"),
    "key.missing": (ERROR, "没有主密钥", "there is no master key"),
    "key.unusable": (ERROR, "主密钥不能使用", "the master key cannot be used"),
    "key.wrong": (ERROR, "主密钥不是当初加密数据的那一个", "data were encrypted with another master key"),
    "key.open_to_others": (ERROR, "其他用户可读取主密钥", "other users can read the master key"),
    "disk.full": (ERROR, "数据目录所在磁盘将满", "the disk of the data folder is almost full"),
    "disk.low": (WARNING, "数据目录所在磁盘空间不多", "the disk of the data folder has little room"),
    # The databases
    "database.embedded": (UNSEEN, "使用内置数据库，未检查", "the embedded database is used; it was not looked at"),
    "database.away": (ERROR, "数据库连接不上", "the database cannot be reached"),
    "database.refused": (ERROR, "数据库拒绝了账号、设置或操作", "the database refused the account or what was asked"),
    "database.too_old": (ERROR, "PostgreSQL 版本低于 15", "PostgreSQL is older than 15"),
    "database.btree_gist_missing": (ERROR, "缺少扩展 btree_gist", "the extension btree_gist is missing"),
    "database.role_missing": (ERROR, "缺少服务的数据库角色", "the service's role of the database is missing"),
    "database.role_too_wide": (
        ERROR, "服务的数据库角色权限过大，行级隔离不起作用", "the service's role may do too much: no policy binds it",
    ),
    "database.runs_as_owner": (
        WARNING, "服务用表的所有者账号连接数据库", "a service connects as the owner of the tables",
    ),
    "database.not_durable": (ERROR, "断电会丢失或损坏数据", "a power cut would lose or damage data"),
    "database.pools_exceed": (
        ERROR, "各进程的连接池之和超过数据库上限", "the pools of the processes add up to more than the database allows",
    ),
    "database.connections_high": (WARNING, "数据库连接已用去八成", "most of the connections are in use"),
    "database.clock_far": (ERROR, "本机时钟与数据库差 60 秒以上", "this machine's clock is 60 s off the database's"),
    "database.clock_off": (WARNING, "本机时钟与数据库差 1 秒以上", "this machine's clock is 1 s off the database's"),
    "database.time_zone": (WARNING, "数据库时区不常见", "the time zone of the database is an unusual one"),
    "database.migration_pending": (ERROR, "数据库结构待升级", "a schema waits for its upgrade"),
    "database.migration_newer": (
        WARNING, "数据库结构比程序新，仍可使用", "a schema is newer than this program, which works with it",
    ),
    "database.migration_unknown": (ERROR, "数据库结构比程序新", "a schema is newer than this program"),
    "outbox.stalled": (ERROR, "事件十分钟以上未发出", "events have not been sent for over ten minutes"),
    "outbox.slow": (WARNING, "事件一分钟以上未发出", "events have not been sent for over a minute"),
    "accounts.no_officer": (
        WARNING, "没有在用的个人信息保护负责人账号", "there is no data-protection officer with an account in use",
    ),
    "dead_letters.waiting": (WARNING, "有死信等待处理", "dead letters wait for a decision"),
    "reconcile.differs": (ERROR, "上次对账有差异", "the last reconciliation found differences"),
    # The broker
    "broker.in_process": (UNSEEN, "使用进程内消息，无可检查", "the in-process broker is used: nothing to look at"),
    "broker.guest_user": (ERROR, "使用 guest 账号", "the user is guest"),
    "broker.default_password": (ERROR, "使用默认或空密码", "the password is a default one, or none"),
    "broker.no_tls": (WARNING, "到其他机器的连接未加密", "the connection to another machine is not encrypted"),
    "broker.default_vhost": (WARNING, "使用默认虚拟主机", "the default virtual host is used"),
    "broker.away": (ERROR, "RabbitMQ 连接不上", "RabbitMQ cannot be reached"),
    "broker.refused": (ERROR, "RabbitMQ 拒绝登录或操作", "RabbitMQ refused the login, or what was asked"),
    "broker.too_old": (ERROR, "RabbitMQ 版本低于 3.10", "RabbitMQ is older than 3.10"),
    "broker.old": (WARNING, "RabbitMQ 版本已无人维护", "this version of RabbitMQ is not maintained any more"),
    "broker.flag_unseen": (
        UNSEEN, "看不到特性开关 stream_queue", "whether the feature flag stream_queue is on cannot be seen",
    ),
    "broker.alarm": (ERROR, "RabbitMQ 因内存或磁盘告警而停止接收", "RabbitMQ takes nothing: a memory or disk alarm"),
    "broker.unseen": (UNSEEN, "看不到绑定、策略和其他队列", "bindings, policies, other queues are not visible by AMQP"),
    "broker.users_unseen": (UNSEEN, "看不到 RabbitMQ 的用户及其权限", "RabbitMQ's users and their rights are not seen"),
    "broker.api_away": (ERROR, "RabbitMQ 管理接口连接不上", "RabbitMQ's management API cannot be reached"),
    "broker.api_refused": (ERROR, "RabbitMQ 管理接口拒绝了账号", "RabbitMQ's management API refused the account"),
    "broker.user_missing": (ERROR, "服务没有自己的 RabbitMQ 用户", "a service has no RabbitMQ user of its own"),
    "broker.user_too_wide": (ERROR, "RabbitMQ 用户权限过大", "a RabbitMQ user may do more than it needs"),
    "broker.user_too_narrow": (ERROR, "RabbitMQ 用户权限不足", "a RabbitMQ user may do less than it needs"),
    "broker.user_unknown": (WARNING, "有不是薪火的用户可用此虚拟主机", "a user that is none of ours has rights here"),
    "broker.departments_unbounded": (ERROR, "部门的队列没有限量", "the queues of departments are not bounded"),
    "broker.dead_letters_dropped": (
        WARNING,
        "RabbitMQ 4 会丢弃多次投递未成的死信",
        "RabbitMQ 4 drops dead letters that were often delivered in vain",
    ),
    "topology.missing": (ERROR, "缺少队列或交换机", "a queue or exchange is missing"),
    "topology.classic_queue": (ERROR, "应为仲裁队列，现为经典队列", "a classic queue is where a quorum queue must be"),
    "topology.no_dead_letter_exchange": (ERROR, "队列没有死信交换机", "a queue has no dead-letter exchange"),
    "topology.differs": (ERROR, "队列或交换机的参数不符", "a queue or exchange has other arguments"),
    "topology.retired": (WARNING, "有不再需要的队列", "there are queues that are not wanted any more"),
    "topology.dead_queue_unread": (WARNING, "死信队列无人读取", "nobody reads a dead-letter queue"),
    "topology.queue_unread": (ERROR, "队列无人读取", "nobody reads a queue"),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that was found: where, what exactly, and what to do about it in one line."""

    code: str
    where: str
    detail: str
    remedy: str

    @property
    def level(self) -> str:
        """error, warning or unseen."""
        return CODES[self.code][0]

    def as_json(self) -> dict[str, Any]:
        """Return the finding as plain data, with its text in both languages."""
        level, zh, en = CODES[self.code]
        return {**asdict(self), "level": level, "zh": zh, "en": en}

"""``python -m xinhuo.cli.first_start``: passwords and users of an installation whose servers are its own.

For deploy/compose.yaml, where nobody is there to think of passwords. ``passwords`` runs before the servers first start;
``hand-out`` after ``xinhuo db upgrade`` and ``xinhuo topology apply``. Each is a file in a folder (there: a volume) of
whom it is for, and both keep what is there: they may run at every start.

FOLDER/database/password        of the owner, for PostgreSQL
FOLDER/broker/10-xinhuo.conf    the deploy user, for RabbitMQ
FOLDER/deploy/                  database-url, amqp-uri, rabbitmq-api: for set-up only
FOLDER/master-key/              empty here: `xinhuo key create`
FOLDER/SERVICE/                 database-url, amqp-uri, service-key
"""

import argparse
import os
import secrets
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from xinhuo.chassis.config import SERVICES
from xinhuo.chassis.private_file import written

_PASSWORD_BYTES = 32
#: A key of a service is good for a year.
_RENEW_SECONDS = 300 * 24 * 3600


@dataclass(frozen=True)
class _Account:
    user: str
    password: str
    place: str

    @classmethod
    def of(cls, text: str) -> "_Account":
        """Return an account with a new password at ``USER@HOST:PORT/NAME``."""
        user, _, place = text.partition("@")
        return cls(user, _password(), place)

    def url(self, scheme: str) -> str:
        return f"{scheme}://{self.user}:{self.password}@{self.place}"


def passwords(folder: Path, *, database: str, broker: str, management: str, servers: int, services: int) -> bool:
    """Write the passwords, unless they were before; tell whether they are new.

    Run by root, who may give files away: to the users (uids) of the servers' images and of ours. Nothing but the last
    folders belongs to others before everything is written, so that one that was ended in between can be repeated.
    """
    new = not (folder / "deploy" / "rabbitmq-api").exists()
    if new:
        owner, deploy = _Account.of(database), _Account.of(broker)
        conf = {
            "default_user": deploy.user, "default_pass": deploy.password,
            "default_vhost": deploy.place.partition("/")[2], "default_user_tags.administrator": "true",
        }  # fmt: skip
        _keep(folder / "database" / "password", owner.password, servers)
        _keep(folder / "broker" / "10-xinhuo.conf", "\n".join(f"{k} = {v}" for k, v in conf.items()), servers)
        for service in SERVICES:
            login = replace(owner, user=f"{owner.user}_{service}_login", password=_password())
            _keep(folder / service / "database-url", login.url("postgresql"), services)
        _keep(folder / "deploy" / "database-url", owner.url("postgresql"), services)
        _keep(folder / "deploy" / "amqp-uri", deploy.url("amqp"), services)
        _keep(folder / "deploy" / "rabbitmq-api", replace(deploy, place=management).url("http"), services)
    for name in ("deploy", "master-key", *SERVICES):
        (folder / name).mkdir(exist_ok=True)
        os.chown(folder / name, services, services)
    return new


def hand_out(folder: Path) -> list[str]:
    """Give each service its login, broker address and key; return the services whose key is new.

    With the deploy user's settings in the environment.
    """
    from xinhuo.chassis import config

    from . import installing
    from .broker_users import folder_of

    settings = config.load(os.environ)
    for service in SERVICES:
        address = (folder_of(settings) / f"{service}.env").read_text(encoding="ascii")
        _keep(folder / service / "amqp-uri", address.strip().removeprefix("AMQP_URI="))
        _let_in(settings.database_url_of(service), service, (folder / service / "database-url").read_text("ascii"))
    files = {service: folder / service / "service-key" for service in installing.ASKS}
    if (
        all(file.exists() and time.time() - file.stat().st_mtime < _RENEW_SECONDS for file in files.values())
        # Of a database that was brought back the portal may know others, or none.
        and installing.keys_work(settings, [file.read_text("ascii").strip() for file in files.values()])
    ):
        return []
    for service, key in installing.service_keys(settings).items():
        _keep(files[service], key)
    return list(files)


def _let_in(owners_url: str, service: str, services_url: str) -> None:
    """Make the login of a service, which holds the service's role and nothing else, with the password of its URL.

    The server is sent what it keeps of the password, not the password: statements stand in logs.
    """
    import psycopg
    from psycopg import sql

    from xinhuo.chassis.roles import role_of

    parts = urlsplit(services_url.strip())
    user, password = parts.username or "", parts.password or ""
    login = sql.Identifier(user)
    with psycopg.connect(owners_url.replace("postgresql+psycopg", "postgresql", 1)) as connection:
        kept = connection.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256").decode()
        found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [user]).rowcount
        verb = sql.SQL("ALTER" if found else "CREATE")
        rights = sql.SQL("LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD")
        connection.execute(sql.SQL("{} ROLE {} {} {}").format(verb, login, rights, sql.Literal(kept)))
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role_of(service)), login))


def _password() -> str:
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def _keep(file: Path, text: str, owner: int | None = None) -> None:
    file.parent.mkdir(exist_ok=True)
    with written(file, text + "\n", owner=None if owner is None else (owner, owner)) as temporary:
        temporary.replace(file)


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="xinhuo.cli.first_start", description=__doc__)
    parser.add_argument("step", choices=["passwords", "hand-out"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--database", metavar="USER@HOST:PORT/NAME")
    parser.add_argument("--broker", metavar="USER@HOST:PORT/VHOST")
    parser.add_argument("--management", metavar="HOST:PORT")
    parser.add_argument("--servers", type=int, default=999, help="uid of PostgreSQL and RabbitMQ in their images")
    parser.add_argument("--services", type=int, default=10001, help="uid of Xinhuo in its image")
    options = parser.parse_args(arguments)
    if options.step == "passwords":
        if not (options.database and options.broker and options.management):
            parser.error("--database, --broker and --management are needed")
        made = passwords(
            options.folder, database=options.database, broker=options.broker, management=options.management,
            servers=options.servers, services=options.services,
        )  # fmt: skip
        print("已生成各服务器和服务的密码 / passwords made" if made else "沿用已有的密码 / passwords as before")
        return 0
    from .main import explained

    with explained():
        renewed = hand_out(options.folder)
    print("各服务已有自己的数据库登录和 RabbitMQ 用户 / each service has its database login and broker user")
    if renewed:
        names = ", ".join(renewed)
        print(f"新的服务密钥，已在运行的请重启 / new service keys; restart what runs already: {names}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

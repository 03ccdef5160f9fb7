"""RabbitMQ's management API, as far as users, their rights and the limits of departments need it.

Passwords go there as salted hashes only; neither they nor the account with which it is asked are ever in an error.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import requests
from requests.auth import HTTPBasicAuth

from ..broker_rights import Policy
from ..wire import BrokerUnavailable, ManagementRefused

_SECONDS = 15
_HASHINGS = {"rabbit_password_hashing_sha256": "sha256", "rabbit_password_hashing_sha512": "sha512"}
_HASHING = "rabbit_password_hashing_sha256"
_SALT_BYTES = 4
_KIND = {True: "operator-policies", False: "policies"}


def vhost_of(amqp_uri: str) -> str:
    """Return the virtual host that an address names."""
    return unquote(urlsplit(amqp_uri).path[1:]) or "/"


class Management:
    """The users of one virtual host. Its methods raise ManagementRefused and BrokerUnavailable."""

    def __init__(self, url: str, amqp_uri: str) -> None:
        """Ask at ``url``, by the account in it, or else by that of the broker's address."""
        parts, broker = urlsplit(url), urlsplit(amqp_uri)
        self.where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self.vhost = vhost_of(amqp_uri)
        account = parts if parts.username else broker
        self.asking = {unquote(one.username or "guest") for one in (account, broker)}
        self._url = f"{self.where}{parts.path.rstrip('/')}/api"
        self._session = requests.Session()
        user, password = (unquote(one or "guest").encode() for one in (account.username, account.password))
        self._session.auth = HTTPBasicAuth(user, password)

    def users(self) -> dict[str, dict[str, Any]]:
        """Return every user by name, with hash of the password, tags and limits."""
        return {user["name"]: user for user in self._get("users")}

    def permissions(self) -> list[dict[str, str]]:
        """Return the permissions of all users, in every virtual host."""
        return list(self._get("permissions"))

    def topic_permissions(self) -> list[dict[str, str]]:
        """Return the permissions on routing keys of all users, in every virtual host."""
        return list(self._get("topic-permissions"))

    def put_user(self, name: str, password_hash: str, hashing: str = _HASHING) -> None:
        """Make a user, or give one this password; it has no tags then."""
        body = {"password_hash": password_hash, "hashing_algorithm": hashing, "tags": ""}
        self._send("PUT", f"users/{_quoted(name)}", body)

    def put_permissions(self, name: str, patterns: Mapping[str, str]) -> None:
        """Let a user do this in the virtual host and no more."""
        self._send("PUT", f"permissions/{self._of(name)}", dict(patterns))

    def delete_permissions(self, name: str, vhost: str) -> None:
        """Let a user do nothing in a virtual host."""
        self._send("DELETE", f"permissions/{_quoted(vhost)}/{_quoted(name)}")

    def replace_topic_permissions(self, name: str, keys: Mapping[str, str]) -> None:
        """Let a user write to the exchanges with these routing keys only, and to others with any."""
        self._send("DELETE", f"topic-permissions/{self._of(name)}", missing_is_well=True)
        for exchange, pattern in keys.items():
            body = {"exchange": exchange, "write": pattern, "read": "^$"}
            self._send("PUT", f"topic-permissions/{self._of(name)}", body)

    def put_limits(self, name: str, limits: Mapping[str, int]) -> None:
        """Bound the connections and channels of a user."""
        for limit, value in limits.items():
            self._send("PUT", f"user-limits/{_quoted(name)}/{limit}", {"value": value})

    def policy(self, wanted: Policy) -> dict[str, Any] | None:
        """Return the policy of this name and kind, if there is one."""
        found = self._get(f"{_KIND[wanted.operator]}/{_quoted(self.vhost)}")
        return next((one for one in found if one["name"] == wanted.name), None)

    def put_policy(self, policy: Policy) -> None:
        """Hold every queue whose name fits the pattern to the policy."""
        body = {"pattern": policy.pattern, "apply-to": "queues", "definition": dict(policy.definition), "priority": 0}
        self._send("PUT", f"{_KIND[policy.operator]}/{self._of(policy.name)}", body)

    def _of(self, name: str) -> str:
        return f"{_quoted(self.vhost)}/{_quoted(name)}"

    def _get(self, path: str) -> Any:
        return self._send("GET", path).json()

    def _send(self, method: str, path: str, body: Any = None, *, missing_is_well: bool = False) -> requests.Response:
        try:
            answer = self._session.request(
                method, f"{self._url}/{path}", json=body, timeout=_SECONDS, allow_redirects=False
            )
        except requests.RequestException as error:
            raise BrokerUnavailable(f"{self.where}: {type(error).__name__}") from None
        if answer.status_code in (401, 403):
            raise ManagementRefused(
                f"RabbitMQ 管理接口 {self.where} 拒绝了账号：须有 administrator 标签 / "
                "the management API refused the account: it needs the tag administrator"
            )
        if answer.status_code >= 500:
            raise BrokerUnavailable(f"{self.where}: {answer.status_code}")
        if answer.status_code >= 300 and not (missing_is_well and answer.status_code == 404):
            raise ManagementRefused(
                f"RabbitMQ 管理接口 {self.where} 对 {method} {path} 答复 {answer.status_code}，请检查 "
                f"XINHUO_RABBITMQ_API / it answered {answer.status_code}; check XINHUO_RABBITMQ_API"
            )
        if method == "GET" and "json" not in answer.headers.get("Content-Type", ""):
            raise ManagementRefused(
                f"{self.where} 不是 RabbitMQ 管理接口，请检查 XINHUO_RABBITMQ_API / "
                "this is not RabbitMQ's management API; check XINHUO_RABBITMQ_API"
            )
        return answer


def hash_of(password: str) -> str:
    """Return the salted hash of a password, as RabbitMQ keeps it."""
    return _salted(password, secrets.token_bytes(_SALT_BYTES), "sha256")


def is_password(password: str, user: Mapping[str, Any]) -> bool:
    """Tell whether a user has this password; of a hashing that is not known, that he has not."""
    algorithm = _HASHINGS.get(str(user.get("hashing_algorithm")))
    kept = str(user.get("password_hash") or "")
    if algorithm is None or not kept:
        return False
    salt = base64.b64decode(kept)[:_SALT_BYTES]
    return secrets.compare_digest(_salted(password, salt, algorithm), kept)


def _salted(password: str, salt: bytes, algorithm: str) -> str:
    return base64.b64encode(salt + hashlib.new(algorithm, salt + password.encode()).digest()).decode()


def _quoted(name: str) -> str:
    return quote(name, safe="")

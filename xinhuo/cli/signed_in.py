"""As whom a command asks: by an API key of the environment, or by the session of ``xinhuo login``.

The session stands in a file that only its owner may read. Commands that run at the same time take turns at it, as a
refresh token is good once.
"""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .client import Api, ApiProblem

if TYPE_CHECKING:
    from xinhuo.chassis.identity.bearer import Bearer

DEFAULT_PORTAL = "http://127.0.0.1:8005"
_PORTAL, _KEY, _FILE = "XINHUO_PORTAL_URL", "XINHUO_API_KEY", "XINHUO_SESSION_FILE"
#: A token is renewed when so many seconds of it are left.
_SPARE = 60.0


def session_path(environment: Mapping[str, str]) -> Path:
    """Return where the session is kept: XINHUO_SESSION_FILE, or under the user's configuration."""
    if given := environment.get(_FILE):
        return Path(given)
    base = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "xinhuo" / "session.json"


def bearer_of(environment: Mapping[str, str]) -> "Bearer | None":
    """Return who shows tokens for commands; None when nobody signed in and no key is set."""
    if key := environment.get(_KEY):
        from xinhuo.chassis.identity.bearer import KeyBearer

        return KeyBearer(environment.get(_PORTAL) or DEFAULT_PORTAL, key)
    path = session_path(environment)
    return SessionBearer(path) if path.exists() else None


class SessionBearer:
    """Shows the tokens of the session in a file, and keeps it alive there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shown = self._refused = ""

    def token(self) -> str:
        """Return a token that is good for a while; raises ApiProblem when the session has ended, or ServiceAway."""
        with _held(self._path):
            kept = read(self._path)
            if kept["access_token"] != self._refused and time.time() < kept["until"] - _SPARE:
                self._shown = kept["access_token"]
                return self._shown
            portal = Api({"portal": kept["portal"]}, patience=3.0)
            answer = portal.post(
                "portal", "/v1/sessions:refresh", {"refresh_token": kept["refresh_token"]}, repeatable=True
            )
            _write(self._path, kept["portal"], answer)
            self._shown = str(answer["access_token"])
            return self._shown

    def renew(self) -> None:
        """Do not show the present token again: it was refused."""
        self._refused = self._shown


def read(path: Path) -> dict[str, Any]:
    """Return the kept session; raises ApiProblem for a file that is none."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        texts = {name: str(kept[name]) for name in ("portal", "access_token", "refresh_token")}
        return {**texts, "until": float(kept["until"]), "account": kept["account"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise ApiProblem(
            401,
            {
                "code": "session.unreadable",
                "detail": f"登录信息 {path} 无法使用，请重新运行 xinhuo login。",
                "detail_en": f"The session in {path} cannot be used: run xinhuo login again.",
            },
        ) from None


def write(path: Path, portal: str, answer: Mapping[str, Any]) -> None:
    """Keep a new session, readable by its owner only; the file appears whole or not at all."""
    with _held(path):
        _write(path, portal, answer)


def _write(path: Path, portal: str, answer: Mapping[str, Any]) -> None:
    kept = {
        "portal": portal,
        "access_token": answer["access_token"],
        "refresh_token": answer["refresh_token"],
        "until": time.time() + answer["expires_in"],
        "account": answer["account"],
    }
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(kept, file)
    temporary.replace(path)


def forget(path: Path) -> dict[str, Any] | None:
    """Remove the kept session and return it; None when there is none."""
    if not path.exists():
        return None
    with _held(path):
        try:
            return read(path)
        except ApiProblem:
            return None
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

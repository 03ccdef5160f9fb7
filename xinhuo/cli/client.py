"""A small HTTP client of the services, for commands that a person or a script runs."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .saving import partial_of

if TYPE_CHECKING:
    import requests

    from xinhuo.chassis.identity.bearer import Bearer

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_LONGEST_PAUSE = 5.0


class ServiceAway(Exception):
    """A service did not answer in the time that the caller was ready to wait."""

    def __init__(self, service: str, url: str, why: str) -> None:
        """Name the service, its address and what happened last."""
        super().__init__(
            f"服务 {service}（{url}）不可用：{why}。请确认它已启动，或用 --url 指定地址。\n"
            f"The service {service} at {url} cannot be reached ({why}); start it, or name it by --url."
        )
        self.service = service


class ApiProblem(Exception):
    """A service refused a request; holds its problem+json."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        """Read the answer; what a plain answer lacks is empty."""
        self.status = status
        self.code: str = body.get("code") or f"http.{status}"
        self.detail: str = body.get("detail") or f"服务返回 {status}。"
        self.detail_en: str = body.get("detail_en") or f"The service answered {status}."
        self.errors: list[dict[str, Any]] = list(body.get("errors") or ())
        self.body = dict(body)
        super().__init__(f"{self.code}: {self.detail}")

    def lines(self) -> list[str]:
        """Return what a person should read: the problem in both languages, then each field's own."""
        fields = [f"  {item.get('pointer')}：{item.get('detail')}" for item in self.errors]
        return [self.detail, self.detail_en, *(fields if len(fields) > 1 else [])]


class Api:
    """Talks to services by name; may be shared by threads, each gets connections of its own.

    ``bearer`` shows the tokens. ``patience`` is for how many seconds a service that is away (connection refused, 503)
    is asked again.
    """

    def __init__(
        self,
        base_urls: Mapping[str, str],
        *,
        bearer: "Bearer | None" = None,
        patience: float = 10.0,
        timeout: tuple[float, float] = (5.0, 120.0),
    ) -> None:
        self.base_urls = {service: url.rstrip("/") for service, url in base_urls.items()}
        self.bearer = bearer
        self.patience = patience
        self.timeout = timeout
        self._local = threading.local()

    def get(self, service: str, path: str, **query: Any) -> Any:
        """Return the JSON at a path; query parameters that are None are left out."""
        params = {name: value for name, value in query.items() if value is not None}
        return self.request(service, "GET", path, params=params).json()

    def post(
        self, service: str, path: str, body: Any = None, *, key: str | None = None, repeatable: bool = False
    ) -> Any:
        """Post JSON and return the answer's; ``key`` is sent as Idempotency-Key.

        ``repeatable`` says that the service keeps a repeat from having a second effect by itself.
        """
        response = self.request(service, "POST", path, json=body, key=key, repeatable=repeatable)
        return response.json() if response.content else None

    def pages(self, service: str, path: str, **query: Any) -> list[Any]:
        """Return the items of all pages of a list."""
        items: list[Any] = []
        after = None
        while True:
            page = self.get(service, path, **query, after=after)
            items += page["items"]
            after = page["after"]
            if after is None:
                return items

    def request(
        self,
        service: str,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        key: str | None = None,
        repeatable: bool = False,
    ) -> "requests.Response":
        """Send a request and return the answer when it is a success.

        Waits and asks again while the service is away, says 503, or still works on the same Idempotency-Key;
        after a connection that broke half-way only when a repeat is harmless. Raises ApiProblem or ServiceAway.
        """
        import requests

        url = self.base_urls[service]
        safe = repeatable or key is not None or method == "GET"
        sent = {**(headers or {}), **({"Idempotency-Key": key} if key else {})}
        renewed = False
        until = time.monotonic() + self.patience
        pause = 0.1
        while True:
            if self.bearer is not None:
                sent["Authorization"] = f"Bearer {self.bearer.token()}"
            try:
                response = self._session().request(
                    method,
                    url + path,
                    json=json,
                    data=data,
                    headers=sent,
                    params=params,
                    timeout=self.timeout,
                )
            except (requests.ConnectionError, requests.Timeout) as error:
                if not (safe or _never_sent(error)) or time.monotonic() + pause > until:
                    raise ServiceAway(service, url, _why(error)) from None
            else:
                if response.status_code < 400:
                    return response
                problem = _problem(response)
                if problem.status == 401 and self.bearer is not None and not renewed:
                    self.bearer.renew()
                    renewed = True
                    continue
                if not _comes_later(problem) or time.monotonic() + pause > until:
                    if problem.status == 503:
                        raise ServiceAway(service, url, problem.detail)
                    raise problem
                pause = max(pause, _retry_after(response))
            time.sleep(min(pause, max(until - time.monotonic(), 0.0)))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def download(self, service: str, path: str, to: Path) -> Path:
        """Write what a path answers into a file, whole or not at all, and return the file's path."""
        content = self.request(service, "GET", path).content
        partial = partial_of(to)
        partial.write_bytes(content)
        return partial.replace(to)

    def _session(self) -> "requests.Session":
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            from requests import Session

            session = self._local.session = Session()
            # The services are on this machine or in this office: no proxy of the environment stands between.
            session.trust_env = False
        return session


def _problem(response: "requests.Response") -> ApiProblem:
    try:
        body = response.json()
    except ValueError:
        body = {}
    return ApiProblem(response.status_code, body if isinstance(body, dict) else {})


def _comes_later(problem: ApiProblem) -> bool:
    return problem.status in {429, 503} or problem.code == "idempotency.in_flight"


def _retry_after(response: "requests.Response") -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_PAUSE) if text.isdecimal() else 0.0


def _never_sent(error: Exception) -> bool:
    """Tell whether no byte of the request can have reached the service."""
    from urllib3.exceptions import NewConnectionError

    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, NewConnectionError)


def _why(error: Exception) -> str:
    if _never_sent(error):
        return "连接被拒绝 / connection refused"
    return "没有按时应答或连接中断 / no answer in time, or the connection broke"

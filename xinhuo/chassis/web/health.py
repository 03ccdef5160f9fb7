"""``/healthz`` (the process answers), ``/readyz`` (it can do its work), ``/metrics``."""

from collections.abc import Callable

from werkzeug.wrappers import Request, Response

from .. import metrics
from .app import HttpApp, encode

#: A named condition of readiness: returns None when it holds, or what is wrong, without details of persons.
Check = Callable[[], str | None]


def mount(app: HttpApp, checks: dict[str, Check]) -> None:
    """Serve health and metrics beside a service's routes."""

    def ready(_request: Request) -> Response:
        results = {name: check() for name, check in checks.items()}
        wrong = {name: why for name, why in results.items() if why}
        content = {"ready": not wrong, "checks": {name: why or "ok" for name, why in results.items()}}
        return Response(encode(content), 503 if wrong else 200, content_type="application/json")

    def exposition(request: Request) -> Response:
        content, content_type = metrics.exposition(request.headers.get("Accept", ""))
        return Response(content, content_type=content_type)

    app.mount("/healthz", lambda _request: Response(b'{"ok":true}', content_type="application/json"))
    app.mount("/readyz", ready)
    app.mount("/metrics", exposition)

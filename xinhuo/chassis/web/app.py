"""One service's WSGI application: limits, schemas, one transaction, problem+json."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

import marshmallow as ma
import msgspec
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter, Map, RequestRedirect, Rule
from werkzeug.wrappers import Request, Response

from .. import caller, faultpoints, logs, metrics, row_security, trace
from ..errors import InvalidInput, RuleError
from ..identity.actor import Access, access_of, grant
from ..markers import Http, Submission, marked
from ..service import Runtime, Service
from . import body, guard, idempotency, pages, schema
from . import errors as http_errors
from .coalesce import Coalescer
from .limits import address_of
from .pages import Answer

PROBLEM = "application/problem+json"
#: What may stand in a path for a code.
CODE = "[A-Za-z0-9_-]{1,64}"
#: Does the work of a route, wherever its adapter wants it done.
Invoke = Callable[[str, Callable[[], Any]], Any]
log = logs.get("http")


@dataclass(frozen=True)
class Route:
    """A marked method with its compiled schemas."""

    name: str
    mark: Http
    accepts: ma.Schema | None
    query: ma.Schema | None
    returns: ma.Schema | None
    later: ma.Schema | None

    @property
    def metric(self) -> str:
        """The route's pattern, which is safe as a metric's label."""
        return self.mark.path


class _CodeConverter(BaseConverter):
    regex = CODE


class HttpApp:
    """Answers HTTP for one service; ``invoke(name, work)`` lets an adapter choose where the work runs.

    ``enter`` tells by what a request is answered, or raises. Raises ``guard.Unguarded`` for a service with a route
    that names no right.
    """

    def __init__(
        self,
        service: Service,
        *,
        invoke: Invoke | None = None,
        routes: bool = True,
        enter: Callable[[Runtime, Http, dict[str, Any]], Access] | None = None,
    ) -> None:
        self.service = service
        self._enter = enter or guard.Door()
        self.routes = routes_of(type(service)) if routes else []
        guard.check_rights(service.name, (route.mark for route in self.routes))
        self._invoke = _counted(service.name, invoke or (lambda _name, work: work()))
        self._map = Map(
            [Rule(_rule(route.mark.path), methods=[route.mark.method], endpoint=route) for route in self.routes],
            converters={"code": _CodeConverter},
            strict_slashes=False,
            redirect_defaults=False,
            merge_slashes=False,
        )
        self._addresses = self._map.bind("localhost")  # no address depends on the host that a request names
        #: Those without anything to be read from the path; werkzeug takes longer to find one than to do the rest, and
        #: leaves something to the garbage collector.
        self._fixed: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = {
            (route.mark.method, route.mark.path): (route, {}) for route in self.routes if "{" not in route.mark.path
        }
        self._coalescers = {
            route.name: Coalescer(self._coalesced(route)) for route in self.routes if route.mark.coalesce
        }
        self._turns: dict[str, AbstractContextManager[Any]] = {
            route.name: threading.Semaphore(route.mark.at_once) for route in self.routes if route.mark.at_once
        }

    def mount(self, path: str, respond: Callable[[Request], Response]) -> None:
        """Serve a path, one without variable parts, beside the service's own routes (health, metrics, docs)."""
        self._fixed["GET", path] = (respond, {})
        self._map.add(Rule(path, methods=["GET"], endpoint=respond))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        # Two that hold each other would stay until the garbage collector comes.
        request = Request(environ, populate_request=False)
        started = time.perf_counter()
        with trace.traced(environ.get("HTTP_TRACEPARENT"), trace.SERVER, "HTTP"):
            response, label = self._respond(request)
            if trace.recorded():
                _note(request.method, label, response.status_code)
            always = [("Xinhuo-Trace-Id", trace.trace_id() or ""), *_ALWAYS]
        service = self.service.name
        method = request.method if request.method in _METHODS else "OTHER"
        _requests(service, label, method, response.status_code).inc()
        _seconds(service, label, method).observe(time.perf_counter() - started)
        if method == "HEAD" or response.status_code == 204 or not response.is_sequence or response.location:
            response.headers.extend(_missing(response.headers.to_wsgi_list(), always))
            return response(environ, start_response)
        # An answer of known length without an address in it needs nothing of what werkzeug looks at.
        body = response.get_data()
        headers = response.headers.to_wsgi_list()
        headers += _missing(headers, [*always, ("Content-Length", str(len(body)))])
        start_response(response.status, headers)
        return [body]

    def _respond(self, request: Request) -> tuple[Response, str]:
        label = "unmatched"
        try:
            endpoint, arguments = self._match(request)
            if not isinstance(endpoint, Route):
                return endpoint(request, **arguments), "system"
            label = endpoint.metric
            with caller.at(address_of(request.environ, self.service.runtime.settings.proxies)):
                return self._answer(endpoint, request, arguments), label
        except RuleError as error:
            return problem(error), label
        except Exception as error:  # the boundary: answered as 500 and logged with its trace
            return _unexpected(error), label

    def _match(self, request: Request) -> tuple[Any, Mapping[str, Any]]:
        if found := self._fixed.get((request.method, request.path)):
            return found
        try:
            return self._addresses.match(request.path, request.method)
        except MethodNotAllowed as error:
            allowed = sorted(set(error.valid_methods or ()) - {"HEAD"} | {"OPTIONS"})
            if request.method == "OPTIONS":
                return lambda _request: Response(b"", 204, {"Allow": ", ".join(allowed)}), {}
            raise http_errors.MethodNotAllowed(
                f"此地址只支持 {'、'.join(allowed)}。",
                f"This address takes {', '.join(allowed)} only.",
                extra={"allow": allowed},
            ) from None
        except (NotFound, RequestRedirect, HTTPException):
            raise http_errors.RouteNotFound(
                "没有这个地址，接口说明见 /docs。", "There is nothing at this address; see /docs."
            ) from None

    def _answer(self, route: Route, request: Request, arguments: Mapping[str, Any]) -> Response:
        mark = route.mark
        access = self._enter(self.service.runtime, mark, request.environ)
        inputs: dict[str, Any] = dict(arguments)
        key = request.environ.get("HTTP_IDEMPOTENCY_KEY") if mark.method == "POST" and not mark.secret else None
        if key is not None:
            idempotency.check_key(key)
        if route.query is not None:
            inputs["query"] = self._load_query(route.query, request)
        elif request.environ.get("QUERY_STRING"):
            self._load_query(_NO_QUERY, request)
        if mark.cookie:
            inputs["cookie"] = request.cookies.get(mark.cookie)
        data = b""
        if route.accepts is not None or mark.media_type:
            data = body.read(request, mark.body_limit or self.service.runtime.settings.body_limit)
            body.require_type(request, mark.media_type or "application/json")
            if route.accepts is not None:
                inputs["body"] = self._load_body(route.accepts, data)
            else:
                inputs["body"] = data
        if mark.named:
            inputs["file_name"] = body.file_name(request)
        if mark.method in {"PATCH", "PUT"}:
            inputs["if_match"] = _if_match(request)
        if key is None and mark.coalesce:
            submitted = Submission(access, inputs["body"], trace.current())
            return self._response(route, self._coalescers[route.name].submit(submitted), request)
        with self._turns.get(route.name, _NO_TURNS):
            response: Response = self._invoke(
                route.name, lambda: self._transact(route, request, access, inputs, key, data)
            )
        faultpoints.reach("after_commit_before_answer")
        return response

    def _transact(
        self,
        route: Route,
        request: Request,
        access: Access,
        inputs: dict[str, Any],
        key: str | None,
        data: bytes,
    ) -> Response:
        runtime = self.service.runtime
        with runtime.db.transaction() as session:
            grant(session, access)
            if not route.mark.coalesce:  # what is done for several together looks at each one's reach
                row_security.narrow(session, access)
            if key is None:
                return self._response(route, self._call(route, session, inputs), request)
            what = "\n".join((request.full_path, *filter(None, (inputs.get("file_name"),))))
            hashed = idempotency.request_hash(runtime.keys, request.method, what, data)
            name = idempotency.name_of(access, request.method, route.mark.path)
            if stored := idempotency.begin(session, runtime.keys, key, name, hashed):
                headers = {**stored.headers, "Idempotency-Replayed": "true"}
                return Response(stored.body, stored.status, headers)
            response = self._response(route, self._call(route, session, inputs), request)
            kept = {header: response.headers[header] for header in _KEPT_HEADERS if header in response.headers}
            answer = idempotency.StoredAnswer(response.status_code, response.get_data(), kept)
            idempotency.keep(session, runtime.keys, key, name, hashed, answer)
            return response

    def _call(self, route: Route, session: Any, inputs: dict[str, Any]) -> Any:
        method = getattr(self.service, route.name)
        if not route.mark.coalesce:
            return method(session, **inputs)
        result = method(session, [Submission(access_of(session), inputs["body"], trace.current())])[0]
        if isinstance(result, BaseException):
            raise result
        return result

    def _coalesced(self, route: Route) -> Callable[[list[Any]], list[Any]]:
        method = getattr(self.service, route.name)

        def work(submitted: list[Submission]) -> list[Any]:
            traces = [one.traceparent for one in submitted]
            name = f"{route.mark.method} {route.metric} together"
            with (
                trace.about(traces, trace.INTERNAL, name, lambda: {"xinhuo.requests": len(submitted)}),
                self.service.runtime.db.transaction() as session,
            ):
                results: list[Any] = method(session, submitted)
            faultpoints.reach("after_commit_before_answer")
            return results

        return lambda submitted: self._invoke(route.name, lambda: work(submitted))

    def _response(self, route: Route, value: Any, request: Request) -> Response:
        answer = value if isinstance(value, Answer) else Answer(value)
        status = answer.status or route.mark.status
        if answer.raw is not None:
            return Response(answer.raw, status, answer.headers, content_type=answer.content_type)
        headers = dict(answer.headers)
        content = answer.value
        shape = route.later if status == 202 and route.later else route.returns
        if isinstance(content, pages.Listed):
            dumped: Any = route.returns.dump(content.items, many=True) if route.returns else content.items
            if content.after is not None:
                headers["Link"] = pages.next_link(request.path, request.args.to_dict(flat=False), content.after)
            content = {"items": dumped, "after": content.after, **content.totals}
        elif content is not None and shape is not None:
            content = shape.dump(content)
        if content is None:
            return Response(b"", 204 if status == 200 else status, headers)
        return Response(encode(content), status, headers, content_type="application/json; charset=utf-8")

    @staticmethod
    def _load_body(accepts: ma.Schema, data: bytes) -> Any:
        try:
            return accepts.load(body.parse_object(data))
        except ma.ValidationError as error:
            raise InvalidInput(schema.problems(error, accepts)) from None

    @staticmethod
    def _load_query(query: ma.Schema, request: Request) -> Any:
        given: dict[str, Any] = {}
        for name, values in request.args.lists():
            is_list = isinstance(query.fields.get(name), schema.ListOf)
            given[name] = values if is_list or len(values) > 1 else values[0]
        try:
            return query.load(given)
        except ma.ValidationError as error:
            raise http_errors.QueryInvalid(schema.problems(error, query)) from None


#: Answers are no pages: whatever a browser takes one for, it loads and runs nothing, and shows it in no frame.
_POLICY = "default-src 'none'; frame-ancestors 'none'"
_ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", _POLICY),
    ("Cache-Control", "no-store"),
)
_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
_KEPT_HEADERS = ("Content-Type", "Location", "ETag", "Content-Disposition", "Retry-After")
_NO_QUERY = schema.Schema()
_NO_TURNS: AbstractContextManager[Any] = nullcontext()


def routes_of(service_class: type) -> list[Route]:
    """Return the routes of a service class, their schemas instantiated once."""
    return [
        Route(
            name, mark, _instance(mark.accepts), _instance(mark.query), _instance(mark.returns), _instance(mark.later)
        )
        for name, mark in marked(service_class, Http).items()
    ]


def _note(method: str, label: str, status: int) -> None:
    """Tell the span what the request was; never its address or query, which hold ids of persons and what was sought."""
    known = method if method in _METHODS else "_OTHER"
    facts: dict[str, str | int] = {"http.request.method": known, "http.response.status_code": status}
    if label.startswith("/"):
        facts["http.route"] = label
    if status >= 500:
        facts["error.type"] = str(status)
    name = "HTTP" if known == "_OTHER" else known
    trace.note(facts, f"{name} {label}" if label.startswith("/") else name, failed=status >= 500)


def _counted(service: str, invoke: Invoke) -> Invoke:
    """Count who is at work, from when a worker begins until it ends."""
    busy = metrics.WORKERS_BUSY.labels(service, "http")

    def counted(name: str, work: Callable[[], Any]) -> Any:
        def at_work() -> Any:
            with busy.track_inprogress():
                return work()

        return invoke(name, at_work)

    return counted


@cache
def _requests(service: str, label: str, method: str, status: int) -> Any:
    return metrics.HTTP_REQUESTS.labels(service, label, method, str(status))


@cache
def _seconds(service: str, label: str, method: str) -> Any:
    return metrics.HTTP_SECONDS.labels(service, label, method)


def _instance(given: Any) -> ma.Schema | None:
    schema_instance: ma.Schema | None = given() if isinstance(given, type) else given
    return schema_instance


def _rule(path: str) -> str:
    """Turn ``/v1/units/{code}`` and ``{id:uuid}`` into werkzeug's form."""
    out = path.replace(":uuid}", "}#uuid")
    parts = out.split("{")
    rule = parts[0]
    for part in parts[1:]:
        name, _, rest = part.partition("}")
        kind = "code"
        if rest.startswith("#uuid"):
            kind, rest = "uuid", rest[len("#uuid") :]
        rule += f"<{kind}:{name}>{rest}"
    return rule


def _missing(headers: list[tuple[str, str]], wanted: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return those wanted headers that an answer does not set itself."""
    there = {name.lower() for name, _ in headers}
    return [header for header in wanted if header[0].lower() not in there]


def _if_match(request: Request) -> str:
    value = request.headers.get("If-Match")
    if not value:
        raise http_errors.PreconditionRequired(
            "请带上 If-Match（先读取该对象，用返回的 ETag），以免覆盖他人的修改。",
            "Send If-Match with the ETag you read, so that nobody's change is overwritten.",
        )
    return value.strip().removeprefix("W/").strip('"')


def encode(content: Any) -> bytes:
    """Write JSON (UTF-8, not ASCII-escaped)."""
    return msgspec.json.encode(content, enc_hook=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(type(value).__name__)


def problem(error: RuleError) -> Response:
    """Return an error as RFC 9457 problem+json, in Chinese and English."""
    info: dict[str, Any] = {
        "type": f"urn:xinhuo:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.zh,
        "detail_en": error.en,
        "trace_id": trace.trace_id(),
    }
    if error.clause:
        info["clause"] = error.clause
    if error.problems:
        info["errors"] = [
            {"pointer": item.pointer, "code": item.code, "detail": item.zh, "detail_en": item.en}
            for item in error.problems
        ]
    info |= {name: value for name, value in error.extra.items() if name not in info}
    response = Response(encode(info), error.status, content_type=PROBLEM)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = f'Bearer realm="xinhuo", error="{error.code}"'
    if error.status == 405:
        response.headers["Allow"] = ", ".join(error.extra.get("allow", []))  # type: ignore[arg-type]
    if error.status == 429:
        response.headers["Retry-After"] = str(error.extra["seconds"])
    if error.status == 503:
        response.headers["Retry-After"] = "2"
    return response


def _unexpected(error: Exception) -> Response:
    log.error("request_failed", **logs.describe(error))
    hint = trace.trace_id()
    return problem(
        http_errors.InternalError(
            f"系统内部错误，您的数据没有改动；请把追踪号 {hint} 告诉运维人员。",
            f"Something went wrong on our side and nothing was changed; tell the operators the trace id {hint}.",
        )
    )

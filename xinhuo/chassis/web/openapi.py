"""OpenAPI 3.1 from the marks of a service, and the page that shows it without internet."""

import mimetypes
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import marshmallow as ma
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin, OpenAPIConverter
from marshmallow import fields as mf
from swagger_ui_bundle import swagger_ui_path
from werkzeug.wrappers import Request, Response

from xinhuo import __version__

from ..identity.rights import PUBLIC_RIGHT
from . import refusals, schema
from .app import CODE, PROBLEM, HttpApp, Route, encode, routes_of
from .pages import Listed

_BEARER = "bearer"
_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js")
_PAGE = """<!doctype html>
<html lang="zh-CN"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="page">正在加载接口说明…</div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
"""
# The bundle's Swagger UI (4.15) shows documents of 3.0 only; it gets ours in the words of 3.0, /openapi.json stays 3.1.
_START = """\
function inWordsOf30(value) {
  if (Array.isArray(value)) return value.map(inWordsOf30);
  if (value === null || typeof value !== 'object') return value;
  const made = {};
  for (const [name, item] of Object.entries(value)) made[name] = inWordsOf30(item);
  if (Array.isArray(made.type)) {
    made.nullable = made.type.includes('null');
    made.type = made.type.find(name => name !== 'null');
  }
  return made;
}
fetch('/openapi.json').then(answer => answer.json()).then(document => SwaggerUIBundle({
  spec: {...inWordsOf30(document), openapi: '3.0.3'}, dom_id: '#page', deepLinking: true, validatorUrl: null
}));
"""
_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "detail_en", "trace_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable; see docs/errors.md."},
        "detail": {"type": "string", "description": "中文说明与处理办法"},
        "detail_en": {"type": "string"},
        "clause": {"type": "string", "description": "所依据的条款"},
        "trace_id": {"type": ["string", "null"]},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail", "detail_en"],
                "properties": {
                    "pointer": {"type": ["string", "null"]},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                    "detail_en": {"type": "string"},
                },
            },
        },
    },
}


class _Names(OpenAPIConverter):  # type: ignore[misc]  # apispec publishes no types
    """Names our own field classes for OpenAPI, and says what they check."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.field_mapping[schema.Month] = ("string", None)
        #: The schemas of what comes in; what goes out is not checked by them.
        self.inputs: set[type[ma.Schema]] = set()
        self.add_attribute_function(_bounds)
        self.add_attribute_function(_each_for_itself)

    def _field2parameter(self, field: Any, *, name: str, location: str) -> dict[str, Any]:
        """Describe a parameter: there is no null in a query, what may be left out is left out."""
        made: dict[str, Any] = super()._field2parameter(field, name=name, location=location)
        shape = made["schema"]
        if isinstance(shape["type"], list):
            [shape["type"]] = set(shape["type"]) - {"null"}
        if None in shape.get("enum", ()):
            shape["enum"] = [word for word in shape["enum"] if word is not None]
        if shape.get("default", ...) is None:
            del shape["default"]
        return made


def _bounds(converter: _Names, field: Any, **_: Any) -> dict[str, Any]:
    """Return what a field of an input must keep to, and null among the words of a choice that may be null."""
    found = dict(getattr(field, "bounds", {})) if type(field.root) in converter.inputs else {}
    if isinstance(field, schema.Choice) and field.allow_none:
        found["enum"] = [*field.words, None]
    return found


def _each_for_itself(_converter: _Names, field: Any, ret: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Say of a list whose items stand alone that it is taken whatever an item is."""
    return {"items": {"anyOf": [ret["items"], {}]}} if getattr(field, "each_for_itself", False) else {}


def _with_nested(given: ma.Schema | None) -> Iterator[type[ma.Schema]]:
    """Yield the class of a schema, and those of the schemas in it."""
    if given is None:
        return
    yield type(given)
    for field in given.fields.values():
        inner = field.inner if isinstance(field, mf.List) else field
        if isinstance(inner, mf.Nested):
            yield from _with_nested(inner.schema)


class _Plugin(MarshmallowPlugin):  # type: ignore[misc]
    Converter = _Names


def document(service_class: type) -> dict[str, Any]:
    """Return the OpenAPI document of a service class."""
    plugin = _Plugin(schema_name_resolver=_schema_name)
    spec = APISpec(
        title=f"Xinhuo {service_class.name}",  # type: ignore[attr-defined]
        version=__version__,
        openapi_version="3.1.0",
        plugins=[plugin],
        info={"description": (service_class.__doc__ or "").strip()},
    )
    spec.components.schema("Problem", _PROBLEM_SCHEMA)
    spec.components.security_scheme(_BEARER, {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    routes = routes_of(service_class)
    plugin.converter.inputs.update(
        one for route in routes for given in (route.accepts, route.query) for one in _with_nested(given)
    )
    for route in routes:
        spec.path(
            path=route.mark.path.replace(":uuid}", "}"),
            operations={route.mark.method.lower(): _operation(service_class, route)},
        )
    made: dict[str, Any] = spec.to_dict()
    return made


def mount(app: HttpApp) -> None:
    """Serve ``/openapi.json`` and ``/docs`` beside a service's routes."""
    service_class = type(app.service)
    body = cache(lambda: encode(document(service_class)))
    page = _PAGE.format(title=f"薪火 {service_class.name} 接口说明")
    app.mount("/openapi.json", lambda _request: Response(body(), content_type="application/json"))
    app.mount("/docs", lambda _request: _static(page.encode(), "text/html; charset=utf-8"))
    app.mount("/docs/start.js", lambda _request: _static(_START.encode(), "text/javascript"))
    for name in _ASSETS:
        app.mount(f"/docs/{name}", _asset(Path(swagger_ui_path) / name))


def _asset(path: Path) -> Any:
    def respond(_request: Request) -> Response:
        return _static(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "application/octet-stream")

    return respond


#: The page runs its own script and shows the bundle's styles and pictures, nothing from elsewhere.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def _static(content: bytes, content_type: str) -> Response:
    return Response(
        content,
        content_type=content_type,
        headers={"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "max-age=3600"},
    )


def _schema_name(given: Any) -> str:
    cls = given if isinstance(given, type) else type(given)
    base = f"{cls.__name__}"
    if isinstance(given, ma.Schema) and (given.only is not None or given.exclude):
        base += "Part"
    if isinstance(given, ma.Schema) and given.partial:
        base += "Changes"
    return base


def _operation(service_class: type, route: Route) -> dict[str, Any]:
    mark = route.mark
    method = getattr(service_class, route.name)
    summary = (method.__doc__ or route.name).strip().splitlines()[0]
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": summary,
        "parameters": _parameters(route),
    }
    if route.accepts is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": route.accepts}},
        }
    elif mark.media_type:
        operation["requestBody"] = {
            "required": True,
            "content": {mark.media_type: {"schema": {"type": "string", "format": "binary"}}},
        }
    operation["security"] = [] if mark.right == PUBLIC_RIGHT else [{_BEARER: []}]
    answer: dict[str, Any] = {"description": summary}
    status = mark.status
    if mark.produces:
        answer["content"] = {mark.produces: {"schema": {"type": "string", "format": "binary"}}}
    elif route.returns is not None:
        answer["content"] = {"application/json": {"schema": _answer_schema(route, method)}}
    elif status == 200:
        status = 204
    operation["responses"] = {str(one): answer for one in (status, *mark.also)}
    if route.later is not None:
        content = {"application/json": {"schema": route.later}}
        operation["responses"]["202"] = {"description": (type(route.later).__doc__ or "").strip(), "content": content}
    for one, errors in refusals.of(route).items():
        operation["responses"][str(one)] = {
            "description": "；".join(f"`{error.code}` {error.title}" for error in errors),
            "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            "x-codes": [error.code for error in errors],
        }
    return operation


def _answer_schema(route: Route, method: Any) -> Any:
    if get_type_hints(method).get("return") is not Listed:
        return route.returns
    return {
        "type": "object",
        "required": ["items", "after"],
        "properties": {
            "items": {"type": "array", "items": route.returns},
            "after": {"type": ["string", "null"], "description": "下一页游标"},
        },
    }


def _parameters(route: Route) -> list[Any]:
    parameters: list[Any] = []
    for part in route.mark.path.split("{")[1:]:
        name, _, kind = part.partition("}")[0].partition(":")
        shape = {"type": "string", **({"format": kind} if kind else {"pattern": f"^{CODE}$"})}
        parameters.append({"name": name, "in": "path", "required": True, "schema": shape})
    if route.mark.method == "POST" and not route.mark.secret:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
                "description": "同一键重复提交只生效一次",
            }
        )
    if route.mark.named:
        description = "文件名，例如 attachment; filename*=UTF-8''%E6%97%B6%E6%95%B0.xlsx（RFC 6266）"
        shape = {"type": "string", "pattern": "^[ -~]*$"}
        parameters.append({"name": "Content-Disposition", "in": "header", "schema": shape, "description": description})
    if route.mark.method in {"PATCH", "PUT"}:
        parameters.append({"name": "If-Match", "in": "header", "required": True, "schema": {"type": "string"}})
    if route.query is not None:
        parameters.append({"in": "query", "schema": route.query})
    return parameters

"""What an OpenTelemetry collector does with spans, in small: takes them over OTLP/HTTP and keeps them."""

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.processes import LOOPBACK


@dataclass(frozen=True)
class Got:
    """A span as it arrived."""

    service: str
    role: str
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]
    facts: dict[str, Any]
    failed: bool


class Collector:
    """Listens on a port of its own until it is closed."""

    def __init__(self) -> None:
        self.spans: list[Got] = []
        self.requests = 0
        self._lock = threading.Lock()
        keep = self._keep

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                keep(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.url = f"http://{LOOPBACK}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()

    def of(self, trace: str) -> list[Got]:
        """Return the spans of a trace."""
        with self._lock:
            return [span for span in self.spans if span.trace == trace]

    def _keep(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        found = [
            _got(resource, span)
            for of_resource in request.resource_spans
            for resource in [_facts(of_resource.resource.attributes)]
            for scope in of_resource.scope_spans
            for span in scope.spans
        ]
        with self._lock:
            self.requests += 1
            self.spans += found


def _got(resource: dict[str, Any], span: Any) -> Got:
    return Got(
        resource["service.name"], resource["xinhuo.role"], span.name, span.kind, span.trace_id.hex(),
        span.span_id.hex(), span.parent_span_id.hex(), tuple(link.span_id.hex() for link in span.links),
        _facts(span.attributes), span.status.code == 2,
    )  # fmt: skip


def _facts(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in attributes}

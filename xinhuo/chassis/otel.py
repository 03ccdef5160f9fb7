"""Spans by OpenTelemetry, sent in the background over OTLP/HTTP; names are those of its semantic conventions.

Imported only where traces are wanted: a process without OTEL_EXPORTER_OTLP_ENDPOINT knows nothing of it. Needs the
extra ``otel``. What else can be set is read by the SDK itself: OTEL_TRACES_SAMPLER, OTEL_BSP_*, OTEL_EXPORTER_OTLP_*.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import uuid4

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from . import trace
from .trace import Facts

#: What a stop waits for the last spans to be sent.
_LAST_SECONDS = 3.0
#: Encoding a batch keeps all green threads waiting: a hundred spans take a few milliseconds.
_BATCH = 100
_KINDS = {
    trace.SERVER: api.SpanKind.SERVER,
    trace.CLIENT: api.SpanKind.CLIENT,
    trace.PRODUCER: api.SpanKind.PRODUCER,
    trace.CONSUMER: api.SpanKind.CONSUMER,
    trace.INTERNAL: api.SpanKind.INTERNAL,
}
_span: ContextVar[api.Span | None] = ContextVar("span", default=None)


def begin(endpoint: str, service: str, role: str, version: str, environment: str) -> Callable[[], None]:
    """Have the spans of this process recorded and sent; return what sends the last of them and ends it."""
    resource = Resource.create(
        {
            "service.namespace": "xinhuo",
            "service.name": service,
            "service.version": version,
            "service.instance.id": str(uuid4()),
            "deployment.environment.name": environment,
            "xinhuo.role": role,
        }
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint.rstrip("/") + "/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=_BATCH))
    trace.record_by(Spans(provider.get_tracer("xinhuo", version)))

    def end() -> None:
        trace.record_by(None)
        # It would wait half a minute for a collector that is away.
        last = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        last.start()
        last.join(_LAST_SECONDS)

    return end


class Spans:
    """Records spans by a tracer (``trace.Recorder``)."""

    def __init__(self, tracer: api.Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def span(self, kind: str, name: str, facts: Facts, parent: str | None, about: Sequence[str] = ()) -> Iterator[str]:
        """See ``trace.Recorder``; one that is about several has a link to each, as the conventions ask for.

        In every further trace stands a span of the same time, with a link to the one that the work was done in: who
        looks at one trace sees all that came of it, however it was done together with others.
        """
        links = [api.Link(_context_of(each)) for each in about if trace.read(each)]
        span = self._tracer.start_span(
            name, _under(parent or next(iter(about), None)), _KINDS[kind], facts, links=links
        )
        token = _span.set(span)
        try:
            yield _traceparent_of(span)
        except Exception as error:
            # Its text may quote what a person typed.
            _fail(span, type(error).__qualname__)
            raise
        finally:
            _span.reset(token)
            span.end()
            self._show_in_others(span, kind, name, facts, about)

    def moment(self, kind: str, name: str, facts: Facts, parent: str | None) -> str:
        """See ``trace.Recorder``."""
        span = self._tracer.start_span(name, _under(parent), _KINDS[kind], facts)
        span.end()
        return _traceparent_of(span)

    def note(self, facts: Facts, name: str | None = None, *, failed: bool = False) -> None:
        """See ``trace.Recorder``."""
        if (span := _span.get()) is None:
            return
        span.set_attributes(facts)
        if name:
            span.update_name(name)
        if failed:
            span.set_status(api.StatusCode.ERROR)

    def _show_in_others(self, span: api.Span, kind: str, name: str, facts: Facts, about: Sequence[str]) -> None:
        shown = {span.get_span_context().trace_id}
        for each in about:
            context = _context_of(each)
            if not trace.read(each) or context.trace_id in shown:
                continue
            shown.add(context.trace_id)
            other = self._tracer.start_span(
                name, _under(each), _KINDS[kind], facts,
                links=[api.Link(span.get_span_context())], start_time=getattr(span, "start_time", None),
            )  # fmt: skip
            if (status := getattr(span, "status", None)) is not None:
                other.set_status(status)
            other.end()


def _fail(span: api.Span, error: str) -> None:
    span.set_attribute("error.type", error)
    span.set_status(api.StatusCode.ERROR)


def _context_of(traceparent: str) -> api.SpanContext:
    known = trace.read(traceparent)
    if known is None:
        return api.INVALID_SPAN_CONTEXT
    trace_id, span_id, flags = known
    sampled = api.TraceFlags(int(flags, 16))
    return api.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=sampled)


def _under(traceparent: str | None) -> Context:
    if not traceparent or not trace.read(traceparent):
        return Context()
    return api.set_span_in_context(api.NonRecordingSpan(_context_of(traceparent)), Context())


def _traceparent_of(span: api.Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 1:02x}"

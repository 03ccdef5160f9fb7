"""JSON logs on standard error, one object a line, each with the trace it belongs to."""

import logging
import sys
import traceback
from typing import Any

import structlog

from . import trace


def _add_trace(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    if identifier := trace.trace_id():
        event["trace_id"] = identifier
    return event


def configure(level: str, *, service: str | None = None, role: str | None = None, stream: Any = None) -> None:
    """Send our own and the libraries' records through one JSON formatter.

    Libraries log at warning and above only: some write message bodies at lower levels.
    """
    static = {name: value for name, value in (("service", service), ("role", role)) if value}

    def _add_static(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {**static, **event}

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _add_trace,
        _add_static,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("xinhuo").setLevel(level.upper())


def get(name: str) -> Any:
    """Return a logger below ``xinhuo``; it takes an event name and key=value facts, never personal data."""
    return structlog.stdlib.get_logger(f"xinhuo.{name}")


def describe(error: BaseException) -> dict[str, str]:
    """Return an error's type and stack for the log, without its text: texts may quote what a person typed."""
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "error": f"{type(error).__module__}.{type(error).__qualname__}",
        "stack": " < ".join(
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in reversed(frames[-12:])
        ),
    }

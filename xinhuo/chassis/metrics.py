"""Metrics of the chassis; names are permanent, labels come from closed lists only."""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

HTTP_REQUESTS = Counter(
    "xinhuo_http_requests_total", "HTTP requests answered.", ["service", "route", "method", "status"]
)
HTTP_SECONDS = Histogram(
    "xinhuo_http_request_duration_seconds", "Time to answer an HTTP request.", ["service", "route", "method"]
)
EVENTS_RECORDED = Counter("xinhuo_events_recorded_total", "Events written to the outbox.", ["topic"])
EVENTS_PUBLISHED = Counter(
    "xinhuo_events_published_total", "Events handed to the broker.", ["topic", "lane", "outcome"]
)
EVENTS_CONSUMED = Counter(
    "xinhuo_events_consumed_total", "Events taken by a subscription.", ["service", "handler", "outcome"]
)
EVENT_AGE = Histogram(
    "xinhuo_event_age_seconds",
    "From the moment a fact became true to its effect here.",
    ["service", "handler"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
)
HANDLING_SECONDS = Histogram(
    "xinhuo_event_handling_seconds", "Time to handle one batch of events.", ["service", "handler"]
)
OUTBOX_PENDING = Gauge("xinhuo_outbox_pending", "Events recorded and not yet published.", ["service"])
OUTBOX_OLDEST = Gauge(
    "xinhuo_outbox_oldest_unpublished_age_seconds", "Age of the oldest event not yet published.", ["service"]
)
OUTBOX_PUBLIC_OLDEST = Gauge(
    "xinhuo_outbox_oldest_uncopied_age_seconds", "Age of the oldest event not yet copied for departments.", ["service"]
)
DEAD_LETTERS = Gauge("xinhuo_dead_letters", "Dead letters that wait for a decision.", ["service", "reason"])
DEAD_LETTERS_DECIDED = Counter(
    "xinhuo_dead_letters_decided_total", "Decisions about dead letters.", ["service", "action", "outcome"]
)
RECONCILE_DIFFERENCE = Gauge(
    "xinhuo_reconcile_difference", "Entries that differed in the newest comparison.", ["service", "comparison"]
)
RECONCILE_LAST_SUCCESS = Gauge(
    "xinhuo_reconcile_last_success_timestamp_seconds", "When a comparison was last made.", ["service", "comparison"]
)
JOB_LAST_SUCCESS = Gauge("xinhuo_job_last_success_timestamp_seconds", "When a job last ended well.", ["service", "job"])


def exposition(accept: str) -> tuple[bytes, str]:
    """Return the metrics of this process and the exact Content-Type to send with them."""
    encoder, content_type = choose_encoder(accept)
    body: bytes = encoder(REGISTRY)
    return body, content_type

"""Prometheus metrics; `docs/operations.md` says what each indicates."""

from prometheus_client import Counter, Gauge, Histogram

CALLBACKS = Counter("luma_tracker_callbacks", "Callbacks answered, by outcome.", ["outcome"])
LOOKUPS = Counter("luma_tracker_lookups", "Lookups, by source of the answer.", ["served"])
REQUESTS = Counter(
    "luma_tracker_upstream_requests",
    "Requests to Luma, by purpose and result.",
    ["upstream", "purpose", "result"],
)
CREATES = Counter(
    "luma_tracker_creates", "Creates passed on to Luma, by outcome.", ["upstream", "state"]
)
REPAIRS = Counter("luma_tracker_repairs", "Terminal states found by polling, without a callback.")
OVERRULED = Counter(
    "luma_tracker_overruled", "Terminal states reported by a callback that Luma did not confirm."
)
BREAKER_OPEN = Gauge(
    "luma_tracker_breaker_open", "1 while the circuit breaker sends no requests.", ["upstream"]
)
BUDGET_LEFT = Gauge(
    "luma_tracker_budget_left", "Requests that the budget allows now.", ["upstream"]
)
INBOX_LAG = Gauge("luma_tracker_inbox_lag_seconds", "Age of the oldest delivery not yet merged.")
GIVEN_UP = Gauge(
    "luma_tracker_deliveries_given_up", "Deliveries no longer retried after repeated failures."
)
REFUSALS = Counter(
    "luma_tracker_refusals", "Requests refused before they reached a route, by reason.", ["reason"]
)
PRUNED = Counter("luma_tracker_pruned", "Rows deleted by retention, by table.", ["table"])
WEBHOOK_ATTEMPTS = Counter(
    "luma_tracker_webhook_attempts", "Attempts to send to an endpoint, by outcome.", ["outcome"]
)
WEBHOOK_LAG = Gauge(
    "luma_tracker_webhook_lag_seconds", "Age of the oldest message that was not delivered yet."
)
ARCHIVE_COPIES = Counter(
    "luma_tracker_archive_copies", "Tries to copy a generation's assets, by outcome.", ["outcome"]
)
ARCHIVE_BYTES = Counter("luma_tracker_archive_bytes", "Bytes copied to the archive.")
COMMIT_SECONDS = Histogram("luma_tracker_commit_seconds", "Duration of one group commit.")
COMMIT_WRITES = Histogram(
    "luma_tracker_commit_writes", "Writes in one group commit.", buckets=[1, 2, 4, 8, 16, 64, 256]
)

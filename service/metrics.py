"""What can be counted, for Prometheus; `docs/operations.md` says what each is a sign of."""

from prometheus_client import Counter, Gauge, Histogram

CALLBACKS = Counter("luma_tracker_callbacks", "Callbacks answered.", ["outcome"])
LOOKUPS = Counter("luma_tracker_lookups", "Lookups, by where the answer came from.", ["served"])
REQUESTS = Counter(
    "luma_tracker_upstream_requests", "Requests to Luma.", ["upstream", "purpose", "result"]
)
REPAIRS = Counter(
    "luma_tracker_repairs", "Terminal states that we had to ask for: callbacks are failing."
)
OVERRULED = Counter(
    "luma_tracker_overruled", "Terminal states claimed by callback that Luma did not confirm."
)
BREAKER_OPEN = Gauge("luma_tracker_breaker_open", "1 while Luma is left alone.", ["upstream"])
BUDGET_LEFT = Gauge("luma_tracker_budget_left", "Requests that are free just now.", ["upstream"])
INBOX_LAG = Gauge("luma_tracker_inbox_lag_seconds", "Age of the oldest delivery not yet folded.")
GIVEN_UP = Gauge("luma_tracker_deliveries_given_up", "Deliveries whose folding failed every time.")
REFUSALS = Counter("luma_tracker_refusals", "Requests turned away at the door.", ["reason"])
PRUNED = Counter("luma_tracker_pruned", "Rows removed by retention.", ["table"])
COMMIT_SECONDS = Histogram("luma_tracker_commit_seconds", "Time of one group commit.")
COMMIT_WRITES = Histogram(
    "luma_tracker_commit_writes", "Writes that shared a commit.", buckets=[1, 2, 4, 8, 16, 64, 256]
)

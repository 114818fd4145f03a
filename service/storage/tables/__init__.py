"""Table definitions.

deliveries   the inbox: every authenticated callback, byte for byte, with tokens redacted
generations  one row per generation: `service.domain.generation.Generation`
events       the history: one row per recorded change of a generation
bindings     the generation that each single-use callback token is bound to
requests     the recent requests to Luma that count against the request budget
submissions  one row per create that went through the gateway
webhooks     the endpoints that receive changes of state
outbox       the messages to endpoints; written in the transaction of the change
attempts     the attempts to send a message
durations    how long generations of each kind took: counts per kind and bucket
counters     what statistics are answered from: sums per day, upstream, operation and model
backfills    the progress of the walk through each upstream's list
readiness    one row, written to check whether the database accepts writes
rewrites     the progress of each rewrite of old rows
texts        what the index of words contains
word_index   one row: how far that index is
archive      one row: how many bytes are kept
copies       generations whose assets are to be copied; written in the transaction of the change
archived_files  one row per asset that is kept
"""

from service.storage.tables.archive import ArchivedFileRow, ArchiveRow, CopyRow
from service.storage.tables.creates import BackfillRow, SubmissionRow
from service.storage.tables.generations import CounterRow, DurationRow, EventRow, GenerationRow
from service.storage.tables.inbox import GIVEN_UP, MAX_TRIES, UNFOLDED, BindingRow, DeliveryRow
from service.storage.tables.upkeep import (
    ReadinessRow,
    RequestRow,
    RewriteRow,
    TextRow,
    WordIndexRow,
)
from service.storage.tables.webhooks import AttemptRow, MessageRow, WebhookRow

__all__ = [
    "GIVEN_UP",
    "MAX_TRIES",
    "UNFOLDED",
    "ArchiveRow",
    "ArchivedFileRow",
    "AttemptRow",
    "BackfillRow",
    "BindingRow",
    "CopyRow",
    "CounterRow",
    "DeliveryRow",
    "DurationRow",
    "EventRow",
    "GenerationRow",
    "MessageRow",
    "ReadinessRow",
    "RequestRow",
    "RewriteRow",
    "SubmissionRow",
    "TextRow",
    "WebhookRow",
    "WordIndexRow",
]

"""The use cases: look up, wait for, list, follow and receive generations.

Every surface (REST, MCP, command line) reaches stored data through this package. It combines
`service.storage` (all SQL) with `service.luma` (all requests to Luma), and contains no HTTP
framework code. A module belongs here if it decides when to read, fetch, store or notify.

gateway          answers as Luma does: reads from the store, lists that teach it, the rest passed on
tracker          the facade for surfaces: lookup, wait, lists, and a generation's events
reconciler       checks due rows with Luma in the background
maintenance      retries unfolded deliveries, and deletes old deliveries and events
rewriter         rewrites rows of older versions in the background, in small batches
word_indexer     keeps the index of words up to date in the background
inspection       read-only database checks for the commands `doctor` and `db`
creating/        creates that go through us: journaled, sent at most once, recovered
webhooks/        endpoints of changes of state, and the sending
archive/         copies of assets that outlive Luma's URLs
backfill/        walks through Luma's lists
dialling/        requests to addresses that users name, checked when dialled
fetcher          fetches generations from Luma, and stores the results
history          the events of all generations: read, wait for, or follow
callbacks        stores callbacks as deliveries, and folds them in the same transaction
deliveries       the inbox: receive, list, show and replay callbacks
feeds            all generations that match a query, as NDJSON or CSV
stats            statistics, from counters that are kept with the writes
overview         the create and the sent messages of a generation, for pages
readiness        the checks behind the readiness probe
schemas          response models for pages, events and deliveries
stats_schema     response models for statistics
changes          change notification, within the process and across processes
account_check    detects that an upstream's URL or account has changed
single_flight    single-flight execution, and a negative cache for unknown ids
answer           the result of a lookup
observe          stores observations: merges them into rows, and records events
outbox           which messages a change of state causes
luma_shape       a generation as Luma answers it
cache            in-memory cache of representations
background       runs endless loops, and restarts them after a failure
callback_tokens  creates and verifies the tokens of callback URLs
"""

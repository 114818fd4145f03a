"""The domain: the rules for generations, as pure functions and value types.

Modules in this package do no I/O, read no clock, and import only the standard library, one another
and `service.errors`. Callers pass the time and all data in. `schedule` and `durations` draw random
numbers; everything else is deterministic.

generation      states, ranks, observations, and the row that is stored for each generation
merge           folds an observation into a row
documents       what Luma last said of a generation, as a whole
submission      creates that pass through the gateway, and what became of them
upstreams       the names of Luma's two APIs and of their settings
models          Luma's models: the API that has each, and what it makes
schedule        when to check a generation with its upstream, and which is checked first
durations       how long generations take: what was learnt, and what is assumed
counting        what a generation adds to the counters of statistics
request_budget  rate limit, and the share of it that is reserved for each purpose
retries         when a message to an endpoint is sent again
retry_after     parses `Retry-After`
detail          what an error body of Luma says
query           the query language
cursors         cursors that are the id of the last item of a page
paging          reads a list completely by offset, although it changes meanwhile
times           parses times and dates, and times relative to now
sizes           parses sizes in bytes
addresses       which URLs and addresses may be called
json_members    edits one member of a JSON object, and keeps the text of all others
redaction       removes callback tokens from text and from bodies
text            makes untrusted text safe to store and to print
"""

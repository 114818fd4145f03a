"""The domain: the rules for generations, as pure functions and value types.

Modules in this package do no I/O, read no clock, and import only the standard library and one
another. Callers pass the time and all data in. `schedule` and `durations` draw random
numbers; everything else is deterministic.

generation      states, ranks, observations, and the row that is stored for each generation
merge           folds an observation into a row
schedule        when to check a generation with its upstream, and which is checked first
durations       how long generations take: what was learnt, and what is assumed
request_budget  rate limit, and the share of it that is reserved for each purpose
paging          reads a list completely by offset, although it changes meanwhile
times           parses times and dates, and times relative to now
redaction       removes callback tokens from text and from bodies
text            makes untrusted text safe to store and to print
"""

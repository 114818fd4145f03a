"""Storage: the database, and all SQL of the service.

No other package contains SQL. Modules in this package may import SQLAlchemy, the database
drivers, and `service.domain`; they contain no rules about generations.

engine          database connections, transactions and the shared writer, for SQLite and PostgreSQL
tables          table and index definitions
generations     reads and writes rows of generations
counters        keeps the counters of statistics
durations       counts how long generations of each kind took
deliveries      reads and writes the inbox: callbacks, and bindings of single-use tokens
events          reads and writes events, in one order
submissions     the journal of creates
webhooks        the endpoints that changes of state are sent to
outbox          the messages to endpoints
claims          which messages may be sent, by whom, and what became of them
attempts        the tries to send a message
archive         which assets are to be copied, by whom, and which are kept
listing         pages of generations: filters, sort orders and cursors
criteria        the conditions of filters and of queries
fields          the fields of a generation that a reader asks for
words           the index of words
recent          the newest generations of a SQLite file, for shell completion
representation  reads generations as response bodies that the database builds
shape           the public JSON schema of a generation
snapshot        the JSON of a generation that is not stored yet
request_log     the requests to each upstream, for a budget that all instances share
backfills       the progress of walks through the upstreams' lists
readiness       a test write
pruning         deletes old rows, some at a time
migrating       migrates the database to the schema of this version
rewrites        rewrites old rows in batches while the service runs
"""

"""Storage: the database, and all SQL of the service.

No other package contains SQL. Modules in this package may import SQLAlchemy, the database
drivers, and `service.domain`; they contain no rules about generations.

engine          database connections, transactions and the shared writer, for SQLite and PostgreSQL
tables          table and index definitions
generations     reads and writes rows of generations
durations       counts how long generations of each kind took
deliveries      reads and writes the inbox: callbacks, and bindings of single-use tokens
events          reads and writes events, in one order
listing         pages of generations: filters, sort orders and cursors
representation  reads generations as response bodies that the database builds
shape           the public JSON schema of a generation
request_log     the requests to each upstream, for a budget that all instances share
backfills       the progress of walks through the upstreams' lists
migrating       migrates the database to the schema of this version
rewrites        rewrites old rows in batches while the service runs
"""

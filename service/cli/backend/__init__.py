"""What commands work on: a running service (`TRACKER_URL`), or the database itself.

    command ──► Backend ──┬──► Remote ──HTTP──► a running service
                          └──► Local  ──► tracker on the configured database

Both answer with the JSON of the REST API, so a command is written once and prints the same.
"""

"""Builds the service from the settings, and closes it again.

parts      everything that one process runs, and how it is opened
databases  the configured database: created, migrated
upstreams  Luma's APIs, those that have a key
"""

from service.bootstrap.databases import at_database, migrate
from service.bootstrap.parts import Parts, open_parts, open_service, open_tracker
from service.bootstrap.upstreams import make_upstreams

__all__ = [
    "Parts",
    "at_database",
    "make_upstreams",
    "migrate",
    "open_parts",
    "open_service",
    "open_tracker",
]

"""The table: what is measured, against what, and how good it has to be."""

from benchmarks import callbacks, reads, size, starts, tools
from benchmarks.finding import Row

RAW = "raw ASGI app, as many fixed bytes"
NAIVE = "FastAPI + SQLModel, session per request"
GET = "one plain FastAPI GET of the same generation"

ROWS = [
    Row("get-cached", "lookup, cached, bearer", RAW, reads.cached, 0.90, 0.80),
    Row("get-304", "the same, 304", RAW, reads.unchanged, 1.10, 1.0),
    Row("get-uncached", "the same, from SQLite", RAW, reads.uncached, 0.60, 0.50),
    Row("get-naive", "the same, cached", NAIVE, reads.cached_naive, 25, 15),
    Row("page-naive", "newest page of 20, from SQLite", NAIVE, reads.newest, 6, 4),
    Row("page-storm", "the same while callbacks arrive", NAIVE, callbacks.pages_meanwhile, 6, 4),
    Row(
        "get-postgres",
        "lookup from PostgreSQL",
        NAIVE,
        reads.uncached_on_postgres,
        7,
        5,
    ),
    Row(
        "page-postgres",
        "newest page of 20 from PostgreSQL",
        NAIVE,
        reads.uncached_page_on_postgres,
        6,
        4,
    ),
    Row(
        "callbacks-postgres",
        "callbacks/s, durable, PostgreSQL, 32 connections",
        NAIVE,
        callbacks.against_naive_on_postgres,
        10,
        7,
    ),
    Row(
        "callbacks-naive",
        "callbacks/s, durable, 32 connections",
        NAIVE,
        callbacks.against_naive,
        20,
        14,
    ),
    Row(
        "callbacks-commit",
        "callbacks/s, durable",
        "our own route with the commit left out",
        callbacks.against_uncommitted,
        0.40,
        0.28,
    ),
    Row(
        "callbacks-128",
        "callbacks, 128 connections, p99",
        NAIVE,
        callbacks.at_many_connections,
        15,
        6,
        unit="× shorter",
    ),
    Row(
        "mcp-2025",
        "MCP get_generation, 2025-11-25, CPU",
        GET,
        tools.handshake,
        1.8,
        2.3,
        least=False,
    ),
    Row(
        "mcp-2026", "MCP get_generation, 2026-07-28, CPU", GET, tools.modern, 2.4, 3.0, least=False
    ),
    Row(
        "mcp-upstream",
        "MCP get_generation, one client, upstream in 150 ms",
        "a tool with a client per call",
        tools.upstream_slow,
        200,
        100,
        unit="× faster",
    ),
    Row(
        "stdio",
        "stdio get_generation",
        "HTTP GET from the same Python client",
        tools.stdio,
        0.8,
        0.6,
    ),
    Row(
        "growth-read", "point read, large table", "1 k rows", size.point_read, 1.3, 1.6, least=False
    ),
    Row(
        "growth-page",
        "newest page, large table",
        "1 k rows",
        size.newest_page,
        1.3,
        1.6,
        least=False,
    ),
    Row("workers", "two workers' lookups", "one worker's", reads.workers, 1.7, 1.4),
    Row(
        "help",
        "luma-tracker --help",
        "interpreter start",
        starts.help_,
        0.25,
        None,
        unit="s more",
        least=False,
    ),
    Row(
        "mcp-start",
        "first tool answer of luma-tracker mcp",
        "a start with everything imported",
        starts.first_answer,
        0.6,
        None,
        least=False,
    ),
    Row(
        "memory",
        "read cache of 100 k generations",
        "an empty one",
        reads.memory,
        200,
        None,
        unit="MB more",
        least=False,
    ),
]

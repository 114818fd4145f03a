"""Logs: events with fields, on stderr. Readable text on a terminal, else one logfmt line each."""

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor

log: structlog.stdlib.BoundLogger = structlog.get_logger("luma_tracker")


def _one_line(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Escape control characters, so that a value cannot forge a line."""
    return {name: _escaped(v) if isinstance(v, str) else v for name, v in event.items()}


def _escaped(value: str) -> str:
    plain = (
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in value
    )
    return "".join(plain)  # the logfmt renderer escapes line feeds


def configure(level: int = logging.INFO) -> None:
    """Log to stderr: this service's events from `level` up, other libraries' from WARNING up."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    terminal = sys.stderr.isatty()
    logfmt = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    render = [structlog.dev.ConsoleRenderer()] if terminal else [_one_line, logfmt]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("luma_tracker").setLevel(level)

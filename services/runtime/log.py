"""Logging: structlog, events named `area.verb` with bound keys."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, TypeAlias

import structlog
from structlog.tracebacks import ExceptionDictTransformer

Log: TypeAlias = Any
"""A structlog bound logger (its methods are dynamic)."""

_SAY_AGAIN_AFTER_S = 10.0


def configure(log_format: str = "console", level: str = "info") -> None:
    """Set up structlog for the process: one line per event on stderr, for people or as JSON for machines.

    Tracebacks have no local variables: they may hold secrets and what users did.
    """
    renderer: Any
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
        exceptions: list[Any] = [structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))]
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), pad_event_to=24, exception_formatter=structlog.dev.plain_traceback
        )
        exceptions = []
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *exceptions,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def logger(**keys: Any) -> Log:
    """A logger with bound keys."""
    return structlog.get_logger().bind(**keys)


class Throttle:
    """Says whether it is time to say the same thing again."""

    def __init__(self, every_s: float = _SAY_AGAIN_AFTER_S) -> None:
        """`every_s`: the least time between two lines about one thing."""
        self._every_s = every_s
        self._said: dict[str, float] = {}

    def due(self, what: str) -> bool:
        """True at the first call for `what`, and again after the interval."""
        now = time.monotonic()
        if now - self._said.get(what, -self._every_s) < self._every_s:
            return False
        self._said[what] = now
        return True

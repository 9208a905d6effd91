"""How a loop can fail, and what follows from each failure."""

from __future__ import annotations


class FatalError(RuntimeError):
    """The process must end with a non-zero exit code and be started again. The message says what to do."""


class FencedError(FatalError):
    """Another process runs under this replica's name. Nothing more may be written."""


class NameHeldError(FatalError):
    """The broker holds our name for a member that died, until that member's session ends (KIP-848 only)."""


class StuckError(FatalError):
    """The Kafka client has lost its way: a call does not return, or will not. New clients can go on in its place."""


class DeadLetterLimitError(FatalError):
    """More records than the configured rate could not be processed."""


class StateError(FatalError):
    """A record of our own state cannot be read, so that going on would overwrite it with wrong state."""


class PositionError(FatalError):
    """A committed position lies past the end of its topic: the topic was made anew or truncated."""


class StopBudgetError(FatalError):
    """A clean stop took longer than its budget."""


class AbortedError(Exception):
    """The transaction was aborted. The loop begins a new incarnation: state and tables are read anew."""

"""The checks of an audit: pure, streaming, with small memory. Raw records go in, findings come out."""

from __future__ import annotations

from services.cli.audit.checks.base import Checker, Chunk, Finding, Log
from services.cli.audit.checks.batches import BatchesCheck
from services.cli.audit.checks.interactions import InteractionsCheck
from services.cli.audit.checks.item_rows import ItemRowsCheck
from services.cli.audit.checks.user_rows import UserRowsCheck

READ_ORDER = ("user-state", "item-state", "item-deltas", "features", "interactions")
"""Effects before their causes: what stands before the end of one topic has its causes before the ends of the next."""


def checkers(delivery: str, user_partitions: int, item_partitions: int, *, live: bool = False) -> list[Checker]:
    """All checks.

    Args:
        delivery: exactly-once, or at-least-once: work that repeats after a crash is then no error.
        user_partitions: partition count of the user-keyed topics.
        item_partitions: partition count of the item-keyed topics.
        live: the services run meanwhile: user-state was read up to an earlier moment than the batches, which lies amid
            the rows of a batch where delivery has no transactions.
    """
    repeats = delivery == "at-least-once"
    return [
        InteractionsCheck(user_partitions, repeats=repeats),
        BatchesCheck(user_partitions, item_partitions, repeats=repeats),
        ItemRowsCheck(item_partitions, repeats=repeats),
        UserRowsCheck(user_partitions, repeats=repeats, live=live, cut=live and repeats),
    ]


__all__ = ["READ_ORDER", "Checker", "Chunk", "Finding", "Log", "checkers"]

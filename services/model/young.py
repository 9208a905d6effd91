"""How much is learned between two exchanges of item rows while a model is young.

Shards learn from what the others had sent at the last exchange. When a model is young, each event changes much of what
it knows, and what a shard does not know yet of the others costs most; later a thousand events more or less
hardly matter (docs/model.md, "Sharding").
"""

from __future__ import annotations

GROWN_EVENTS = 16_000
"""Events after which a model is not young any more."""
_SHARE, _LEAST = 16, 100


def exchange_after(learned: float) -> int | None:
    """How many events all shards together may learn before they exchange rows; None: any number.

    One in 16 of the events so far, and at least 100.
    """
    if learned >= GROWN_EVENTS:
        return None
    return max(_LEAST, int(learned) // _SHARE)

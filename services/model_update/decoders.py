"""The decoders of every topic that model update reads. A record that is wrong is a ValueError."""

from __future__ import annotations

from typing import Any

from services.contracts.inner import features, item_deltas, sweeps, user_state
from services.model.packed import rows_among
from services.model_update.wire import ITEM_ROW
from services.runtime.processor import Headers, LeavesRows

_EVENT_FIELDS = frozenset(("user", "item", "ih", "id", "value", "t", "ts", "w", "ctx", "content", "pref"))
FIELDS = {"event": _EVENT_FIELDS, "implied": _EVENT_FIELDS, "erase": frozenset(("user",)), "batch": frozenset[str]()}
"""What learning reads of the features of each kind."""


def feature(_key: bytes | None, value: bytes | None, _headers: Headers = ()) -> Any:
    """A features record; one that is learned from has every field that learning reads."""
    if value is None:
        return None
    record = features.decode(value)
    kind = record.get("kind")
    if kind not in tuple(FIELDS):
        raise ValueError(f"unknown kind of feature {kind!r}")
    missing = FIELDS[kind] - record.keys()
    if missing:
        raise ValueError(f"feature without {', '.join(sorted(missing))}")
    return record


def deltas(_key: bytes | None, value: bytes | None, _headers: Headers = ()) -> Any:
    """An item-deltas record."""
    if value is None:
        return None
    record = item_deltas.decode(value)
    if record["kind"] not in ("deltas", "seal"):
        raise ValueError(f"unknown kind of item-deltas record {record['kind']!r}")
    return record


def item_row(key: bytes | None, value: bytes | None, _headers: Headers = ()) -> Any:
    """An item-state record: a row, a clock, or None for an evicted row."""
    return sweeps.decode(_keyed(key), value)


item_rows = LeavesRows(lambda keys, values: rows_among(keys, values, ITEM_ROW), item_row)
"""The same, with the rows of items left in their wire form."""


def user_record(key: bytes | None, value: bytes | None, _headers: Headers = ()) -> Any:
    """A user-state record: a row, a seen chunk, or None for a deletion."""
    if value is None:
        return None
    _, chunk = user_state.split_key(_keyed(key))
    return user_state.decode_row(value) if chunk is None else user_state.decode_chunk(value)


def _keyed(key: bytes | None) -> bytes:
    if not key:
        raise ValueError("the record has no key")
    return key

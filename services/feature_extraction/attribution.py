"""Attribution: which served list an event responds to."""

from __future__ import annotations

from collections.abc import Sequence

from services.contracts.inner import extraction_state
from services.contracts.inner.extraction_state import ServedList
from services.contracts.inner.features import Attribution

_HASH_BYTES = 8
UNKNOWN_LATENCY = -1


class Attributions:
    """Finds the list behind an event among the lists that were served to its user.

    Lists stay encoded: an event on an item that was not recommended costs a search in a few hundred bytes.
    """

    def __init__(self, window_ms: int, lists: int) -> None:
        """Bound what is attributed.

        Args:
            window_ms: longest time from a list to an event that does not name it.
            lists: newest lists remembered per user.
        """
        self._window_ms = window_ms
        self.lists = lists

    def remember(self, served: Sequence[bytes], list_id: bytes, body: bytes) -> tuple[list[bytes], int] | None:
        """The user's lists (newest last) with one more, and its number; None when it is already there.

        Args:
            served: the user's lists, encoded, newest last.
            list_id: the id of the new one.
            body: all of it but its number (`extraction_state.encode_list`).
        """
        if any(
            list_id in packed and extraction_state.decode_list(packed)["id"].encode() == list_id for packed in served
        ):
            return None
        number = extraction_state.decode_list(served[-1])["k"] + 1 if served else 0
        return [*served, extraction_state.encode_list(number, body)][-self.lists :], number

    def attribute(self, served: Sequence[bytes], list_id: str | None, ih: int, response_ms: int) -> Attribution | None:
        """The list that an event on an item responds to, or None.

        The list that the event names, whether it is known and holds the item or not; else the newest list that holds
        the item and was published before the event, within the window.

        Args:
            served: the user's lists, encoded, newest last.
            list_id: the list that the event names.
            ih: hash of the event's item.
            response_ms: when the event happened (`timing.response_time`).
        """
        mark = ih.to_bytes(_HASH_BYTES, "little")
        if list_id is not None:
            for packed in reversed(served):
                record = extraction_state.decode_list(packed)
                if record["id"] == list_id:
                    return _attribution(record, mark, response_ms)
            return {"list": list_id, "rank": 0, "arm": "", "propensity": 0.0, "latency_ms": UNKNOWN_LATENCY}
        for packed in reversed(served):
            if mark not in packed:
                continue
            record = extraction_state.decode_list(packed)
            if 0 <= response_ms - record["t"] <= self._window_ms:
                found = _attribution(record, mark, response_ms)
                if found["rank"]:
                    return found
        return None


def _attribution(record: ServedList, mark: bytes, response_ms: int) -> Attribution:
    rank = _rank(record["h"], mark)
    propensity = 1.0 if rank else 0.0
    for place, drawn in record["x"]:
        if place == rank:
            propensity = drawn
    latency = response_ms - record["t"]
    return {
        "list": record["id"],
        "rank": rank,
        "arm": record["a"],
        "propensity": propensity,
        "latency_ms": latency if latency >= 0 else UNKNOWN_LATENCY,
    }


def _rank(hashes: bytes, mark: bytes) -> int:
    """Rank from 1 of an item hash in a list, 0 when it is not there."""
    at = hashes.find(mark)
    while at >= 0 and at % _HASH_BYTES:
        at = hashes.find(mark, at + 1)
    return at // _HASH_BYTES + 1 if at >= 0 else 0

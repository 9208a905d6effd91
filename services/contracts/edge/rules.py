"""What a record must satisfy beyond its Avro types: ids that can be keys, finite values, sensible lengths."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from services.contracts.edge.errors import EdgeRecordError
from services.contracts.edge.values import shown

MAX_ID_BYTES = 1024
"""An id is a Kafka key, kept in every row and index: long ids are mistakes, and would cost memory in every service."""
MAX_K = 1000
"""Longest list that may be asked for."""

Rule = Callable[[dict[str, Any]], None]


def rule_of(record: str) -> Rule:
    """The rule of a record: raises `EdgeRecordError` for a record that has the right types and still makes no sense."""
    return _RULES[record]


def check_id(record: str, field: str, value: str) -> None:
    """Refuse an id that cannot be a key: empty, too long, or holding the NUL that reserved keys start with."""
    if not value:
        raise EdgeRecordError(record, field, "is empty")
    if "\x00" in value:
        raise EdgeRecordError(record, field, f"holds a NUL character, which is reserved: {value!r}")
    # A character takes at most 4 bytes: encoding is needed for long ids only.
    if 4 * len(value) > MAX_ID_BYTES and len(value.encode()) > MAX_ID_BYTES:
        raise EdgeRecordError(record, field, f"is longer than {MAX_ID_BYTES} bytes")


def _interaction(record: dict[str, Any]) -> None:
    # Every event passes here: a plain id is seen to be one without a call.
    user, item = record["user_id"], record["item_id"]
    if not 0 < 4 * len(user) <= MAX_ID_BYTES or "\x00" in user:
        check_id("InteractionEvent", "user_id", user)
    if not 0 < 4 * len(item) <= MAX_ID_BYTES or "\x00" in item:
        check_id("InteractionEvent", "item_id", item)
    if not record["type"]:
        raise EdgeRecordError("InteractionEvent", "type", "is empty")
    value = record["value"]
    if value is not None and not math.isfinite(value):
        raise EdgeRecordError("InteractionEvent", "value", f"expected a finite number, got {shown(value)}")


def _item(record: dict[str, Any]) -> None:
    check_id("Item", "item_id", record["item_id"])


def _request(record: dict[str, Any]) -> None:
    check_id("RecommendationRequest", "user_id", record["user_id"])
    k = record["k"]
    if k is not None and not 1 <= k <= MAX_K:
        raise EdgeRecordError("RecommendationRequest", "k", f"must be 1 to {MAX_K}, got {k}")


def _erasure(record: dict[str, Any]) -> None:
    check_id("ErasureRequest", "user_id", record["user_id"])


def _list(record: dict[str, Any]) -> None:
    check_id("RecommendationList", "user_id", record["user_id"])


def _report(record: dict[str, Any]) -> None:
    if not record["metric"]:
        raise EdgeRecordError("QualityReport", "metric", "is empty")


_RULES: dict[str, Rule] = {
    "InteractionEvent": _interaction,
    "Item": _item,
    "RecommendationRequest": _request,
    "ErasureRequest": _erasure,
    "RecommendationList": _list,
    "QualityReport": _report,
}

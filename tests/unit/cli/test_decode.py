from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from services.cli.decode import readable, show_key, value_decoder
from services.cli.show import duration_ms, to_json
from services.contracts.edge import codec_for
from services.contracts.inner import extraction_state, item_deltas, item_state, user_state, weights
from services.contracts.inner.codec import pack
from services.contracts.topics import TOPICS
from services.model.config import ModelConfig
from services.model.layout import blocks


def test_edge_records_are_decoded() -> None:
    """An Avro record and a JSON one are shown alike."""
    show = value_decoder("interactions")
    avro = codec_for("interactions").encode(codec_for("interactions").complete({"user_id": "u", "item_id": "i"}))
    assert show(b"u", avro) == show(b"u", b'{"user_id": "u", "item_id": "i"}')


def test_arrays_of_inner_records_are_numbers() -> None:
    """Raw bytes of rows are shown as the numbers that they hold."""
    vector, hashes = np.array([0.1, -2.5], "<f4"), np.array([1, 2**63], "<u8")
    row = {"v": 1, "o": 5, "c": 1, "slot": 0, "b": {"q": vector.tobytes(), "content": np.array([7], "<u4").tobytes()}}
    assert value_decoder("item-state")(b"i", pack(row))["b"] == {"q": [0.1, -2.5], "content": [7]}
    chunk = user_state.encode({"v": 1, "s": hashes.tobytes()})
    assert value_decoder("user-state")(user_state.seen_key(b"u", 0), chunk)["s"] == hashes.tolist()
    delta = {
        "v": 1,
        "kind": "deltas",
        "h": hashes.tobytes(),
        "blocks": {"q": {"i": b"\1\0\0\0", "d": vector.tobytes()}},
    }
    shown = value_decoder("item-deltas")(item_deltas.SEAL_KEY, pack(delta))
    assert shown["h"] == hashes.tolist()
    assert shown["blocks"]["q"] == {"i": [1], "d": [0.1, -2.5]}


def test_neighbour_lists_are_pairs() -> None:
    """A list of neighbours is shown with its hashes and counts apart."""
    width = next(block.width for block in blocks(ModelConfig(), "item") if block.name == "near")
    counts = [number / 4 for number in range(width)]
    pair = np.zeros(1, [("n", "<u8"), ("c", "<f4", (width,))])
    pair["n"], pair["c"] = 9, counts
    sums = np.arange(width, dtype="<f4")
    packed = np.float32(3).tobytes() + sums.tobytes() + pair.tobytes()
    row: Any = {"v": 1, "o": 0, "c": 0, "slot": 0, "b": {"near": packed}}
    shown = value_decoder("item-state")(b"i", item_state.encode(row))["b"]["near"]
    assert shown == {"anchor": [3.0], "sums": sums.tolist(), "pairs": [{"neighbour": 9, "counts": counts}]}


def test_windows_are_entries() -> None:
    """A chunk of a deduplication window is shown entry by entry."""
    entry = (5).to_bytes(8, "little") + (6).to_bytes(4, "little") + (7).to_bytes(4, "little")
    key = extraction_state.window_key(b"u", 0)
    shown = value_decoder("extraction-state")(key, pack({"v": 1, "k": 0, "d": entry * 2}))
    assert shown["d"] == [{"event": 5, "time_s": 6, "offset": 7}] * 2


def test_control_records_among_items() -> None:
    """The record of event weights in the items topic is shown too."""
    value = weights.encode({"view": 0.5})
    assert value_decoder("items")(weights.WEIGHTS_KEY, value) == {"view": 0.5}


@pytest.mark.parametrize("topic", [line.name for line in TOPICS])
def test_every_topic_has_a_decoder(topic: str) -> None:
    """Wrong bytes are refused with a ValueError, or shown as they are where any bytes may stand."""
    try:
        shown = value_decoder(topic)(b"k", b"\xff\xfe\x00")
    except ValueError:
        return
    assert shown == {"base64": "//4A"}


def test_keys() -> None:
    """Keys are text, with what follows a NUL after it."""
    assert show_key(b"u1") == "u1"
    assert show_key(None) is None
    assert show_key(b"\x00batch") == "\\0batch"
    assert show_key(user_state.seen_key(b"u1", 3)) == "u1\\0s 00 00 00 03"
    assert show_key(b"\xff") == {"base64": "/w=="}
    assert readable("ä".encode()) == "ä"


def test_json_has_no_nan() -> None:
    """What JSON does not have becomes null."""
    assert json.loads(to_json({"a": [float("nan"), 1.0], "b": float("inf")})) == {"a": [None, 1.0], "b": None}


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "-"),
        (12.4, "12 ms"),
        (1500, "1.5 s"),
        (59_000, "59.0 s"),
        (1_200_000, "20.0 min"),
        (864_000_000, "10.0 d"),
    ],
)
def test_durations(ms: float | None, text: str) -> None:
    """Durations are shown in the unit that people would use."""
    assert duration_ms(ms) == text

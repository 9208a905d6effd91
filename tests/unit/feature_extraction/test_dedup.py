from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.inner.extraction_state import CHUNK_ENTRIES, ENTRY_BYTES
from services.feature_extraction.dedup import CHUNK_BYTES, DedupWindow, event_mark, find
from tests.unit.feature_extraction.driving import DAY_MS, NOW, new_row


@given(st.lists(st.integers(0, 400), max_size=300))
def test_a_window_is_the_newest_ids_and_nothing_else(ids: list[int]) -> None:
    """Every id among the newest is found with its offset; none is found that was not added or has fallen out."""
    window = DedupWindow(events=64, span_ms=DAY_MS)
    row, sealed = new_row(), b""
    row["t"] = NOW
    added: list[tuple[int, int]] = []
    for offset, number in enumerate(ids):
        mark = event_mark(str(number))
        held = window.offset_of(row, sealed, mark)
        if held is not None:
            assert (number, held) in added
            continue
        assert number not in [one for one, _ in added[-64:]]
        full = window.add(row, mark, NOW, offset)
        added.append((number, offset))
        if full is not None:
            sealed = window.keep(sealed, full)
        assert len(sealed) <= 64 * ENTRY_BYTES
        assert len(row["d"]) < CHUNK_BYTES


def test_an_id_older_than_the_span_is_no_repeat() -> None:
    """Ids may be used again once the user's newest event is far enough past them."""
    window = DedupWindow(events=64, span_ms=DAY_MS)
    row = new_row()
    window.add(row, event_mark("x"), NOW, 7)
    row["t"] = NOW + DAY_MS
    assert window.offset_of(row, b"", event_mark("x")) == 7
    row["t"] = NOW + DAY_MS + 2000
    assert window.offset_of(row, b"", event_mark("x")) is None


def test_bytes_across_two_entries_are_no_entry() -> None:
    """A mark that happens to lie across two entries is not found."""
    mark = b"ABCDEFGH"
    window = b"\x00" * 12 + mark + b"\x00" * 12
    assert find(window, mark) == -1
    assert find(window + mark + b"\x00" * 8, mark) == 32


@pytest.mark.parametrize(("events", "chunks"), [(16, 1), (17, 2), (128, 8)])
def test_the_bound_is_rounded_up_to_chunks(events: int, chunks: int) -> None:
    """At least as many ids are remembered as were asked for."""
    assert DedupWindow(events, DAY_MS).chunks == chunks


def test_restore_takes_the_newest_chunks_without_a_gap() -> None:
    """Chunks newer than the row, older than the ring or behind a missing one are left out."""
    window = DedupWindow(events=3 * CHUNK_ENTRIES, span_ms=DAY_MS)
    chunks = {number: bytes([number]) for number in (1, 2, 3, 4, 5)}
    assert window.restore(chunks, sealed=5) == b"\x02\x03\x04"
    del chunks[3]
    assert window.restore(chunks, sealed=5) == b"\x04"
    assert window.restore({}, sealed=5) == b""
    assert window.restore({0: b"\x00"}, sealed=1) == b"\x00"


def test_a_window_knows_which_offsets_it_accepted() -> None:
    """An offset is accepted, not accepted, or older than what the window can tell."""
    window = DedupWindow(events=16, span_ms=DAY_MS)
    row = new_row()
    assert window.accepted(row, b"", 10) is None
    window.add(row, event_mark("x"), NOW, 10)
    window.add(row, event_mark("y"), NOW, 12)
    assert window.accepted(row, b"", 10) is True
    assert window.accepted(row, b"", 11) is False
    assert window.accepted(row, b"", 9) is None

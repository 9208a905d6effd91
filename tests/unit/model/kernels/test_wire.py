from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.kernels import wire

MARGIN = bytes(wire.LONGEST_NUMBER)
NUMBERS = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.builds(
        lambda bits, off: max(-(1 << 63), min((1 << 63) - 1, off + (1 << bits))), st.integers(0, 63), st.integers(-2, 2)
    ),
    st.builds(lambda bits, off: off - (1 << bits), st.integers(0, 62), st.integers(-2, 2)),
)
SIZES = st.one_of(st.integers(0, 40), st.sampled_from([255, 256, 65535, 65536, 70000]))


def buffer(value: bytes) -> Any:
    """Bytes as kernels read them."""
    return np.frombuffer(value + MARGIN, np.uint8)


def written(put: Callable[..., int], *args: Any, room: int = 80_000) -> bytes:
    """What a kernel writes."""
    out = np.zeros(room, np.uint8)
    return out[: put(out, 0, *args)].tobytes()


@given(NUMBERS)
def test_numbers_are_the_librarys(number: int) -> None:
    """Integers are written in the shortest form and read back, wherever a form ends."""
    packed = msgpack.packb(number)
    assert written(wire.put_int, number) == packed
    assert wire.get_int(buffer(packed), 0) == (number, len(packed))
    assert wire.get_int(buffer(packed), -1)[1] == -1


@given(st.integers(0, (1 << 64) - 1))
def test_hashes_are_the_librarys(number: int) -> None:
    """Unsigned numbers of 64 bits are written as the library does; read as int64 they are refused, not bent."""
    packed = msgpack.packb(number)
    assert written(wire.put_unsigned, np.uint64(number)) == packed
    assert (wire.get_int(buffer(packed), 0)[1] == -1) == (number >= 1 << 63)


@given(st.floats(allow_nan=False))
def test_floats_are_the_librarys(number: float) -> None:
    """Floats keep their bits."""
    packed = msgpack.packb(number)
    assert written(wire.put_double, number) == packed
    assert wire.get_double(buffer(packed), 0) == (number, 9)
    assert wire.get_double(buffer(msgpack.packb(1)), 0)[1] == -1


@given(SIZES, st.binary(max_size=3))
def test_texts_bytes_and_lists_are_the_librarys(size: int, start: bytes) -> None:
    """Heads are written in the shortest form and read back; what reaches past its end is refused."""
    raw = (start + b"x" * size)[:size]
    text, lump = msgpack.packb("t" * size), msgpack.packb(raw)
    assert written(wire.put_text, buffer(b"t" * size), 0, size) == text
    assert written(wire.put_binary, size) + raw == lump
    assert written(wire.put_array, size) == msgpack.packb([0] * size)[: -size or None]
    assert wire.get_text(buffer(text), 0, len(text)) == (size, len(text) - size)
    assert wire.get_bytes(buffer(lump), 0, len(lump)) == (size, len(lump) - size)
    assert wire.get_array(buffer(msgpack.packb([0] * size)), 0)[0] == size
    if size:
        assert wire.get_text(buffer(text), 0, len(text) - 1)[1] == -1
    for get in (wire.get_text, wire.get_bytes):
        assert get(buffer(msgpack.packb(1.5)), 0, 9)[1] == -1
    assert wire.get_array(buffer(text), 0)[1] == -1


@pytest.mark.parametrize("piece", [0, 1])
def test_pieces_are_what_always_stands_there(piece: int) -> None:
    """A piece is written whole, and read only where exactly it stands."""
    pieces, ends = np.frombuffer(b"abcde", np.uint8), np.array([2, 5])
    wanted = (b"ab", b"cde")[piece]
    assert written(wire.put_piece, pieces, ends, piece) == wanted
    assert wire.get_piece(buffer(b"." + wanted), 1, 9, pieces, ends, piece) == 1 + len(wanted)
    assert wire.get_piece(buffer(b"." + wanted), 1, len(wanted), pieces, ends, piece) == -1
    assert wire.get_piece(buffer(b"." + wanted[:-1]), 1, 9, pieces, ends, piece) == -1
    assert written(wire.put_bytes, buffer(wanted), 1, len(wanted) - 1) == wanted[1:]


@given(st.integers(0, (1 << 32) - 1))
def test_words_are_little_endian(word: int) -> None:
    """Packed features travel little-endian, numbers of msgpack big-endian."""
    assert written(wire.put_word, np.uint32(word)) == word.to_bytes(4, "little")
    assert written(wire.put_big, np.uint64(word), 4) == word.to_bytes(4, "big")

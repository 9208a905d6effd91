"""Hashes of any bytes, wherever they lie, are those of the standard library."""

from __future__ import annotations

import zlib
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.kernels.hashing import WORK, blake2b_64, crc32, hash_ids

SURROUNDED = st.tuples(st.binary(max_size=3), st.binary(max_size=600), st.binary(max_size=3))
dirty = np.full(WORK, 2**64 - 1, np.uint64)
"""Work that held something before."""


def assert_blake2b(before: bytes, data: bytes, behind: bytes) -> None:
    """The digest of bytes that lie between others."""
    wanted = int.from_bytes(blake2b(data, digest_size=8).digest(), "little")
    assert int(blake2b_64(np.frombuffer(before + data + behind, np.uint8), len(before), len(data), dirty)) == wanted


@given(SURROUNDED)
def test_blake2b_is_that_of_hashlib(parts: tuple[bytes, bytes, bytes]) -> None:
    """A digest of eight bytes, as a little-endian number."""
    assert_blake2b(*parts)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 63, 64, 120, 127, 128, 129, 255, 256, 257, 384, 1024, 5000])
def test_blake2b_at_the_ends_of_blocks(size: int) -> None:
    """Nothing, full words and blocks, and a byte more or less."""
    assert_blake2b(b"\xff", bytes(at * 37 % 256 for at in range(size)), b"\xff")


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_ids_are_hashed_one_by_one(ids: list[bytes]) -> None:
    """Every id has the hash of its own bytes, wherever it lies among the others."""
    ends, out = np.cumsum([len(each) for each in ids], dtype=np.int64), np.zeros(len(ids), np.uint64)
    hash_ids(np.frombuffer(b"".join([*ids, b"\xff"]), np.uint8), ends, dirty, out)
    assert out.tolist() == [int.from_bytes(blake2b(each, digest_size=8).digest(), "little") or 1 for each in ids]


@given(SURROUNDED)
def test_crc_is_that_of_zlib(parts: tuple[bytes, bytes, bytes]) -> None:
    """The remainder as a number that is not negative."""
    before, data, behind = parts
    assert crc32(np.frombuffer(before + data + behind, np.uint8), len(before), len(data)) == zlib.crc32(data)

"""The hashes that keys and marks are made of, as kernels: bit for bit those of hashlib and zlib."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.model.arrays import I64, U8, U64
from services.model.jit import inline, kernel
from services.model.kernels.wire import get_eight

WORK = 24
"""Words of the array that BLAKE2b works in: the 16 of a block, the 8 of the state."""
_STATE = 16
_BLOCK = 128
"""Bytes of a block."""
_DIGEST = 8
"""Bytes of a digest."""

_SQUARE_ROOTS = (
    *(0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1),
    *(0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179),
)
_IV = np.array(_SQUARE_ROOTS, np.uint64)
"""IV of RFC 7693, section 2.6."""
_FIRST = np.uint64(_SQUARE_ROOTS[0] ^ 0x0101_0000 ^ _DIGEST)
"""The first word of the state: the parameters are no key, no tree, and the length of the digest."""
_ROUNDS = (
    *((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)),
    *((11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4), (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8)),
    *((9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13), (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9)),
    *((12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11), (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10)),
    *((6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5), (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0)),
)
_SIGMA = np.array([*_ROUNDS, *_ROUNDS[:2]], np.uint8)
"""uint8[12, 16] SIGMA of RFC 7693, section 2.7: which words each round takes. Unsigned, so that an index is not tested
for being negative."""


def _crc_of(byte: int) -> int:
    rest = byte
    for _ in range(8):
        rest = rest >> 1 ^ (0xEDB88320 if rest & 1 else 0)
    return rest


_CRC = np.array([_crc_of(byte) for byte in range(256)], np.uint32)
"""The remainders of single bytes by the polynomial of zlib, bits reversed."""


@inline
def _mix(a: Any, b: Any, c: Any, d: Any, x: Any, y: Any) -> Any:
    """G of RFC 7693, section 3.1, on uint64."""
    a = a + b + x
    d ^= a
    d = d >> np.uint64(32) | d << np.uint64(32)
    c += d
    b ^= c
    b = b >> np.uint64(24) | b << np.uint64(40)
    a = a + b + y
    d ^= a
    d = d >> np.uint64(16) | d << np.uint64(48)
    c += d
    b ^= c
    b = b >> np.uint64(63) | b << np.uint64(1)
    return a, b, c, d


@kernel
def _load(buffer: U8, start: int, size: int, work: U64) -> None:
    """Read a block of at most 128 bytes as words, least byte first; zeros behind them."""
    whole = size // 8
    for i in range(whole):
        work[i] = get_eight(buffer, start + 8 * i)
    for i in range(whole, 16):
        work[i] = np.uint64(0)
    for j in range(8 * whole, size):
        work[whole] |= np.uint64(buffer[start + j]) << np.uint64(8 * (j - 8 * whole))


@kernel
def _compress(work: U64, done: int, last: bool) -> None:
    """F of RFC 7693, section 3.2: the block into the state.

    Args:
        work: uint64[24], see `WORK`.
        done: bytes up to the end of the block.
        last: whether it is the last block.
    """
    v0, v1, v2, v3 = work[16], work[17], work[18], work[19]
    v4, v5, v6, v7 = work[20], work[21], work[22], work[23]
    v8, v9, v10, v11 = _IV[0], _IV[1], _IV[2], _IV[3]
    v12, v13, v14, v15 = _IV[4] ^ np.uint64(done), _IV[5], _IV[6], _IV[7]
    if last:
        v14 = ~v14
    for i in range(12):
        s = _SIGMA[i]
        v0, v4, v8, v12 = _mix(v0, v4, v8, v12, work[s[0]], work[s[1]])
        v1, v5, v9, v13 = _mix(v1, v5, v9, v13, work[s[2]], work[s[3]])
        v2, v6, v10, v14 = _mix(v2, v6, v10, v14, work[s[4]], work[s[5]])
        v3, v7, v11, v15 = _mix(v3, v7, v11, v15, work[s[6]], work[s[7]])
        v0, v5, v10, v15 = _mix(v0, v5, v10, v15, work[s[8]], work[s[9]])
        v1, v6, v11, v12 = _mix(v1, v6, v11, v12, work[s[10]], work[s[11]])
        v2, v7, v8, v13 = _mix(v2, v7, v8, v13, work[s[12]], work[s[13]])
        v3, v4, v9, v14 = _mix(v3, v4, v9, v14, work[s[14]], work[s[15]])
    work[16] ^= v0 ^ v8
    work[17] ^= v1 ^ v9
    work[18] ^= v2 ^ v10
    work[19] ^= v3 ^ v11
    work[20] ^= v4 ^ v12
    work[21] ^= v5 ^ v13
    work[22] ^= v6 ^ v14
    work[23] ^= v7 ^ v15


@kernel
def blake2b_64(buffer: U8, start: int, length: int, work: U64) -> np.uint64:
    """BLAKE2b with a digest of 8 bytes and no key (RFC 7693), as the number whose little-endian bytes the digest is.

    Args:
        buffer: uint8[size]
        start: where the hashed bytes begin.
        length: how many they are.
        work: uint64[24 or more], overwritten.
    """
    work[_STATE] = _FIRST
    for i in range(1, 8):
        work[_STATE + i] = _IV[i]
    done = 0
    # Nothing at all is a block, too; what fills a block to its end is the last one.
    while True:
        size = min(length - done, _BLOCK)
        _load(buffer, start + done, size, work)
        done += size
        _compress(work, done, done == length)
        if done == length:
            return np.uint64(work[_STATE])


@kernel
def hash_ids(buffer: U8, ends: I64, work: U64, out: U64) -> None:
    """The hashes of ids under which an index keeps them: those of BLAKE2b, with 1 for 0, which marks an empty place.

    Args:
        buffer: n ids end to end.
        ends: int64[n] where each ends.
        work: uint64[24], see `WORK`.
        out: uint64[n] receives the hashes.
    """
    start = 0
    for i in range(len(ends)):
        out[i] = max(blake2b_64(buffer, start, ends[i] - start, work), np.uint64(1))
        start = ends[i]


@kernel
def crc32(buffer: U8, start: int, length: int) -> np.int64:
    """CRC-32 as zlib has it, int64 from 0 to 2^32 - 1.

    Args:
        buffer: uint8[size]
        start: where the bytes begin.
        length: how many they are.
    """
    rest = np.uint32(0xFFFFFFFF)
    for at in range(start, start + length):
        rest = _CRC[np.uint8(rest ^ np.uint32(buffer[at]))] ^ rest >> np.uint32(8)
    return np.int64(~rest & np.uint32(0xFFFFFFFF))

"""Ids in arenas: the bytes as 32-bit words, the last of which is the length in bytes."""

from __future__ import annotations

import numpy as np

from services.model.arrays import U32


def key_words(key: bytes) -> U32:
    """uint32[k] words of an id.

    >>> words_key(key_words(b"matrix"))
    b'matrix'
    """
    return np.frombuffer(key + b"\0" * (-len(key) % 4) + len(key).to_bytes(4, "little"), np.uint32)


def words_key(words: U32) -> bytes:
    """The inverse of `key_words`."""
    return words[:-1].tobytes()[: int(words[-1])]

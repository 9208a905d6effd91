"""Texts in the joined bytes of a batch."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from services.model.texts import distinct, is_text

EDGES = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0]


def decodes(text: bytes) -> bool:
    """Whether Python takes bytes for UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_text_is_what_python_decodes() -> None:
    """Two bytes and the edges of longer sequences, also cut off, with bytes of others around them."""
    texts = [bytes([first, second]) for first in range(256) for second in EDGES]
    texts += [bytes([first, second, end]) for first in range(0xDF, 256) for second in EDGES for end in EDGES]
    texts += [bytes([first, second, 0x80, end]) for first in range(0xEF, 0xF6) for second in EDGES for end in EDGES]
    texts += [b"", b"plain", "Ünal 用户 🎬".encode(), "🎬".encode()[:3]]
    for text in texts:
        buffer = np.frombuffer(b"\xc3" + text + b"\xbf", np.uint8)
        assert is_text(buffer, 1, 1 + len(text)) == decodes(text), text


@given(st.lists(st.none() | st.binary(max_size=3) | st.sampled_from([b"user-1", b"user-2"]), max_size=40))
@example([])
@example([None, b"", None, b""])
def test_equal_texts_have_one_number(texts: list[bytes | None]) -> None:
    """Numbers are those of a dict that is filled in order; null is no text."""
    length = np.array([-1 if text is None else len(text) for text in texts], np.int64)
    start = np.cumsum(np.maximum(length, 0)) - np.maximum(length, 0)
    first, which = distinct(b"".join(text or b"" for text in texts), start, length)
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    assert [texts[row] for row in first.tolist()] == list(numbers)
    assert first.tolist() == [texts.index(text) for text in numbers]
    assert which.tolist() == [numbers[text] for text in texts]

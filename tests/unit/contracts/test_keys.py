"""Keys: the same partitions as Kafka's clients, stable identities, content features of known form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts import keys

VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""From the tests of the Java client (Utils.murmur2), as signed 32-bit numbers."""

FILM: Any = {
    "item_id": "film-7",
    "title": "The Third Man (1949), the third",
    "categories": ["Thriller", "Film noir", " Thriller "],
    "year": 1949,
}


@pytest.mark.parametrize(("key", "expected"), VECTORS.items())
def test_murmur2_is_that_of_the_java_client(key: bytes, expected: int) -> None:
    """A key lands in the partition where the Java client would put it."""
    assert keys.murmur2(key) == expected & 0xFFFFFFFF
    assert keys.partition_of(key, 7) == (expected & 0x7FFFFFFF) % 7


def _as_the_java_client_does(data: bytes) -> int:
    m, h = 0x5BD1E995, 0x9747B28C ^ len(data)
    for i in range(len(data) // 4):
        k = sum(data[4 * i + j] << 8 * j for j in range(4))
        k = k * m & 0xFFFFFFFF
        k ^= k >> 24
        k = k * m & 0xFFFFFFFF
        h = (h * m & 0xFFFFFFFF) ^ k
    base, rest = len(data) & ~3, len(data) % 4
    if rest == 3:
        h ^= data[base + 2] << 16
    if rest >= 2:
        h ^= data[base + 1] << 8
    if rest >= 1:
        h ^= data[base]
        h = h * m & 0xFFFFFFFF
    h ^= h >> 13
    h = h * m & 0xFFFFFFFF
    return h ^ h >> 15


@given(key=st.binary(max_size=50))
def test_murmur2_follows_its_definition(key: bytes) -> None:
    """The fast form equals the byte-by-byte one for keys of every length."""
    assert keys.murmur2(key) == _as_the_java_client_does(key)


@given(many=st.lists(st.binary(max_size=40) | st.binary(min_size=120, max_size=140), max_size=30))
def test_many_keys_at_once(many: list[bytes]) -> None:
    """The vectorised form equals the single one, for empty, long and zero-ended keys too."""
    assert keys.partitions_of(many, 5).tolist() == [keys.partition_of(key, 5) for key in many]
    assert keys.partitions_of(many, 5).dtype == np.int32


def test_zero_bytes_at_the_end_count() -> None:
    """Padding is not mistaken for a key's own zeros."""
    many = [b"", b"\x00", b"\x00\x00", b"a", b"a\x00", b"abcd", b"abcd\x00", b"abcdefg\x00"]
    assert keys.murmur2_many(many).tolist() == [keys.murmur2(key) for key in many]
    assert len(set(keys.murmur2_many(many).tolist())) == len(many)


def test_item_hash_never_changes() -> None:
    """Hashes stand in every stored row: these values may never be others."""
    assert keys.item_hash("film-7") == 0x514A36B6BA863F3B
    assert keys.item_hash("") == 0xB4B2797457A0A6E4


@given(ids=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=20))
def test_item_hash_is_64_bits_and_not_zero(ids: list[str]) -> None:
    """Every id has a hash in [1, 2^64), equal to that of its vectorised form."""
    hashes = keys.item_hashes(ids)
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == [keys.item_hash(item) for item in ids]
    assert all(0 < value < 1 << 64 for value in hashes.tolist())


def test_content_features_of_a_film() -> None:
    """Categories, their set, year, decade and title words, each once and in that order."""
    features = keys.content_features(FILM)
    kinds = [keys.feature_kind(feature) for feature in features]
    assert kinds == [1, 1, 2, 3, 4, 5, 5, 5]
    assert features[0] == keys.category_feature("Thriller")
    assert features[3:5] == [3 << 28 | 1949, 4 << 28 | 1940]
    assert keys.feature_value(features[4]) == 1940
    assert features[5:] == [keys.text_feature(keys.KIND_TITLE_TOKEN, word) for word in ("third", "man", "1949")]


def test_content_features_never_change() -> None:
    """Feature hashes are keys of learned embeddings: these values may never be others."""
    assert keys.content_features({"title": "Vertigo", "categories": ["Drama"], "year": None}) == [
        0x112EBBC5,
        0x212EBBC5,
        0x5B753E8A,
    ]


def test_order_of_categories_does_not_matter_for_their_set() -> None:
    """The same categories in another order are the same set."""
    item = {"title": "", "categories": ["b", "a"], "year": None}
    other = {"title": "", "categories": ["a", "b", "a"], "year": None}
    assert set(keys.content_features(item)) == set(keys.content_features(other))


def test_item_without_content_has_no_features() -> None:
    """An item of which only the id is known has no features, and a blank category is none."""
    assert keys.content_features({"title": "", "categories": ["", " "], "year": None}) == []


def test_features_are_bounded() -> None:
    """An item with an endless title or category list costs no more than the stated number of features."""
    item = {"title": " ".join(f"word{i}" for i in range(999)), "categories": [f"c{i}" for i in range(999)], "year": 1}
    features = keys.content_features(item)
    assert len(features) <= keys.MAX_CATEGORIES + 1 + 2 + keys.MAX_TITLE_TOKENS
    assert all(0 < feature < 1 << 32 for feature in features)


@given(title=st.text(max_size=60), names=st.lists(st.text(max_size=8), max_size=5), year=st.none() | st.integers())
def test_any_item_has_features(title: str, names: list[str], year: int | None) -> None:
    """No title, category or year makes the features fail; all are distinct uint32 of a known kind."""
    title, names = title.encode(errors="ignore").decode(), [name.encode(errors="ignore").decode() for name in names]
    features = keys.content_features({"title": title, "categories": names, "year": year})
    assert len(set(features)) == len(features)
    assert all(1 <= keys.feature_kind(feature) <= 5 and feature < 1 << 32 for feature in features)


@pytest.mark.parametrize(
    ("title", "tokens"),
    [
        ("The Lord of the Rings", ["lord", "rings"]),
        ("Amélie: LE fabuleux_destin", ["amélie", "fabuleux", "destin"]),
        ("8½ (1963)", ["8½", "1963"]),
        ("the of a", []),
    ],
)
def test_title_tokens(title: str, tokens: list[str]) -> None:
    """Words are lower-case, cut at what is not a letter or digit, without stop words."""
    assert keys.title_tokens(title) == tokens


def test_keys_are_utf8() -> None:
    """Keys of users and items are their ids in UTF-8."""
    assert (keys.user_key("zoë"), keys.item_key("é")) == ("zoë".encode(), "é".encode())

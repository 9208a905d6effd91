from __future__ import annotations

from services.contracts.inner.features import unpack_features
from services.contracts.keys import category_feature, content_features
from services.feature_extraction.items import ItemTable
from tests.unit.feature_extraction.driving import item


def test_content_is_what_the_contract_hashes() -> None:
    """An item's features are the contract's, with the categories apart."""
    table = ItemTable()
    record = {**item("a", "Drama", "Crime"), "title": "The Third Man", "year": 1949}
    table.put("a", record)
    packed, categories = table.content("a")
    assert unpack_features(packed) == content_features(record)
    assert categories == [category_feature("Drama"), category_feature("Crime")]


def test_an_item_without_metadata_has_no_features() -> None:
    """An unknown or deleted item has neither features nor categories."""
    table = ItemTable()
    assert table.content("a") == (b"", [])
    table.put("a", item("a", "Drama"))
    assert len(table) == 1
    table.put("a", None)
    table.put("b", None)
    assert table.content("a") == (b"", [])
    assert len(table) == 0

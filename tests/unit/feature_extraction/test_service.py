from __future__ import annotations

import json

import pytest

from services.contracts.edge import codec_for
from services.contracts.inner.weights import WEIGHTS_KEY
from services.feature_extraction.service import decoders, processors
from services.feature_extraction.settings import ExtractionSettings
from services.recommendation_publishing.service import processors as publishing
from services.recommendation_publishing.settings import PublishingSettings
from services.runtime.processor import Decoder
from services.runtime.testing import Driver, Logs


@pytest.fixture
def reads() -> dict[str, Decoder]:
    """The service's decoders."""
    return decoders(ExtractionSettings())


def test_inputs_keep_their_bytes(reads: dict[str, Decoder]) -> None:
    """Interactions and erasure requests come with the bytes that they are written again with."""
    value = json.dumps({"user_id": "ann", "item_id": "a"}).encode()
    assert reads["interactions"](None, value, ()) == value
    request, raw = reads["erasure-requests"](None, b'{"user_id": "ann"}', ())
    assert (request["user_id"], raw) == ("ann", b'{"user_id": "ann"}')


def test_items_and_control_records_are_told_apart(reads: dict[str, Decoder]) -> None:
    """The key tells an item in the items topic from a weight table; other reserved keys are refused."""
    assert reads["items"](b"a", b'{"item_id": "a"}', ())["item_id"] == "a"
    assert reads["items"](WEIGHTS_KEY, b'{"view": 0.5}', ()) == {"view": 0.5}
    for key in (b"\x00other", b"", None):
        with pytest.raises(ValueError, match=r"reserved|no key"):
            reads["items"](key, b'{"item_id": "a"}', ())


@pytest.mark.parametrize("topic", ["items", "recommendations", "extraction-state"])
def test_a_key_that_is_no_text_is_called_a_key(reads: dict[str, Decoder], topic: str) -> None:
    """The reason in the dead letter says that it is the key that cannot be read, and shows it."""
    with pytest.raises(ValueError, match=r"the record's key is not UTF-8: b'\\xffab'"):
        reads[topic](b"\xffab", b'{"item_id": "a"}', ())


def test_an_item_under_a_foreign_key_is_refused(reads: dict[str, Decoder]) -> None:
    """An item that would replace another one in the compacted topic is a dead letter, here and in publishing."""
    published = publishing(PublishingSettings(), "x")[0].decoders["items"]
    for decode in (reads["items"], published):
        with pytest.raises(ValueError, match="'b' stands under the key b'a'"):
            decode(b"a", b'{"item_id": "b"}', ())


def test_lists_are_not_read_in_vain() -> None:
    """Lists stay as they came; without attribution, nothing of them is looked at. A key they must have."""
    served = decoders(ExtractionSettings(attribution_lists=0))["recommendations"]
    assert served(b"ann", b"anything", ()) is None
    served = decoders(ExtractionSettings())["recommendations"]
    assert served(b"ann", b"anything", ()) == b"anything"
    for key in (None, b"", b"\xff"):
        with pytest.raises(ValueError, match=r"no key|not UTF-8"):
            served(key, b"anything", ())


def test_the_service_runs_in_the_test_driver() -> None:
    """From bytes to bytes: an item, an Avro and a JSON event, poison, a crash, and the same again."""
    settings = ExtractionSettings(user_partitions=2)
    logs = Logs({"interactions": 2, "features": 2, "extraction-state": 2, "recommendations": 2})
    logs.append("items", b"a", b'{"item_id": "a", "categories": ["Drama"]}')
    codec = codec_for("interactions")
    logs.append(
        "interactions", b"ann", codec.encode(codec.complete({"user_id": "ann", "item_id": "a", "event_id": "1"}))
    )
    logs.append("interactions", b"ann", b"poison")
    for value in (b'{"list_id": "1", "user_id": "ann", "items": [], "published_at": 1, "why": "event"}', b"poison"):
        logs.append("recommendations", b"ann", value)
    driver = Driver(processors(settings, "x")[0], logs)
    driver.open(0, 1)
    first = driver.step()
    assert len(first.to("features")) == 2
    assert [(bad.topic, bad.offset, bad.exception) for bad in first.dead] == [
        ("recommendations", 1, "EdgeRecordError"),
        ("interactions", 1, "EdgeRecordError"),
    ]
    driver.crash(processors(settings, "x")[0])
    logs.append("interactions", b"ann", b'{"user_id": "ann", "item_id": "a", "event_id": "1"}')
    logs.append("interactions", b"ann", b'{"user_id": "ann", "item_id": "a", "event_id": "2"}')
    again = driver.step()
    assert len(again.to("features")) == 2
    assert "append_age_seconds" in again.observations

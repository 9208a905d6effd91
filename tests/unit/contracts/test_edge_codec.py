"""Edge codecs: three encodings, told apart per record, and errors that name the field."""

from __future__ import annotations

import json
from copy import deepcopy
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts import topics
from services.contracts.edge import (
    EdgeCodec,
    EdgeRecordError,
    InteractionEvent,
    Item,
    RecommendationRequest,
    RegistryError,
    codec_for,
    schemas,
)
from tests.unit.contracts.made_records import records

EDGE_TOPICS = [line.name for line in topics.TOPICS if line.format == "edge"]
every_topic = pytest.mark.parametrize("topic", EDGE_TOPICS)

EVENT: InteractionEvent = {
    "event_id": "e1",
    "user_id": "ana",
    "item_id": "film-7",
    "type": "rating",
    "value": 4.0,
    "event_time": 1_380_000_000_000,
    "session_id": None,
    "context": {"device": "phone"},
    "list_id": None,
}


class MemoryRegistry:
    """A registry in memory that counts what it is asked."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self.asked = 0

    def id_of(self, subject: str, schema: str) -> int:
        """Register under the next id."""
        self.asked += 1
        for schema_id, text in self.texts.items():
            if text == schema:
                return schema_id
        self.texts[len(self.texts) + 1] = schema
        return len(self.texts)

    def schema_of(self, schema_id: int) -> str:
        """Look up by id."""
        self.asked += 1
        return self.texts[schema_id]


class SilentRegistry:
    """A registry that does not answer."""

    def id_of(self, subject: str, schema: str) -> int:
        """Fail."""
        raise RegistryError("no answer")

    def schema_of(self, schema_id: int) -> str:
        """Fail."""
        raise RegistryError("no answer")


def _record_of(topic: str) -> Any:
    return schemas.current(topics.topic(topic).value).raw


@every_topic
@given(data=st.data())
def test_single_object_round_trip(topic: str, data: st.DataObject) -> None:
    """Without a registry a record comes back as it was, and says what schema it is of."""
    codec = codec_for(topic)
    record = data.draw(records(_record_of(topic)))
    value = codec.encode(record)
    assert value[:2] == b"\xc3\x01"
    assert value[2:10] == schemas.current(topics.topic(topic).value).fingerprint
    assert codec.decode(value) == record


@every_topic
@given(data=st.data())
def test_confluent_round_trip(topic: str, data: st.DataObject) -> None:
    """With a registry a record comes back as it was, framed with the schema's id."""
    registry = MemoryRegistry()
    codec = codec_for(topic, registry, "p.")
    record = data.draw(records(_record_of(topic)))
    value = codec.encode(record)
    assert value[:5] == b"\x00\x00\x00\x00\x01"
    assert codec.decode(value) == record
    assert codec_for(topic, registry).decode(value) == record


@every_topic
@given(data=st.data())
def test_json_round_trip(topic: str, data: st.DataObject) -> None:
    """A record written as JSON is the same record."""
    codec = codec_for(topic)
    record = data.draw(records(_record_of(topic)))
    assert codec.decode(json.dumps(record).encode()) == record
    assert codec.decode(json.dumps(record, ensure_ascii=False).encode()) == record


@every_topic
@given(data=st.data())
def test_json_with_defaults_left_out(topic: str, data: st.DataObject) -> None:
    """Any subset of the fields that have defaults may be missing or null; the result is complete."""
    codec = codec_for(topic)
    raw = _record_of(topic)
    record = data.draw(records(raw))
    optional = [field for field in raw["fields"] if "default" in field]
    dropped = data.draw(st.lists(st.sampled_from(optional), unique_by=lambda field: str(field["name"])))
    expected = {**record, **{field["name"]: field["default"] for field in dropped}}
    missing = {name: value for name, value in record.items() if name not in {field["name"] for field in dropped}}
    nulled = {**record, **{field["name"]: None for field in dropped}}
    assert codec.decode(json.dumps(missing).encode()) == expected
    assert codec.decode(json.dumps(nulled).encode()) == expected


def test_defaults_are_not_shared() -> None:
    """Two records that took the same default do not share one mutable value."""
    codec = EdgeCodec(Item)
    first, second = codec.complete({"item_id": "a"}), codec.complete({"item_id": "b"})
    first["categories"].append("x")
    assert second["categories"] == []


def test_one_codec_reads_all_encodings() -> None:
    """One topic may hold all three encodings; each record is detected by itself."""
    registry = MemoryRegistry()
    framed = EdgeCodec(InteractionEvent, registry, "interactions-value")
    values = [framed.encode(EVENT), EdgeCodec(InteractionEvent).encode(EVENT), json.dumps(EVENT).encode()]
    assert [framed.decode(value) for value in values] == [EVENT] * 3


def test_registry_is_asked_once() -> None:
    """Ids and schemas are asked of the registry once, not per record."""
    registry = MemoryRegistry()
    codec = EdgeCodec(InteractionEvent, registry, "interactions-value")
    for _ in range(5):
        codec.decode(codec.encode(EVENT))
    assert registry.asked == 2


def test_headers_of_the_current_schema_become_known() -> None:
    """The single-object header from the start, a registered one once a record has it; those of other schemas never."""
    registry = MemoryRegistry()
    framed = EdgeCodec(InteractionEvent, registry, "interactions-value")
    value, plain = framed.encode(EVENT), EdgeCodec(InteractionEvent)
    own = deepcopy(schemas.current("InteractionEvent").raw)
    del own["fields"][-1]
    registry.texts[2] = json.dumps(own)
    assert framed.current_headers() == plain.current_headers() == [plain.header()]
    for _ in range(2):
        framed.decode(value)
        framed.decode(b"\x00\x00\x00\x00\x02" + plain.encode(EVENT)[10:-1])
    assert framed.current_headers() == [plain.header(), framed.header()]


def test_minimal_json_event() -> None:
    """A user and an item are enough for an event."""
    event = EdgeCodec(InteractionEvent).decode(b'{"user_id": "ana", "item_id": "film-7"}')
    assert (event["type"], event["value"], event["event_time"], event["context"]) == ("view", None, None, {})


def test_whole_numbers_are_doubles_and_the_reverse() -> None:
    """People write 4 for 4.0, and programs 1380000000000.0 for a time."""
    codec = EdgeCodec(InteractionEvent)
    event = codec.decode(b'{"user_id": "u", "item_id": "i", "value": 4, "event_time": 1380000000000.0}')
    assert (event["value"], type(event["value"])) == (4.0, float)
    assert (event["event_time"], type(event["event_time"])) == (1_380_000_000_000, int)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"item_id": "i"}', "InteractionEvent.user_id: is missing and has no default"),
        ('{"user_id": null, "item_id": "i"}', "InteractionEvent.user_id: is null, but a value is required"),
        ('{"user_id": 42, "item_id": "i"}', "user_id: expected a string, got number 42; write it in quotes"),
        ('{"user_id": "", "item_id": "i"}', "user_id: is empty"),
        ('{"user_id": "\\u0000batch", "item_id": "i"}', "user_id: holds a NUL character"),
        ('{"user_id": "\\ud800", "item_id": "i"}', "user_id: not valid Unicode"),
        ('{"user_id": "u", "item_id": "i", "value": "4"}', "value: expected a number, got string '4'"),
        ('{"user_id": "u", "item_id": "i", "value": true}', "value: expected a number, got boolean True"),
        ('{"user_id": "u", "item_id": "i", "value": NaN}', "NaN is not a JSON number"),
        ('{"user_id": "u", "item_id": "i", "value": 1e999}', "value: expected a finite number"),
        ('{"user_id": "u", "item_id": "i", "event_time": 1.5}', "event_time: expected a whole number"),
        ('{"user_id": "u", "item_id": "i", "event_time": 1e30}', "event_time: 10000"),
        ('{"user_id": "u", "item_id": "i", "context": {"a": 1}}', "context['a']: expected a string, got number 1"),
        ('{"user_id": "u", "item_id": "i", "context": []}', "context: expected an object, got array []"),
        ('{"user_id": "u", "item_id": "i", "eventTime": 1}', "eventTime: unknown field; did you mean 'event_time'?"),
        ('{"user_id": "u", "item_id": "i", "type": ""}', "type: is empty"),
        ('{"user_id": "u", "item_id": "i"', "not valid JSON"),
        ('{"user_id": "u", "item_id": "i"} x', "not valid JSON"),
        ("[1]", "unknown encoding: starts with 5b 31 5d"),
        ("", "unknown encoding: starts with nothing"),
    ],
)
def test_json_errors_name_the_field(text: str, message: str) -> None:
    """A wrong record gets an error that a person can act on."""
    with pytest.raises(EdgeRecordError) as caught:
        EdgeCodec(InteractionEvent).decode(text.encode())
    assert message in str(caught.value)


def test_nested_errors_have_a_path() -> None:
    """The error of a list inside a record says which entry is wrong."""
    with pytest.raises(EdgeRecordError, match=r"^Item\.categories\[1\]: expected a string, got number 7"):
        EdgeCodec(Item).decode(b'{"item_id": "i", "categories": ["a", 7]}')
    lists = codec_for("recommendations")
    with pytest.raises(EdgeRecordError) as caught:
        lists.complete({"list_id": "l", "user_id": "u", "published_at": 1, "why": "event", "items": [{"item_id": "i"}]})
    assert (caught.value.record, caught.value.field) == ("RecommendationList", "items[0].score")


def test_unknown_fields_are_ignored() -> None:
    """A newer producer's field does no harm, whichever encoding it uses; a near miss of a given field neither."""
    codec = EdgeCodec(InteractionEvent)
    event = codec.decode(b'{"user_id": "u", "item_id": "i", "item_ids": ["i"], "colour": "red"}')
    assert "colour" not in event


@pytest.mark.parametrize("k", [0, -1, 1001])
def test_list_length_is_bounded(k: int) -> None:
    """A request for no items or a million is refused."""
    with pytest.raises(EdgeRecordError, match="k: must be 1 to 1000"):
        EdgeCodec(RecommendationRequest).complete({"user_id": "u", "k": k})


@pytest.mark.parametrize("user", ["x" * 1025, "é" * 513, "\x00", "a\x00s0000", ""])
def test_ids_that_cannot_be_keys_are_refused_in_avro_too(user: str) -> None:
    """The rules for ids hold for what is written and for what others wrote."""
    codec = EdgeCodec(InteractionEvent)
    with pytest.raises(EdgeRecordError, match=r"InteractionEvent\.user_id"):
        codec.encode({**EVENT, "user_id": user})
    out = BytesIO()
    schema = schemas.current("InteractionEvent")
    fastavro.schemaless_writer(out, schema.parsed, {**EVENT, "user_id": user})
    with pytest.raises(EdgeRecordError, match=r"InteractionEvent\.user_id"):
        codec.decode(b"\xc3\x01" + schema.fingerprint + out.getvalue())


@pytest.mark.parametrize("user", ["x" * 1024, "é" * 512, " ", "ünï/cødé"])
def test_longest_ids_are_accepted(user: str) -> None:
    """Ids of 1024 bytes and of any characters pass."""
    codec = EdgeCodec(InteractionEvent)
    assert codec.decode(codec.encode({**EVENT, "user_id": user}))["user_id"] == user


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    """One NaN would spread through every sum it enters."""
    with pytest.raises(EdgeRecordError, match="value: expected a finite number"):
        EdgeCodec(InteractionEvent).encode({**EVENT, "value": value})


def test_encoding_errors_name_the_field() -> None:
    """A record that Python got wrong is refused with the field, not with the library's message."""
    codec = codec_for("interactions")
    with pytest.raises(EdgeRecordError, match="event_time: expected a whole number, got string 'now'"):
        codec.encode({**EVENT, "event_time": "now"})
    with pytest.raises(EdgeRecordError, match="item_id: is missing"):
        codec.encode({"user_id": "u"})


def test_encoding_fills_defaults() -> None:
    """What has a default may be left out when writing."""
    codec = codec_for("interactions")
    assert codec.decode(codec.encode({"user_id": "u", "item_id": "i"}))["type"] == "view"


@pytest.mark.parametrize("cut", range(1, 40))
def test_truncated_bytes_are_refused(cut: int) -> None:
    """No prefix of a record is taken for a record."""
    value = EdgeCodec(InteractionEvent).encode(EVENT)
    with pytest.raises(EdgeRecordError):
        EdgeCodec(InteractionEvent).decode(value[:-cut])


def test_trailing_bytes_are_refused() -> None:
    """Bytes after a record are damage, not padding."""
    value = EdgeCodec(InteractionEvent).encode(EVENT)
    with pytest.raises(EdgeRecordError, match="bytes follow"):
        EdgeCodec(InteractionEvent).decode(value + b"\x00")


@every_topic
@given(body=st.binary(max_size=60))
def test_any_bytes_give_a_record_or_a_clear_error(topic: str, body: bytes) -> None:
    """Whatever is in a topic, decoding it either works or raises EdgeRecordError, nothing else."""
    registry = MemoryRegistry()
    codec = codec_for(topic, registry)
    codec.encode(_smallest(topic))
    fingerprint = schemas.current(topics.topic(topic).value).fingerprint
    for value in (body, b"\xc3\x01" + fingerprint + body, b"\x00\x00\x00\x00\x01" + body, b"\x00" + body, b"{" + body):
        try:
            record = codec.decode(value)
        except EdgeRecordError:
            continue
        assert isinstance(record, dict)


def _smallest(topic: str) -> Any:
    values = {"string": "x", "long": 0, "int": 0, "double": 0.0}
    required = [field for field in _record_of(topic)["fields"] if "default" not in field]
    return {field["name"]: [] if isinstance(field["type"], dict) else values[field["type"]] for field in required}


def test_unknown_fingerprint_is_refused() -> None:
    """A record of a schema that this build does not know says which fingerprint it has."""
    with pytest.raises(EdgeRecordError, match=r"unknown schema \(fingerprint 0102030405060708\)"):
        EdgeCodec(InteractionEvent).decode(b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08")


def test_framed_record_without_a_registry() -> None:
    """A record framed for a registry that is not configured is refused with what to set."""
    with pytest.raises(EdgeRecordError, match=r"id 7.*STREAMREC_SCHEMA_REGISTRY_URL"):
        EdgeCodec(InteractionEvent).decode(b"\x00\x00\x00\x00\x07abc")


def test_unknown_schema_id_is_the_record_s_fault() -> None:
    """An id that the registry does not have makes a dead letter."""
    with pytest.raises(EdgeRecordError, match="no schema with id 9"):
        EdgeCodec(InteractionEvent, MemoryRegistry()).decode(b"\x00\x00\x00\x00\x09abc")


def test_silent_registry_is_not_the_record_s_fault() -> None:
    """A registry that does not answer must not send records to dead-letters."""
    codec = EdgeCodec(InteractionEvent, SilentRegistry(), "interactions-value")
    with pytest.raises(RegistryError):
        codec.decode(b"\x00\x00\x00\x00\x09abc")
    with pytest.raises(RegistryError):
        codec.encode(EVENT)
    assert not issubclass(RegistryError, ValueError)


def test_registered_schema_that_is_not_avro() -> None:
    """A JSON schema or garbage in the registry makes a dead letter that says so."""
    registry = MemoryRegistry()
    registry.texts[1] = '{"type": "object"}'
    with pytest.raises(EdgeRecordError, match="schema 1 of the registry: not an Avro record schema"):
        EdgeCodec(InteractionEvent, registry).decode(b"\x00\x00\x00\x00\x01abc")


def test_producer_with_a_schema_of_its_own() -> None:
    """A registered schema with fewer, more and differently typed fields is read by Avro's resolution."""
    own = deepcopy(schemas.current("InteractionEvent").raw)
    own["fields"] = [
        {"name": "item_id", "type": "string"},
        {"name": "value", "type": "int"},
        {"name": "user_id", "type": "string"},
        {"name": "page", "type": "string"},
    ]
    registry = MemoryRegistry()
    registry.texts[5] = json.dumps(own)
    out = BytesIO()
    fastavro.schemaless_writer(
        out, fastavro.parse_schema(own), {"item_id": "i", "value": 4, "user_id": "u", "page": "home"}
    )
    event = EdgeCodec(InteractionEvent, registry).decode(b"\x00\x00\x00\x00\x05" + out.getvalue())
    assert event == EdgeCodec(InteractionEvent).complete({"user_id": "u", "item_id": "i", "value": 4})


def test_damage_under_a_schema_of_its_own_is_told_alike_every_time() -> None:
    """The same damaged bytes give the same error, without an address in memory."""
    fields = [{"name": "user_id", "type": "string"}, {"name": "item_id", "type": "string"}]
    own = {"type": "record", "name": "InteractionEvent", "namespace": "streamrec"}
    registry = MemoryRegistry()
    registry.texts[5] = json.dumps({**own, "fields": [*fields, {"name": "value", "type": "float"}]})
    codec = EdgeCodec(InteractionEvent, registry)
    with pytest.raises(EdgeRecordError, match=r"damaged Avro bytes \(EOFError: cannot read float from the record\)"):
        codec.decode(b"\x00\x00\x00\x00\x05\x02u\x02i\x00")


def test_producer_with_a_schema_that_does_not_fit() -> None:
    """A registered schema without a required field is refused, by field."""
    fields = [{"name": "user_id", "type": "string"}]
    own = {"type": "record", "name": "InteractionEvent", "namespace": "streamrec", "fields": fields}
    registry = MemoryRegistry()
    registry.texts[5] = json.dumps(own)
    with pytest.raises(EdgeRecordError, match="item_id"):
        EdgeCodec(InteractionEvent, registry).decode(b"\x00\x00\x00\x00\x05\x02u")


def test_codec_with_registry_needs_a_subject_to_write() -> None:
    """Forgetting the subject is a mistake of the program, said at the first write."""
    with pytest.raises(RuntimeError, match="needs a subject"):
        EdgeCodec(InteractionEvent, MemoryRegistry()).encode(EVENT)


def test_inner_topics_have_no_edge_codec() -> None:
    """Asking for the edge codec of an inner topic is a mistake that says what travels there."""
    with pytest.raises(ValueError, match="carries user row"):
        codec_for("user-state")

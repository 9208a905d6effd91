"""Records of user-state that are left as they came, and those that are decoded."""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.contracts.inner import user_state
from services.contracts.inner.user_state import seen_key
from services.recommendation_publishing.publisher import ROWS
from services.recommendation_publishing.records import plain_records
from services.runtime.decoding import decode
from services.runtime.processor import Outputs
from services.runtime.testing import Logs
from tests.unit.recommendation_publishing.test_publisher import CROWD, a_slice, request, world
from tests.unit.recommendation_publishing.test_rows import a_chunk, a_row

_ROW, _CHUNK = user_state.encode(a_row(4)), user_state.encode(a_chunk(1, 2))
_VALUES = [
    *(None, b"", b"junk", _ROW, _CHUNK, _ROW[:-1], _ROW + b"\0", user_state.encode({"v": 2, "s": b""})),
    user_state.encode({**a_row(4), "v": 2}),
    user_state.encode(dict(reversed(a_row(4).items()))),  # type: ignore[arg-type]  # the fields in another order
]
_KEYS = [None, b"", b"ann", b"\0", seen_key(b"ann", 0), seen_key(b"", 1)]
DECODER = world().publisher.decoders[ROWS]


@given(st.lists(st.tuples(st.sampled_from(_KEYS), st.sampled_from(_VALUES)), min_size=1))
def test_dead_letters_are_those_of_the_decoder(records: list[tuple[bytes | None, bytes | None]]) -> None:
    """What the decoder refuses is refused, with its words, and nothing else; what is left is what it would give."""
    logs = Logs({ROWS: 1})
    for key, value in records:
        logs.append(ROWS, key, value, 0)
    messages = logs.read((ROWS, 0))
    slice_, bad = decode(ROWS, 0, 0, messages, DECODER)
    plain, refused = decode(ROWS, 0, 0, messages, partial(DECODER))
    assert [item[:5] for item in bad] == [item[:5] for item in refused]
    assert (slice_.keys, slice_.offsets, slice_.dead) == (plain.keys, plain.offsets, plain.dead)
    for key, value, wanted in zip(slice_.keys, slice_.values, plain.values, strict=True):
        assert (DECODER(key, value, ()) if isinstance(value, bytes) else value) == wanted


def test_rows_and_chunks_are_left_as_they_came() -> None:
    """Of all that may come, these are what need no decoder."""
    keys = [b"ann", seen_key(b"ann", 0), b"ann", seen_key(b"ann", 0), None, b"ann"]
    assert plain_records(keys, [_ROW, _CHUNK, _CHUNK, _ROW, _ROW, None]) == [True, True, False, False, False, False]


def test_a_publisher_does_the_same_with_records_as_they_came() -> None:
    """Lists, judgements and what is learned of untouched items are the same from decoded rows and from their bytes."""
    made = []
    for left in (False, True):
        w = world(quality_sample=1.0, quality_interval_s=1, new_item_every=3)

        def came(records: list[tuple[bytes, Any]], left: bool = left) -> list[tuple[bytes, Any]]:
            return [(key, user_state.encode(value) if left else value) for key, value in records]

        rest: dict[str, Any] = {"title": "", "year": None, "attributes": {}, "available": True, "created_at": None}
        items = {f"i{n}": {"item_id": f"i{n}", "categories": [f"c{n % 3}"], **rest} for n in range(40)}
        w.publisher.load(a_slice("items", [(name.encode(), item) for name, item in items.items()]))
        w.publisher.load(a_slice(ROWS, came(w.learn([*CROWD, ("ann", "i3"), ("bob", "i5")]))))
        w.sweep()
        outs: list[Outputs] = [w.step(0)]
        for n in range(30):
            events = [("ann", f"i{n + 10}"), (f"u{n % 7}", f"i{n % 12}"), ("cat", f"i{n}")]
            outs.append(w.step(600 * (n + 1), rows=came(w.learn(events)), requests=[request("bob"), request("cat")]))
            if n % 5 == 4:
                w.sweep()
        outs.append(w.step(600 * 40, rows=[(b"ann", None)], requests=[request("ann")]))
        made.append([(out.records, out.positions, out.gauges) for out in outs])
    assert made[0] == made[1]
    assert any(record.topic == "quality" for records, _, _ in made[0] for record in records)

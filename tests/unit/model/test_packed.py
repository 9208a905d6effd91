"""Item rows in their wire form: the bytes of the codec, and the rows of the plain way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.inner import item_state
from services.model.config import ModelConfig
from services.model.packed import form, rows_among
from services.model.replica import Replica
from services.model.rows import RowChange
from services.model_update.wire import ITEM_ROW, row_change, row_record
from tests.unit.model.simulation import Event, World, event_batch, wire

CONFIG = ModelConfig(item_partitions=2, dim=8, history=6, history_kept=9, negatives=12, max_items=40, max_neighbours=5)
events = st.lists(
    st.builds(Event, user=st.integers(0, 5), item=st.integers(0, 60), t_ms=st.integers(0, 10**9)),
    min_size=1,
    max_size=30,
)
batches = st.lists(events, min_size=1, max_size=4)


def learned(script: Sequence[list[Event]], config: ModelConfig = CONFIG) -> World:
    """A world whose owners have folded what one shard has learned, and swept nothing."""
    world = World(config, 1)
    for number, batch in enumerate(script):
        learner = world.shards[0].learner
        for partition, part in learner.learn(event_batch(learner, 0, 100 * number, batch), number).items():
            world.partitions[partition].owner.fold(part)
    return world


def records(changes: Sequence[RowChange], offset: int) -> dict[bytes, bytes | None]:
    """What the codec makes of rows."""
    rows = {change.key.encode(): row_record(change, offset) for change in changes}
    return {key: None if row is None else item_state.encode(row) for key, row in rows.items()}


def rows_of(replica: Replica) -> dict[str, tuple[int, int, dict[str, bytes]]]:
    """{key: (position, records counted, blocks)} of the item rows."""
    table = replica.items.table
    at = np.flatnonzero(table.keys[: replica.items.bound])
    values = zip(at.tolist(), table.counts[at].tolist(), table.get(at), strict=True)
    return dict(zip(table.key_of(at), values, strict=True))


@given(batches, st.integers(0, 1 << 40))
def test_written_rows_are_the_codecs(script: list[list[Event]], offset: int) -> None:
    """A sweep in its wire form is the plain sweep, encoded: every key, every byte, and the evictions."""
    packed, plain = learned(script), learned(script)
    for one, other in zip(packed.partitions, plain.partitions, strict=True):
        keys, values, others = one.owner.sweep_packed(offset, ITEM_ROW)
        found = {**dict(zip(keys, values, strict=True)), **records(others, offset)}
        assert found == records(other.owner.sweep(), offset)
        assert one.owner.sweep() == []


def trends_of(replica: Replica) -> list[list[int]]:
    """The most popular rows at each half-life, best first; what stands behind them in the arrays is of the past."""
    trends = replica.trends.arrays
    return [rows[:n].tolist() for rows, n in zip(trends.rows, trends.n.tolist(), strict=True)]


@given(batches, batches)
def test_rows_that_stand_are_taken_in_as_they_came(first: list[list[Event]], second: list[list[Event]]) -> None:
    """A replica that copies the rows that have not moved is the one that takes in every row by itself."""
    world = learned(first)
    copies, plain = Replica(CONFIG), Replica(CONFIG)
    for script in (first, second):
        for number, batch in enumerate(script):
            learner = world.shards[0].learner
            for partition, part in learner.learn(event_batch(learner, 0, 100 * number, batch), number).items():
                world.partitions[partition].owner.fold(part)
        for partition, held in enumerate(world.partitions):
            changes = {change.key: change for change in held.owner.sweep()}
            standing, others = copies.standing(partition, {key: wire(row) for key, row in changes.items()}, ITEM_ROW)
            known = rows_of(copies)
            assert {key for key in changes if key not in others} == {
                key
                for key, row in changes.items()
                if row.blocks is not None and key in known and known[key][0] == row.slot * 2 + partition
            }
            copies.take(partition, [changes[key] for key in others], None, standing)
            plain.take(partition, list(changes.values()), None)
    assert rows_of(copies) == rows_of(plain)
    assert trends_of(copies) == trends_of(plain)


@given(batches, st.data())
def test_damage_is_left_to_the_decoder(script: list[list[Event]], data: st.DataObject) -> None:
    """What passes for an item row is one to the decoder too, whatever byte was changed or lost."""
    keys, values, _ = learned(script).partitions[0].owner.sweep_packed(5, ITEM_ROW)
    if not keys:
        return
    assert rows_among(keys, values, ITEM_ROW) == [True] * len(keys)
    value = data.draw(st.sampled_from(values))
    at = data.draw(st.integers(0, min(len(value), 60) - 1) | st.integers(0, len(value) - 1))
    byte = data.draw(st.binary(max_size=2))
    broken = value[:at] + byte + value[at + 1 :]
    (passes,) = rows_among([keys[0]], [broken], ITEM_ROW)
    if passes:
        assert list(item_state.decode_row(broken)["b"]) == list(item_state.decode_row(value)["b"])
    assert not rows_among([keys[0]], [value[:-1]], ITEM_ROW)[0]
    assert not rows_among([keys[0]], [value + b"\0"], ITEM_ROW)[0]


def test_only_items_rows_are_left_in_their_wire_form() -> None:
    """A deletion, a record without a key, a clock and a row under a reserved key go through the decoder."""
    keys, (row, *_), _ = learned([[Event(0, 2, 0)]]).partitions[0].owner.sweep_packed(5, ITEM_ROW)
    unusual = [(keys[0], None), (None, row), (b"", row), (item_state.CLOCK_KEY, row), (b"\x00system", row)]
    given_keys, given_values = zip(*unusual, strict=True)
    assert not any(rows_among(given_keys, given_values, ITEM_ROW))
    assert rows_among([keys[0]], [row], ITEM_ROW) == [True]


@pytest.mark.parametrize(
    "change",
    [
        {"b": {"q": b""}},
        {"b": {"near": bytes(29)}},
        {"b": {"near": bytes(28 + 32 * 6)}},
        {"b": {"content": bytes(3)}},
        {"slot": 1 << 40},
        {"slot": -1},
    ],
    ids=["a vector is missing", "an entry is cut off", "too many neighbours", "half a feature", "no such slot", "none"],
)
def test_rows_of_another_layout_are_left_to_the_plain_way(change: dict[str, object]) -> None:
    """A row whose blocks do not fit is not copied; taking it in by itself says what is wrong with it."""
    world = learned([[Event(0, 2, 0)]])
    rows = [row for row in world.partitions[0].owner.sweep() if row.key == "item-2"]
    replica = Replica(CONFIG)
    replica.take(0, rows, None)
    record = row_record(rows[0], 5)
    assert record is not None
    blocks = change.pop("b", {})
    assert isinstance(blocks, dict)
    bent = {**record, **change, "b": {**record["b"], **blocks}}
    value = item_state.encode(bent)  # type: ignore[arg-type]  # wrong on purpose
    _, others = replica.standing(0, {"item-2": value}, ITEM_ROW)
    assert others == ["item-2"]
    with pytest.raises((ValueError, IndexError, OverflowError)):
        replica.take(0, [row_change("item-2", value)], None)


def test_a_row_of_another_name_is_not_overwritten() -> None:
    """In the place that a record names, another item may still stand: of any name of the same length, or of others."""
    world = learned([[Event(0, 2, 0)]], replace(CONFIG, item_partitions=1))
    rows = [row for row in world.partitions[0].owner.sweep() if row.key == "item-2"]
    replica = Replica(replace(CONFIG, item_partitions=1))
    replica.take(0, rows, None)
    value = wire(rows[0])
    for name in ("item-3", "item-", "item-22", "item-2-and-more", ""):
        assert replica.standing(0, {name: value}, ITEM_ROW)[1] == [name]
    assert replica.standing(0, {"item-2": value}, ITEM_ROW)[1] == []


def test_a_form_has_a_piece_for_every_part() -> None:
    """A form of more or fewer blocks than item rows have is refused."""
    with pytest.raises(ValueError, match="10 pieces, not 4"):
        form(item_state.row_pieces(["q"]))

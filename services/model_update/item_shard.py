"""The item shard: owns item rows, folds deltas in log order, publishes the rows that changed in sweeps."""

from __future__ import annotations

from collections.abc import Iterator

from services.model.config import ModelConfig
from services.model_update import decoders
from services.model_update.owned import OwnedPartition
from services.model_update.pace import SweepPace
from services.runtime.processor import Batch, Decoder, Inputs, Outputs, Slice, slice_rows

NAME = "item-shard"
DELTAS = "item-deltas"
ROWS = "item-state"


class ItemShard:
    """Folds what user shards send, and publishes absolute rows.

    The input between two sweeps is held: its effect is in memory only. A restart goes on where the last clock stands.
    """

    name = NAME
    inputs = Inputs(leading=DELTAS, state=(ROWS,))

    def __init__(self, config: ModelConfig, sweep_min_ms: int, sweep_bytes_per_s: int) -> None:
        """Make the processor.

        Args:
            config: the learner.
            sweep_min_ms: shortest time between two sweeps of a partition.
            sweep_bytes_per_s: bytes of rows published per second, over all partitions of this process.
        """
        self.decoders: dict[str, Decoder] = {DELTAS: decoders.deltas, ROWS: decoders.item_row}
        self._config = config
        self._pace = SweepPace(sweep_min_ms, sweep_bytes_per_s)
        self.start(0)

    def start(self, _epoch: int) -> None:
        """Forget everything."""
        self._owned: dict[int, OwnedPartition] = {}
        self._pace.reset()
        self._clean_wanted: set[int] = set()

    def open(self, partition: int) -> None:
        """Start owning a partition of the items."""
        self._owned[partition] = OwnedPartition(self._config, partition)

    def load(self, slice_: Slice) -> None:
        """Take in item rows while a partition is restored.

        Raises:
            ModelMismatchError: the rows have another layout.
        """
        owned = self._owned[slice_.partition]
        for _, _, key, value in slice_rows(slice_):
            owned.load(key or b"", value)

    def restored(self, partition: int) -> int | None:
        """Go on where the last clock stands; at the committed offset when there is none."""
        return self._owned[partition].restored()

    def step(self, batch: Batch, out: Outputs) -> None:
        """Fold the batch; publish a sweep of every partition that is due."""
        for slice_ in batch.slices:
            if self._fold(slice_, out):
                self._pace.behind(batch.now_ms)
        due = batch.now_ms >= self._pace.due_ms
        for partition, owned in sorted(self._owned.items()):
            if owned.changed and (due or partition in self._clean_wanted):
                self._sweep(owned, batch.now_ms, out)
        for slice_ in batch.slices:
            owned = self._owned[slice_.partition]
            if owned.changed:
                out.hold(DELTAS, slice_.partition)
            else:
                # Right behind a sweep, or nothing that was read since changed a row.
                out.covered(DELTAS, slice_.partition, slice_.end)

    def _fold(self, slice_: Slice, out: Outputs) -> bool:
        """Fold what user shards sent; whether one of them was behind."""
        owned, behind = self._owned[slice_.partition], False
        for offset, _, _, record in slice_rows(slice_):
            if record is None or record["kind"] != "deltas":
                continue
            behind = behind or record.get("behind") is True
            try:
                owned.fold(offset, record)
            except ValueError as error:
                out.refuse(DELTAS, slice_.partition, offset, str(error))
        owned.position = slice_.end
        return behind

    def _sweep(self, owned: OwnedPartition, now_ms: int, out: Outputs) -> None:
        keys, values = owned.sweep()
        out.send_all(ROWS, keys, values, owned.partition)
        out.covered(DELTAS, owned.partition, owned.position or 0)
        self._pace.swept(now_ms, sum(map(len, keys)) + sum(len(value) for value in values if value))
        self._clean_wanted.discard(owned.partition)

    def appetite(self, _now_ms: int) -> int | None:
        """Whatever there is."""
        return None

    def wake_at(self) -> int | None:
        """When the next sweep is due (Unix ms); None when there is nothing to publish."""
        return self._pace.due_ms if any(owned.changed for owned in self._owned.values()) else None

    def dump(self, partition: int) -> Iterator[tuple[str, bytes, bytes]] | None:
        """Every row of the partition and its clock, for the local checkpoint.

        None between two sweeps: rows that were not published yet would never be after a restart from such a checkpoint.
        The next step then sweeps, whatever the pace.
        """
        owned = self._owned[partition]
        if not owned.clean:
            self._clean_wanted.add(partition)
            return None
        return ((ROWS, key, value) for key, value in owned.dump())

    def close(self, partition: int) -> None:
        """Stop owning a partition."""
        self._owned.pop(partition, None)
        self._clean_wanted.discard(partition)

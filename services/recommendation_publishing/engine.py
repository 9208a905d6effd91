"""The model as publishing holds it: item rows by whole sweeps, user rows, the catalogue, the recommender."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from services.contracts.edge import Item
from services.contracts.inner.item_state import CLOCK_KEY, ItemRow, decode_row, row_pieces
from services.contracts.inner.sweeps import SweepReader
from services.contracts.keys import content_features, item_hash
from services.model import layout
from services.model.config import ModelConfig
from services.model.frozen import frozen_copy
from services.model.packed import BLOCKS, form
from services.model.popular import Popular
from services.model.recommender import Query, Ranking, Recommender
from services.model.replica import Replica
from services.model.rows import RowChange
from services.model.users import UserTable
from services.recommendation_publishing.avro import Ids, ids_of
from services.recommendation_publishing.event_time import EventClock
from services.recommendation_publishing.lists import Learned, nothing_learned
from services.recommendation_publishing.records import UserRecords
from services.recommendation_publishing.rows import Received, UserRows
from services.runtime.errors import FatalError

ITEM_ROW = form(row_pieces(BLOCKS))
"""The form in which item rows are read many at a time."""


class ModelMismatchError(FatalError):
    """Item shards of different configurations have written item-state."""


class Engine:
    """Everything that a list is computed from.

    What the model is (widths, half-lives, ceilings) is read from the clocks of item-state, so that
    publishing needs no model settings of its own. What comes before the first clock is kept for it.
    """

    def __init__(self, catalogue: str, item_partitions: int, new_item_every: int) -> None:
        """Start empty.

        Args:
            catalogue: the setting: auto, required or ignored.
            item_partitions: partition count of the item-keyed topics.
            new_item_every: the setting.
        """
        self._policy = catalogue
        self._new_item_every = new_item_every
        self._record: dict[str, Any] | None = None
        self._early_items: dict[bytes, Item | None] = {}
        self._sweeps = SweepReader()
        self._build(ModelConfig(item_partitions=item_partitions), {}, EventClock())

    def _build(self, config: ModelConfig, received: dict[bytes, Received], clock: EventClock) -> None:
        self._replica = Replica(config)
        self.rows = UserRows(UserTable(config), received, clock)
        self._recommender = Recommender(config, self._replica, self.rows.table, self._new_item_every)
        self._catalogue = self._recommender.catalogue
        self._catalogue.restricted = self._policy == "required"
        self._popular = Popular(config, self._replica, self.rows.table)
        self._frozen: Recommender | None = None

    def load_items(self, partition: int, key: bytes, record: Any) -> None:
        """Take in one item-state record; its row counts once the sweep's clock record has come.

        Raises:
            ModelMismatchError: the clock's model is not the one that the earlier clocks named.
        """
        if key == CLOCK_KEY and record is not None:
            self._configure(record["model"])
        sweep = self._sweeps.feed(partition, key, record)
        if sweep is not None:
            standing, others = self._replica.standing(partition, sweep.rows, ITEM_ROW)
            changes = [_change(key, sweep.rows[key]) for key in others]
            self._replica.take(partition, changes, None, standing)
            self._recommender.rows_changed(changes)

    @property
    def ready(self) -> bool:
        """Whether the model is known: lists of events wait until the first clock has come."""
        return self._record is not None

    def first_occurrences(self, records: UserRecords) -> None:
        """Let the ranker of untouched items learn where the newest item of a new user row was one of them."""
        self._recommender.follow()
        if not self._catalogue.cold.waiting:
            return
        histories = list(filter(None, records.histories(records.rows)))
        newest = np.frombuffer(b"".join(history[-8:] for history in histories), np.uint64)
        for at in np.flatnonzero(self._catalogue.untouched(newest)).tolist():
            if self._catalogue.untouched(newest[at : at + 1])[0]:
                self._catalogue.first_occurrence(np.frombuffer(histories[at], np.uint64)[::-1])

    def load_metadata(self, key: bytes, item: Item | None) -> None:
        """Take in one record of the items topic; None deletes the item."""
        if self._policy == "ignored":
            return
        if not self.ready:
            self._early_items[key] = item
        item_id = key.decode()
        if item is None:
            self._catalogue.remove(item_hash(item_id))
            return
        content = np.array(content_features(item), np.uint32)
        self._catalogue.put(item_hash(item_id), item_id, content, available=item["available"])
        self._catalogue.restricted = True

    def rank(self, queries: list[Query], *, by_popularity: bool = False) -> list[Ranking]:
        """Rank for every query.

        Args:
            queries: for whom, how many.
            by_popularity: the learner is off: rank by recent popularity alone.
        """
        ranker: Recommender | Popular = self._popular if by_popularity else self._recommender
        return ranker.recommend(queries, self._catalogue.allowed)

    def item_ids(self) -> tuple[Ids, Ids]:
        """The ids of the items: of those with rows, and of those in the catalogue."""
        rows = self._replica.items.table
        return ids_of(rows.index, rows.names), ids_of(self._catalogue.index, self._catalogue.names)

    def shadows(self, queries: list[Query]) -> dict[str, list[Ranking]]:
        """What the learner, popularity and the frozen copy (where there is one) would list, by name."""
        rankers: dict[str, Recommender | Popular | None] = {
            "learner": self._recommender,
            "popularity": self._popular,
            "frozen": self._frozen,
        }
        return {
            name: ranker.recommend(queries, self._catalogue.allowed)
            for name, ranker in rankers.items()
            if ranker is not None
        }

    def freeze(self) -> None:
        """Let the frozen shadow begin anew from the item rows as they are now."""
        self._frozen = Recommender(self._replica.config, frozen_copy(self._replica), self.rows.table)

    def learned(self, users: Sequence[bytes]) -> Learned:
        """What the users' rows have learned from; no rows are known before the model is."""
        return self.rows.learned(users) if self.ready else nothing_learned(len(users))

    def _configure(self, record: dict[str, Any]) -> None:
        if record == self._record:
            return
        if self._record is not None:
            changed = sorted(name for name in {*record, *self._record} if record.get(name) != self._record.get(name))
            raise ModelMismatchError(
                f"item-state was written by item shards with different model settings ({', '.join(changed)}). "
                "Give every replica of model-update the same settings; this service then starts again."
            )
        self._record = record
        self._build(ModelConfig.from_record(record), self.rows.received, self.rows.clock)
        for key, item in self._early_items.items():
            self.load_metadata(key, item)
        self._early_items = {}


def _change(key: str, row: ItemRow | bytes | None) -> RowChange:
    number = item_hash(key) if layout.row_kind(key) == "item" else layout.reserved_hash(key)
    if row is None:
        return RowChange(key, number, -1, 0, None)
    if isinstance(row, bytes):
        row = decode_row(row)
    return RowChange(key, number, row["slot"], row["c"], row["b"])

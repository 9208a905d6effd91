"""The model as publishing holds it: item rows by whole sweeps, user rows, the catalogue, the recommender."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from services.contracts.edge import Item
from services.contracts.inner.item_state import CLOCK_KEY, ItemRow
from services.contracts.inner.sweeps import Sweep, SweepReader
from services.contracts.inner.user_state import SeenChunk, UserRow
from services.contracts.keys import content_features, item_hash
from services.model import layout
from services.model.config import ModelConfig
from services.model.experts import NAMES
from services.model.recommender import Query, Ranking, Recommender
from services.model.replica import Replica
from services.model.rows import RowChange
from services.model.users import UserTable
from services.recommendation_publishing.lists import Learned, Ranked
from services.recommendation_publishing.rows import UserRows


class ModelMismatchError(RuntimeError):
    """Item shards of different configurations have written item-state."""


class Engine:
    """Everything that a list is computed from.

    What the model is (widths, half-lives, ceilings) is read from the clocks of item-state, so that
    publishing needs no model settings of its own. What comes before the first clock is kept for it.
    """

    def __init__(self, catalogue: str, item_partitions: int) -> None:
        """Start empty.

        Args:
            catalogue: the setting: auto, required or ignored.
            item_partitions: partition count of the item-keyed topics.
        """
        self._policy = catalogue
        self._record: dict[str, Any] | None = None
        self._early_rows: dict[bytes, UserRow | SeenChunk | None] = {}
        self._early_items: dict[bytes, Item | None] = {}
        self._sweeps = SweepReader()
        self._build(ModelConfig(item_partitions=item_partitions))

    def _build(self, config: ModelConfig) -> None:
        self._replica = Replica(config)
        self.rows = UserRows(UserTable(config))
        self._recommender = Recommender(config, self._replica, self.rows.table)
        self._catalogue = self._recommender.catalogue
        self._catalogue.restricted = self._policy == "required"

    def load_items(self, partition: int, key: bytes, record: Any) -> None:
        """Take in one item-state record; its row counts once the sweep's clock record has come.

        Raises:
            ModelMismatchError: the clock's model is not the one that the earlier clocks named.
        """
        if key == CLOCK_KEY and record is not None:
            self._configure(record["model"])
        sweep = self._sweeps.feed(partition, key, record)
        if sweep is not None:
            self._replica.take(partition, list(_changes(sweep)), None)

    @property
    def ready(self) -> bool:
        """Whether the model is known: lists of events wait until the first clock has come."""
        return self._record is not None

    def load_user(self, key: bytes, record: UserRow | SeenChunk | None) -> None:
        """Take in one user-state record; None deletes."""
        if self.ready:
            self.rows.load(key, record)
            return
        self._early_rows[key] = record

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

    def rank(self, queries: list[Query]) -> list[tuple[list[Ranked], str | None]]:
        """Rank for every query: (items best first, why the full model was not used)."""
        rankings = self._recommender.recommend(queries, self._catalogue.allowed)
        return [(self._ranked(one), _fallback(query, one)) for query, one in zip(queries, rankings, strict=True)]

    def learned(self, user: bytes) -> tuple[int, Learned | None]:
        """(slot of the user's row or -1, what it has learned from)."""
        return self.rows.learned(user)

    def _ranked(self, ranking: Ranking) -> list[Ranked]:
        sizes = [len(earlier) for earlier in ranking.because]
        hashes = np.concatenate([ranking.items, *ranking.because])
        names = self._replica.item_ids(hashes)
        for at in [at for at, name in enumerate(names) if not name]:
            names[at] = self._catalogue.item_id(int(hashes[at]))
        ranked: list[Ranked] = []
        first = len(ranking.items)
        for at, (score, expert, size) in enumerate(
            zip(ranking.scores.tolist(), ranking.expert.tolist(), sizes, strict=True)
        ):
            because = [name for name in names[first : first + size] if name]
            ranked.append(Ranked(names[at], score, NAMES[expert], because))
            first += size
        return ranked

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
        self._build(ModelConfig.from_record(record))
        for key, row in self._early_rows.items():
            self.rows.load(key, row)
        for key, item in self._early_items.items():
            self.load_metadata(key, item)
        self._early_rows, self._early_items = {}, {}


def _fallback(query: Query, ranking: Ranking) -> str | None:
    """Why the full model was not used, as RecommendationList.fallback says it."""
    if not len(ranking.items):
        return "empty-catalogue"
    return "new-user" if query.user < 0 else None


def _changes(sweep: Sweep) -> Iterator[RowChange]:
    for key, row in sweep.rows.items():
        number = item_hash(key) if layout.row_kind(key) == "item" else layout.reserved_hash(key)
        yield _gone(key, number) if row is None else _change(key, number, row)


def _change(key: str, number: int, row: ItemRow) -> RowChange:
    return RowChange(key, number, row["slot"], row["c"], row["b"])


def _gone(key: str, number: int) -> RowChange:
    return RowChange(key, number, -1, 0, None)

"""What staleness alone costs: shards that begin every exchange with exactly what one shard would have learned.

Beside the shards, one learner learns the whole stream. The owners fold its deltas only, and every exchange gives all
shards the owners' rows; what the shards themselves did is forgotten. So nothing is lost by adding up what shards have
learned apart, and all that is missing is the other shards' events since the last exchange.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from services.evaluation.prequential import Simulation
from services.evaluation.stream import Stream
from services.model.config import ModelConfig
from services.model.learner import Learner
from services.model.rows import DeltaSet


class Stale(Simulation):
    """A simulation whose last learner, in no shard's place, learns everything."""

    def __init__(
        self, events: Stream, config: ModelConfig, shards: int, exchange_events: int, *, steady: bool = False
    ) -> None:
        """As Simulation."""
        super().__init__(events, config, shards, exchange_events, steady=steady)
        self.learners.append(Learner(config))

    def _learn(self, batch: int, first: int, last: int, *, probe: bool) -> Iterator[dict[int, DeltaSet]]:
        for sets in super()._learn(batch, first, last, probe=probe):
            # Deltas without blocks change nothing, but their rows are swept again.
            yield {partition: DeltaSet(part.ids, part.hashes) for partition, part in sets.items()}
        at, one = np.arange(first, last), self.learners[-1]
        slots = [one.users.slot(self._ids[user]) for user in self._stream.user[at].tolist()]
        yield one.learn(self._batches.take(at, np.array(slots, np.int32)), batch)

"""From features by column to the learner's arrays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.model.events import event_seed
from services.model_update.events import seeds_of

PLACES = st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, (1 << 48) - 1)), max_size=20)


@given(PLACES)
def test_an_event_is_seeded_by_its_place(places: list[tuple[int, int]]) -> None:
    """Many seeds at once are those of the events one by one, in whatever order the partitions come."""
    partitions, offsets = np.array(places, np.int64).reshape(-1, 2).T
    assert seeds_of(partitions, offsets).tolist() == [event_seed(*place) for place in places]

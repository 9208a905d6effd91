"""Order of recency against lists of Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.model.recency import Recency

CEILING = 8


@given(st.lists(st.tuples(st.sampled_from(["touch", "remove", "restart"]), st.integers(0, CEILING - 1)), max_size=80))
def test_recency_is_two_lists(operations: list[tuple[str, int]]) -> None:
    """The weakest slot and the lowest free one are those of two ordered lists, restarts included."""
    recency = Recency(CEILING, 0.25)
    counts = np.zeros(CEILING, np.uint32)
    order: list[int] = []
    for what, number in operations:
        if what == "touch":
            if number not in order:
                number = recency.lowest_free()  # noqa: PLW2901  (the table hands out the slots)
                assert number == min(set(range(CEILING)) - set(order))
                counts[number] = 0
            else:
                order.remove(number)
            counts[number] += 1
            order.append(number)
            recency.touch(np.array([number, -1]), counts)
        elif what == "remove" and number in order:
            order.remove(number)
            recency.remove(number)
        elif what == "restart":
            recency = Recency(CEILING, 0.25)
            recency.restore(np.array(order, np.int64), counts)
        probation = [s for s in order if counts[s] <= 1]
        protected = [s for s in order if counts[s] > 1]
        assert recency.tails() == (probation[0] if probation else -1, protected[0] if protected else -1)
        if order:
            first = probation if probation and (not protected or len(probation) > 2) else protected
            assert recency.weakest() == first[0]

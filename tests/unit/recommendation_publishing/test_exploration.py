"""Explored positions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.recommendation_publishing.exploration import Explorer

Positions = list[tuple[int, float | None]]
LIST = st.tuples(st.text(max_size=8), st.integers(0, 80), st.integers(0, 40))


def draw(explorer: Explorer, lists: list[tuple[str, int, int]]) -> list[Positions]:
    """For each (list id, ranked items, positions) the index into its ranked items and the propensity by position."""
    ranked = np.array([n for _, n, _ in lists], np.int64)
    shown = explorer.draw(
        [list_id for list_id, _, _ in lists], ranked, np.array([size for *_, size in lists], np.int64)
    )
    found = [
        (index, None if np.isnan(propensity) else propensity)
        for index, propensity in zip(shown.chosen.tolist(), shown.propensity.tolist(), strict=True)
    ]
    firsts = (np.cumsum(ranked) - ranked).tolist()
    return [
        [(index - first, propensity) for index, propensity in found[start:end]]
        for first, start, end in zip(firsts, shown.ptr[:-1].tolist(), shown.ptr[1:].tolist(), strict=True)
    ]


@given(LIST, st.floats(0, 0.5), st.integers(1, 30))
def test_an_explored_list_is_a_list_without_repeats(asked: tuple[str, int, int], share: float, pool: int) -> None:
    """Explored positions show items from below the list, each once, and carry their propensity."""
    _, ranked, size = asked
    (positions,) = draw(Explorer(share, pool), [asked])
    assert len(positions) == min(size, ranked)
    assert len({index for index, _ in positions}) == len(positions)
    for position, (index, probability) in enumerate(positions):
        if probability is None:
            assert index == position
        else:
            assert min(size, ranked) <= index < ranked
            assert 0 < probability <= share


@given(st.lists(LIST, max_size=8), st.floats(0, 0.5), st.integers(1, 30))
def test_a_draw_does_not_depend_on_the_other_lists(lists: list[tuple[str, int, int]], share: float, pool: int) -> None:
    """The lists of a step are what each of them would be alone, so that a list made again is the same list."""
    explorer = Explorer(share, pool)
    assert draw(explorer, lists) == [draw(explorer, [one])[0] for one in lists]


def test_the_propensity_is_the_frequency_of_the_draw() -> None:
    """Over many lists, an item below the list stands at a position as often as its propensity says."""
    lists = draw(Explorer(0.2, 5), [(f"list-{n}", 30, 10) for n in range(20_000)])
    hits = sum(positions[3][0] == 12 for positions in lists)
    assert abs(hits / 20_000 - 0.2 / 5) < 0.006

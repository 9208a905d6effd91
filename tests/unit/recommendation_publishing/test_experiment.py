"""Arms of an experiment and explored positions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommendation_publishing.experiment import Arms, ArmsError, Explorer


def test_users_keep_their_arm_and_arms_get_their_share() -> None:
    """Assignment is a function of user and experiment, in the proportions of the weights."""
    arms = Arms.parse("spring", "control=3,new=1")
    of = {user: arms.of(b"user-%d" % user) for user in range(4000)}
    assert of == {user: arms.of(b"user-%d" % user) for user in range(4000)}
    assert 850 < sum(arm == "new" for arm in of.values()) < 1150


@pytest.mark.parametrize("text", ["", "a=0", "a=x", "a=1,a=2", "=1", "a=inf"])
def test_a_wrong_list_of_arms_is_refused_by_name(text: str) -> None:
    """The error names the setting."""
    with pytest.raises(ArmsError, match="experiment_arms"):
        Arms.parse("spring", text)


@given(st.text(max_size=8), st.integers(0, 80), st.integers(0, 40), st.floats(0, 0.5), st.integers(1, 30))
def test_an_explored_list_is_a_list_without_repeats(
    list_id: str, ranked: int, size: int, share: float, pool: int
) -> None:
    """Explored positions show items from below the list, each once, and carry their propensity."""
    order, propensity = Explorer(share, pool).draw(list_id, ranked, size)
    assert len(order) == len(propensity) == min(size, ranked)
    assert len(set(order)) == len(order)
    for position, (index, probability) in enumerate(zip(order, propensity, strict=True)):
        if probability is None:
            assert index == position
        else:
            assert min(size, ranked) <= index < ranked
            assert 0 < probability <= share


def test_the_propensity_is_the_frequency_of_the_draw() -> None:
    """Over many lists, an item below the list stands at a position as often as its propensity says."""
    explorer = Explorer(0.2, 5)
    hits = sum(explorer.draw(f"list-{n}", 30, 10)[0][3] == 12 for n in range(20_000))
    assert abs(hits / 20_000 - 0.2 / 5) < 0.006

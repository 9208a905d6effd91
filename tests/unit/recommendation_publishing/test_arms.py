"""Arms of an experiment."""

from __future__ import annotations

import pytest

from services.recommendation_publishing.arms import Arms, ArmsError


def test_users_keep_their_arm_and_arms_get_their_share() -> None:
    """Assignment is a function of user and experiment, in the proportions of the weights."""
    arms = Arms.parse("spring", "control=3,new=1")
    of = {user: arms.of(b"user-%d" % user) for user in range(4000)}
    assert of == {user: arms.of(b"user-%d" % user) for user in range(4000)}
    assert 850 < sum(arm == "new" for arm in of.values()) < 1150


@pytest.mark.parametrize("text", ["", "a=0", "a=x", "a=1,a=2", "=1", "a=inf", "a=1e308,b=1e308"])
def test_a_wrong_list_of_arms_is_refused_by_name(text: str) -> None:
    """The error names the setting."""
    with pytest.raises(ArmsError, match="experiment_arms"):
        Arms.parse("spring", text)
